"""The gate of a network trained on own data: trained, exported and set by the validation slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from CovidLesionSegLogic.engine import Cancel, Progress
from CovidLesionSegLogic.errors import InputError
from CovidLesionSegLogic.models import CONSECUTIVE, GateSpec, ModelCard, load_network
from CovidLesionSegLogic.networks import build_network
from CovidLesionSegLogic.networks.coarse_refine import CoarseRefineNet

from .export import export_model
from .gate import train_gate
from .gate_choice import choose_run, choose_segment_above
from .gate_features import gate_probabilities
from .labelled import by_masks
from .sources import Slice


def check_gate_slices(training: Sequence[Slice], validation: Sequence[Slice]) -> None:
    """InputError where a side has no slice free of lesion; that there is lesion is known."""
    for side, slices in (("training", training), ("validation", validation)):
        if all(s.mask.any() for s in slices):
            raise InputError(
                f"Every slice of the {side} patients shows lesion, and a gate needs slices without "
                "too: add slices free of lesion (with black masks), choose another --seed or "
                "--split, or leave --gate out."
            )


def export_with_gate(
    checkpoint: Path,
    template: Mapping[str, Any],
    output: Path,
    training: Sequence[Slice],
    validation: Sequence[Slice],
    *,
    device: torch.device,
    seed: int = 0,
    volumes: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> tuple[ModelCard, NDArray[np.float64]]:
    """Train the gate on the frozen encoder, write the model, choose how the gate is used.

    Parameters
    ----------
    checkpoint
        ``best.pt`` of the segmentation's training; it stays as it is.
    template
        A card without its weights and without a gate.
    training, validation
        The segmentation's own sides.
    volumes
        The slices are of whole CTs, in their order: where the validation has healthy and infected
        ones, the rule on patients is a run of slices.
    progress
        Stage "features" counts slices.

    Returns
    -------
    tuple
        The card, and the installed gate's probabilities of the validation slices (N,).

    Raises
    ------
    CancelledError
        Stopping was asked for; no model was written.
    """
    size = int(template["input"]["size"])
    network = cast(CoarseRefineNet, build_network(template["architecture"]))
    network.load_state_dict(
        torch.load(checkpoint, map_location="cpu", weights_only=True)["network"]
    )
    trained = train_gate(
        network.to(device).eval(),
        by_masks(training),
        by_masks(validation),
        size=size,
        seed=seed,
        progress=progress,
        cancel=cancel,
    )
    with TemporaryDirectory() as folder:
        whole = Path(folder) / "gated.pt"
        torch.save({"network": network.state_dict()}, whole)
        gated = {
            **template,
            "architecture": {**template["architecture"], "gate": True},
            "gate": asdict(GateSpec(segment_above=0.0)),  # until it is chosen: segment all
        }
        card = export_model(whole, gated, output)
    # Of the weights as they are installed, rounded to int8.
    installed = cast(CoarseRefineNet, load_network(card, device))
    p = gate_probabilities(installed, [s.image for s in validation], size=size, cancel=cancel)
    spec = choose_use(p, validation, volumes=volumes)
    story = {
        "penalty": trained.penalty,
        "labels": "a slice is positive where any lesion is outlined",
        "use": f"segment_above misses at most 1 % of the lesion area of each validation patient; "
        f"rule {spec.rule}, run {spec.run}",
    }
    card = replace(card, gate=spec, training={**card.training, "gate": story})
    card.to_json(output / f"{card.name}.json")
    return card, p


def choose_use(
    probabilities: NDArray[np.float64], slices: Sequence[Slice], *, volumes: bool
) -> GateSpec:
    """When slices are segmented and how patients are decided on, by validation slices."""
    above = choose_segment_above(
        list(probabilities),
        [int(np.count_nonzero(s.mask)) for s in slices],
        patients=[s.patient for s in slices],
    )
    spec = GateSpec(segment_above=above)
    if not volumes:
        return spec
    sides: dict[bool, list[list[float]]] = {False: [], True: []}
    for infected, chances in volume_probabilities(probabilities, slices):
        sides[infected].append(chances)
    if not (sides[False] and sides[True]):
        return spec
    run = choose_run(sides[False], sides[True], threshold=spec.threshold).run
    return replace(spec, rule=CONSECUTIVE, run=run) if run > 1 else spec


def volume_probabilities(
    probabilities: NDArray[np.float64], slices: Sequence[Slice]
) -> list[tuple[bool, list[float]]]:
    """Of each CT, whether it has lesion, and its slices' probabilities in order.

    A CT's slices follow each other with rising numbers at the end of their names; numbers that are
    left out (no lung) count as 0, as in a segmentation.
    """
    volumes: list[tuple[bool, list[float]]] = []
    patient, last = "", -1
    for p, s in zip(probabilities, slices, strict=True):
        number = int(s.name.rpartition("_")[2])
        if s.patient != patient or number <= last:
            volumes.append((False, []))
            last = number - 1
        infected, chances = volumes[-1]
        chances += [0.0] * (number - last - 1) + [float(p)]
        volumes[-1] = (infected or bool(s.mask.any()), chances)
        patient, last = s.patient, number
    return volumes
