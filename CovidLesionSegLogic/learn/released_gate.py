"""The gate of the released coarse-refine network: lesion on this slice, or none."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from CovidLesionSegLogic.ct import atomic_path
from CovidLesionSegLogic.networks.coarse_refine import CoarseRefineNet

from . import sources
from .coarse_refine import NETWORK
from .gate import train_gate
from .labelled import LabelledSlice, by_masks, in_hu
from .lesions import VALIDATION_PATIENTS

SIZE = 352
PENALTY, QUIET = 1e-3, 1.0
EVERY = 5


def labelled_slices(data: Path) -> list[LabelledSlice]:
    """Slices of which it is known whether they show lesion.

    Not the collections that say "COVID-19 or not" of a patient: their other patients' lungs are
    not healthy, and a gate that leaves such slices out learns the disease, not the lesion.
    """
    return [
        *in_hu(data),
        *by_masks(sources.sirm100(data / "sirm100_train50")),
        *by_masks(sources.zenodo20(data / "zenodo20")[::EVERY]),
    ]


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Of the command ``gate``."""
    command.add_argument("checkpoint", type=Path, help="best.pt of the last stage")
    command.add_argument("output", type=Path, help="the same weights with a gate (.pt)")
    command.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    command.add_argument(
        "--all-patients", action="store_true", help="train on the validation patients too"
    )
    command.add_argument("--threads", type=int, default=2)
    command.set_defaults(function=train)


def train(args: argparse.Namespace) -> None:
    """Fit the gate of a trained coarse-refine network; print its figures on validation slices."""
    options = {k: v for k, v in NETWORK.items() if k != "network"}
    network = CoarseRefineNet(**options)  # type: ignore[arg-type]
    state = torch.load(args.checkpoint, map_location="cpu", weights_only=True)["network"]
    network.load_state_dict(state)
    every = labelled_slices(args.data)
    validation = [s for s in every if s.patient in VALIDATION_PATIENTS]
    training = every if args.all_patients else [s for s in every if s not in validation]
    result = train_gate(
        network, training, validation, size=SIZE, views=1, penalties=(PENALTY,), quiet=QUIET
    )
    sys.stdout.write(json.dumps(result.figures, indent=2) + "\n")
    with atomic_path(args.output) as temporary:
        torch.save({"network": network.state_dict()}, temporary)
