"""The trainings behind the released weights: ``python -m CovidLesionSegLogic.learn``."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch

from CovidLesionSegLogic.networks import build_network

from . import lesions, lungs
from .export import export_model
from .imagenet import resnet50_state_dict
from .trainer import Schedule, Trainer


def train_lesions(args: argparse.Namespace) -> None:
    """Ref-Net with a ResNet-50 that knows ImageNet."""
    torch.manual_seed(0)
    network = build_network(
        {"network": "refnet", "encoder": "resnet50", "encoder_options": {"stride_at": "1x1"}}
    )
    if args.start:
        state = torch.load(args.start, map_location="cpu", weights_only=True)
        network.load_state_dict(state["network"])
    else:
        encoder = network.get_submodule("encoder")
        encoder.load_state_dict(resnet50_state_dict(args.imagenet))
    training, validation = lesions.split(lesions.load_slices(args.data, true_hu=args.true_hu))
    schedule = Schedule(
        steps=args.steps,
        learning_rate=args.learning_rate or 2e-4,
        encoder_factor=0.5,
        warmup=150,
        validate_every=200,
        save_every=100,
    )
    Trainer(
        network,
        schedule,
        make_batch=lesions.LesionBatches(training),
        loss=lesions.refnet_batch_loss,
        validate=lesions.LesionValidation(validation),
        folder=args.run,
        freeze_encoder_norm=True,
    ).run()


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


def main() -> None:
    """Parse the command line and train or export."""
    parser = argparse.ArgumentParser(
        prog="python -m CovidLesionSegLogic.learn", description=__doc__
    )
    commands = parser.add_subparsers(required=True)
    for name, function in (("lesions", train_lesions), ("lungs", train_lungs)):
        command = commands.add_parser(name, help=function.__doc__)
        command.add_argument("--data", type=Path, required=True, help="folder of the data sets")
        command.add_argument("--run", type=Path, required=True, help="folder of the checkpoints")
        command.add_argument("--steps", type=int, required=True)
        command.add_argument("--learning-rate", type=float, help="peak of the schedule")
        command.add_argument("--threads", type=int, default=2)
        command.set_defaults(function=function)
        if name == "lesions":
            start = command.add_mutually_exclusive_group(required=True)
            start.add_argument(
                "--imagenet", type=Path, help="model.json of the TensorFlow.js model"
            )
            start.add_argument("--start", type=Path, help="best.pt of an earlier run")
            command.add_argument(
                "--true-hu", action="store_true", help="add lesion-free slices of covid_ct_md"
            )
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
