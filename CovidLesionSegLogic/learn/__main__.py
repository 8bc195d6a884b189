"""The trainings behind the released weights: ``python -m CovidLesionSegLogic.learn``."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any

import torch

from CovidLesionSegLogic.ct import atomic_path
from CovidLesionSegLogic.networks import build_network
from CovidLesionSegLogic.networks.encoders import ENCODERS, build_encoder

from . import at_hand, coarse_refine, lesions, lungs, pseudo, released_gate, sources
from .distill import Distillation, distill
from .export import export_model
from .imagenet import resnet50_state_dict
from .trainer import Schedule, Trainer

TEACHER = {"stride_at": "1x1"}
REFNET = {"network": "refnet", "encoder": "resnet50", "encoder_options": TEACHER}


def train_lesions(args: argparse.Namespace) -> None:
    """Ref-Net with a ResNet-50 that knows ImageNet, or from an earlier run."""
    torch.manual_seed(args.seed)
    network = build_network(REFNET)
    if args.start:
        network.load_state_dict(_weights(args.start))
    else:
        encoder = network.get_submodule("encoder")
        encoder.load_state_dict(resnet50_state_dict(args.imagenet))
    every = lesions.load_slices(args.data, true_hu=args.true_hu)
    training, validation = lesions.split(every)
    if args.all_patients:  # nothing is left to judge by: only for a recipe that was validated
        training = every
    if args.pseudo:
        training = training + pseudo.read_slices(args.pseudo)
    if args.one_reader:
        training = lesions.one_reader(training)
    schedule = Schedule(
        steps=args.steps,
        learning_rate=args.learning_rate or 2e-4,
        encoder_factor=0.5,
        warmup=args.warmup,
        validate_every=300,
        save_every=100,
    )
    Trainer(
        network,
        schedule,
        make_batch=lesions.LesionBatches(
            training,
            mixture=lesions.ONE_READER_MIXTURE if args.one_reader else lesions.MIXTURE,
            seed=args.seed,
        ),
        loss=lesions.refnet_batch_loss,
        validate=lesions.LesionValidation(validation),
        folder=args.run,
        freeze_encoder_norm=True,
    ).run()


def mark_slices(args: argparse.Namespace) -> None:
    """Have a trained Ref-Net mark the slices that nobody outlined."""
    network = build_network(REFNET).eval()
    network.load_state_dict(_weights(args.teacher))
    pool = [
        *sources.covid_ct_md(args.data / "covid_ct_md", infected=True)[::2],
        *sources.unlabelled(args.data / "slices_sarscov2ct"),
        # Up to 13 neighbouring slices per patient there: every fourth is enough.
        *sources.unlabelled(args.data / "slices_song")[::4],
    ]
    # 288 pixels: the collections come at 224 to 256.
    marked = pseudo.pseudo_label(pool, lambda image: lesions.predict_slice(network, image, 288))
    pseudo.save_slices(marked, args.output)


def validate_lesions(args: argparse.Namespace) -> None:
    """Print the Dice at 0.5 of weights by validation patient, as JSON.

    A table's run has learnt from slices of the 100-slice set that validate here: of such a run only
    the figures of volumes count.
    """
    network = build_network(json.loads(args.network)).eval()
    network.load_state_dict(_weights(args.checkpoint))
    _, validation = lesions.split(lesions.load_slices(args.data))
    figures = lesions.LesionValidation(validation)(network)
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")


def distill_encoder(args: argparse.Namespace) -> None:
    """Teach an encoder the features of the ImageNet ResNet-50 on slices, without labels."""
    torch.manual_seed(args.seed)
    teacher = build_encoder("resnet50", **TEACHER)
    teacher.load_state_dict(resnet50_state_dict(args.imagenet))
    # Not the 100-slice set: the tables test on a part of it.
    pool = [
        *sources.zenodo20(args.data / "zenodo20"),
        *sources.medseg_lesions(args.data / "medseg_volumes"),
        *sources.unlabelled(args.data / "slices_sarscov2ct"),
        *sources.unlabelled(args.data / "slices_song"),
    ]
    pool, apart = lesions.split(pool)
    mixture = {s.source: 1.0 for s in pool}
    batches = lesions.LesionBatches(
        pool, mixture=mixture, batch_size=args.batch_size, sizes=(args.size,), seed=args.seed
    )
    schedule = Schedule(
        steps=args.steps,
        learning_rate=args.learning_rate or 1e-3,
        average=0.99,
        warmup=args.warmup,
        validate_every=100,
        save_every=100,
    )
    distill(
        Distillation(build_encoder(args.encoder), teacher),
        batches,
        schedule,
        args.run,
        held_out=lesions.LesionBatches(
            apart, mixture=mixture, batch_size=args.batch_size, sizes=(args.size,), augment=False
        )(0),
    )


def average_weights(args: argparse.Namespace) -> None:
    """Write the mean of the weights of several checkpoints of one network."""
    states = [_weights(path) for path in args.checkpoints]
    mean = {
        name: torch.stack([state[name] for state in states]).mean(0)
        if value.dtype.is_floating_point
        else value
        for name, value in states[0].items()
    }
    with atomic_path(args.output) as temporary:
        torch.save({"network": mean}, temporary)


def train_lungs(args: argparse.Namespace) -> None:
    """The lung network, from scratch."""
    torch.manual_seed(0)
    training, validation = lungs.split(lungs.load_slices(args.data))
    schedule = Schedule(
        steps=args.steps,
        learning_rate=args.learning_rate or 2e-3,
        average=0.995,
        validate_every=300,
        save_every=300,
    )
    Trainer(
        build_network({"network": "lungnet", "width": 16}),
        schedule,
        make_batch=lungs.LungBatches(training),
        loss=lungs.lung_batch_loss,
        validate=lungs.LungValidation(validation),
        folder=args.run,
    ).run()


def _weights(checkpoint: Path) -> dict[str, Any]:
    """Of a training's ``best.pt``, or the averaged ones of a run of the tables."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    weights: dict[str, Any] = state["network"] if "network" in state else state["averaged"]
    return weights


