"""Where the lungs come from: the user's mask, else the lung network, else the density rule."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct import read_labels
from CovidLesionSegLogic.ct.orient import Reorientation
from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.engine import Cancel, Progress
from CovidLesionSegLogic.errors import InputError, RequestError
from CovidLesionSegLogic.models import LUNG_MODEL, ModelCard, get_card, load_network
from CovidLesionSegLogic.pipeline.options import SegmentOptions

if TYPE_CHECKING:
    import torch

RIGHT, LEFT = 1, 2


@dataclass(frozen=True, eq=False)
class LungStage:
    """Lungs on the canonical grid (uint8, 1 right, 2 left), how they were found, by which model."""

    mask: NDArray[np.uint8]
    method: str
    model: ModelCard | None
    warnings: tuple[str, ...]


def find_lungs(
    ct: CTVolume,
    canonical: CTVolume,
    reorientation: Reorientation,
    options: SegmentOptions,
    *,
    device: torch.device,
    progress: Progress,
    cancel: Cancel,
) -> LungStage:
    """Find the lungs; InputError when there are none."""
    if options.lungs is not None:
        stage = _given(options.lungs, ct, canonical, reorientation)
    else:
        stage = _found(canonical, device, progress, cancel)
    if not stage.mask.any():
        where = options.lungs or ct.source.get("path") or ct.name
        raise InputError(
            f"No lungs were found in {where}; check that it is a chest CT in HU, or give a mask "
            "with --lungs."
        )
    return stage


def _given(
    path: Path, ct: CTVolume, canonical: CTVolume, reorientation: Reorientation
) -> LungStage:
    notes: list[str] = []
    mask = np.ascontiguousarray(reorientation.apply(read_labels(path, ct, notes=notes)))
    values = np.flatnonzero(np.bincount(mask.ravel()))
    values = values[values > 0]
    note = ""
    if values.size and values.tolist() != [RIGHT, LEFT]:
        from CovidLesionSegLogic.lungs.sides import split_sides

        labels = ", ".join(str(v) for v in values)
        mask = split_sides(mask != 0, canonical.spacing)
        note = f"holds {labels} where 1 (right) and 2 (left) are expected; every label counts as "
        note += "lung, and the sides were told apart by position."
    elif values.size and _mean_column(mask == RIGHT) > _mean_column(mask == LEFT):
        mask = np.choose(mask, np.array([0, LEFT, RIGHT], np.uint8))
        note = "has its labels on the other sides (expected: 1 right, 2 left); they were exchanged."
    if note:
        notes.append(f"The lung mask {path.name} {note}")
    return LungStage(mask, "given", None, tuple(notes))


def _mean_column(mask: NDArray[np.bool_]) -> float:
    """Mean column index; columns run from the patient's right to left."""
    counts = mask.sum(axis=(0, 1))
    return float(np.average(np.arange(len(counts)), weights=counts))


def _found(
    canonical: CTVolume, device: torch.device, progress: Progress, cancel: Cancel
) -> LungStage:
    from CovidLesionSegLogic.lungs import segment_lungs

    card = network = None
    warnings: tuple[str, ...] = ()
    try:
        card = get_card(LUNG_MODEL, "lungs")
        network = load_network(card, device)
    except RequestError:
        warnings = (
            "The lung network is not installed; the lungs were found by density alone, which "
            "misses large consolidations.",
        )
    found: Any = segment_lungs(
        canonical,
        network=(card, network) if network is not None else None,
        device=device,
        progress=progress,
        cancel=cancel,
    )
    used = card if found.method == "network" else None
    return LungStage(np.asarray(found.array), found.method, used, (*warnings, *found.warnings))
