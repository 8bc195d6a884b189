"""The training behind the released coarse-refine network: ground-glass opacity, consolidation."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from CovidLesionSegLogic.models import load_weights
from CovidLesionSegLogic.networks import build_network

from . import pseudo, sources
from .class_batches import ClassBatches, hybrid_batch_loss
from .class_validation import ClassValidation
from .lesions import split
from .schedule import Schedule
from .sources import Slice
from .trainer import Trainer

# No ImageNet weights of SE-ResNet-34 are at hand; Ref-Net's encoder knows ImageNet and lesions.
NETWORK = {
    "network": "coarse-refine",
    "n_classes": 2,
    "encoder": "resnet50",
    "encoder_options": {"stride_at": "1x1"},
}
CLASSES = ("ground-glass opacity", "consolidation")
CONSOLIDATION = 2
SHOWS_CONSOLIDATION = 0.003
"""Part of a slice; the source of slices with more has the ending below."""
ENDING = "_consolidation"
MIXTURE = {
    "sirm100": 0.18,
    "sirm100_consolidation": 0.34,
    "zenodo20": 0.07,
    "medseg": 0.12,
    "medseg_consolidation": 0.14,
    "medseg_free": 0.08,
    "covid_ct_md_free": 0.07,
    "slices_sarscov2ct_pseudo": 0.08,
    "covid_ct_md_pseudo": 0.04,
}
"""Consolidation is rare: slices that show it are drawn more often than chance would."""


def load_slices(data: Path) -> list[Slice]:
    """All labelled slices at hand; the outlines of ``zenodo20`` do not tell lesion types apart."""
    named = [
        *sources.sirm100(data / "sirm100_train50", classes=True),
        *sources.medseg_lesions(data / "medseg_volumes", classes=True),
    ]
    return [
        *map(by_consolidation, named),
        *sources.without_classes(sources.zenodo20(data / "zenodo20")),
        *sources.covid_ct_md(data / "covid_ct_md", infected=False),
    ]


def by_consolidation(one: Slice) -> Slice:
    """The slice, its source told apart where it shows consolidation."""
    if (one.mask == CONSOLIDATION).mean() <= SHOWS_CONSOLIDATION:
        return one
    return replace(one, source=one.source + ENDING)


@dataclass(frozen=True)
class Stage:
    """One stage of the training.

    Attributes
    ----------
    architecture
        For ``build_network``; later stages add modules to earlier ones.
    start
        Weights of an earlier stage, by name; modules that it does not have stay as they are made.
    frozen
        Beginnings of the names of parameters that stay as they are.
    """

    architecture: dict[str, Any]
    start: dict[str, Tensor]
    schedule: Schedule
    batch_size: int
    sizes: tuple[int, ...]
    frozen: tuple[str, ...] = ()
    seed: int = 0
    validation_size: int = 352
    per_patient: int = 6
    mixture: dict[str, float] = field(default_factory=lambda: dict(MIXTURE))


def train_stage(
    stage: Stage, slices: Sequence[Slice], folder: Path, *, all_patients: bool = False
) -> None:
    """Train one stage; ``folder`` gets the checkpoints, as of every training.

    ``all_patients``: the validation patients are trained on too, so that the figures on them say
    nothing any more.

    Raises
    ------
    ValueError
        The start holds weights that the network does not have.
    """
    torch.manual_seed(stage.seed)
    network = build_network(stage.architecture)
    unknown = network.load_state_dict(stage.start, strict=False).unexpected_keys
    if unknown:
        raise ValueError(f"the start's {unknown[0]} is not in the network")
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not name.startswith(stage.frozen) if stage.frozen else True)
    training, validation = split(slices)
    if all_patients:
        training = list(slices)
    Trainer(
        network,
        stage.schedule,
        make_batch=ClassBatches(
            training,
            len(CLASSES),
            mixture=stage.mixture,
            batch_size=stage.batch_size,
            sizes=stage.sizes,
            seed=stage.seed,
        ),
        loss=hybrid_batch_loss,
        validate=ClassValidation(
            validation,
            CLASSES,
            size=stage.validation_size,
            per_patient=stage.per_patient,
        ),
        folder=folder,
        freeze_encoder_norm=True,
    ).run()


def add_arguments(command: argparse.ArgumentParser) -> None:
    """What a stage needs besides data, run folder, steps, learning rate, warm-up and seed."""
    start = command.add_mutually_exclusive_group(required=True)
    start.add_argument("--encoder-of", type=Path, help="weights (.safetensors) of a Ref-Net model")
    start.add_argument("--start", type=Path, help="best.pt of an earlier stage")
    command.add_argument("--coarse-only", action="store_true", help="without the refinement")
    command.add_argument("--frozen", nargs="*", default=[], metavar="MODULE")
    command.add_argument("--sizes", type=int, nargs="+", default=[352])
    command.add_argument("--batch-size", type=int, default=4)
    command.add_argument("--validate-every", type=int, default=250)
    command.add_argument("--encoder-factor", type=float, default=0.5)
    command.add_argument("--average", type=float, default=0.995, help="of the weights, decay")
    command.add_argument("--pseudo", type=Path, help="slices marked by 'mark'")
    command.add_argument(
        "--all-patients", action="store_true", help="train on the validation patients too"
    )


def train(args: argparse.Namespace) -> None:
    """The coarse-refine network for two lesion classes, one stage of it."""
    if args.encoder_of:
        weights = load_weights(args.encoder_of)
        start = {k: v for k, v in weights.items() if k.startswith("encoder.")}
    else:
        start = torch.load(args.start, map_location="cpu", weights_only=True)["network"]
    slices = load_slices(args.data)
    if args.pseudo:
        slices += sources.without_classes(pseudo.read_slices(args.pseudo))
    schedule = Schedule(
        steps=args.steps,
        learning_rate=args.learning_rate or 1e-3,
        encoder_factor=args.encoder_factor,
        warmup=args.warmup,
        average=args.average,
        validate_every=args.validate_every,
        save_every=50,
        precision="auto",
    )
    stage = Stage(
        NETWORK | {"refinement": not args.coarse_only},
        start,
        schedule,
        args.batch_size,
        tuple(args.sizes),
        tuple(args.frozen),
        args.seed,
    )
    train_stage(stage, slices, args.run, all_patients=args.all_patients)