def main() -> None:
    """Parse the command line and train, mark, distill or export."""
    parser = argparse.ArgumentParser(
        prog="python -m CovidLesionSegLogic.learn", description=__doc__
    )
    commands = parser.add_subparsers(required=True)
    trainings = {
        "lesions": train_lesions,
        "coarse-refine": coarse_refine.train,
        "lungs": train_lungs,
        "distill": distill_encoder,
    }
    for name, function in trainings.items():
        command = commands.add_parser(name, help=function.__doc__)
        command.add_argument("--data", type=Path, required=True, help="folder of the data sets")
        command.add_argument("--run", type=Path, required=True, help="folder of the checkpoints")
        command.add_argument("--steps", type=int, required=True)
        command.add_argument("--learning-rate", type=float, help="peak of the schedule")
        command.add_argument("--warmup", type=int, default=150, help="steps")
        command.add_argument("--threads", type=int, default=2)
        command.add_argument("--seed", type=int, default=0)
        command.set_defaults(function=function)
    imagenet: dict[str, Any] = {"type": Path, "help": "model.json of the TensorFlow.js ResNet-50"}
    lesion = commands.choices["lesions"]
    start = lesion.add_mutually_exclusive_group(required=True)
    start.add_argument("--imagenet", **imagenet)
    start.add_argument("--start", type=Path, help="best.pt of an earlier run")
    lesion.add_argument("--true-hu", action="store_true", help="add free slices of covid_ct_md")
    lesion.add_argument("--pseudo", type=Path, help="slices marked by 'mark'")
    lesion.add_argument(
        "--one-reader",
        action="store_true",
        help="leave out outlines that disagree with those of medicalsegmentation.com",
    )
    lesion.add_argument(
        "--all-patients", action="store_true", help="train on the validation patients too"
    )
    coarse_refine.add_arguments(commands.choices["coarse-refine"])
    student = commands.choices["distill"]
    student.add_argument("--imagenet", required=True, **imagenet)
    student.add_argument("--encoder", choices=sorted(ENCODERS), required=True)
    student.add_argument("--batch-size", type=int, default=8)
    student.add_argument("--size", type=int, default=192)
    released_gate.add_arguments(commands.add_parser("gate", help=released_gate.train.__doc__))
    manifest = commands.add_parser("manifest", help=at_hand.write_manifest.__doc__)
    at_hand.add_arguments(manifest)
    manifest.set_defaults(function=at_hand.write_manifest)
    mark = commands.add_parser("mark", help=mark_slices.__doc__)
    mark.add_argument("teacher", type=Path, help="best.pt of a run")
    mark.add_argument("output", type=Path, help=".npz")
    mark.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    mark.set_defaults(function=mark_slices)
    validate = commands.add_parser(
        "validate",
        help="print the Dice at 0.5 by validation patient (of a table's run: of volumes only)",
    )
    validate.add_argument("checkpoint", type=Path, help="best.pt, or weights.pt of a table's run")
    validate.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    validate.add_argument(
        "--network", default=json.dumps(REFNET), help="its description (default: %(default)s)"
    )
    validate.add_argument("--threads", type=int, default=2)
    validate.set_defaults(function=validate_lesions)
    average = commands.add_parser("average", help=average_weights.__doc__)
    average.add_argument("output", type=Path)
    average.add_argument("checkpoints", type=Path, nargs="+")
    average.set_defaults(function=average_weights)
    export = commands.add_parser("export", help="write released weights and their card")
    export.add_argument("checkpoint", type=Path)
    export.add_argument("template", type=Path, help="card without its weights entry")
    export.add_argument("folder", type=Path)
    export.set_defaults(function=lambda a: export_model(a.checkpoint, a.template, a.folder))
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if "threads" in args:
        torch.set_num_threads(args.threads)
    args.function(args)


if __name__ == "__main__":
    main()
