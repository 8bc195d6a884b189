"""The lung mask of a CT from a network's slice-wise probabilities or from density alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.lungs.classical import air_filled_lungs, fill_small_holes
from CovidLesionSegLogic.lungs.pieces import drop_other_pieces
from CovidLesionSegLogic.lungs.sides import LEFT, RIGHT, split_sides
from CovidLesionSegLogic.lungs.slices import bounding_box, count_labels

THRESHOLD = 0.5
MINIMUM_LUNG_ML = 100.0
"""Both lungs together; below this there is no chest in the picture."""
SMALL_CHEST_SHARE = 0.15
"""Of the body in one slice: so much lung is a chest, however small (a newborn, a thin slab)."""
TISSUE_HU = -300
ALMOST_NONE, FAR_LESS = 0.05, 0.6
"""Share of the other lung's volume below which the smaller one is remarked upon."""
LARGEST_HOLE_MM2 = 600.0


class SlicePrediction(Protocol):
    """Probabilities (2, h, w) of right and left lung that lie at ``box`` of slice ``index``."""

    @property
    def index(self) -> int: ...
    @property
    def box(self) -> Any: ...
    @property
    def probability(self) -> NDArray[np.float32]: ...


@dataclass(frozen=True, eq=False)
class LungMask:
    """Lungs on a canonical grid: (z, y, x) uint8, 1 right and 2 left, and how they were found."""

    array: NDArray[np.uint8]
    method: str
    warnings: tuple[str, ...] = ()


def has_lung(one: SlicePrediction) -> bool:
    """Whether any pixel of the slice is lung, right or left."""
    return bool((one.probability >= THRESHOLD).any())


def lungs_from_predictions(
    predictions: Iterable[SlicePrediction],
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    *,
    hu: NDArray[Any] | None = None,
) -> LungMask:
    """Assemble the lung network's slices and clean them up in three dimensions.

    Parameters
    ----------
    predictions
        In any order; missing slices have no lung.
    shape
        (z, y, x) of the canonical grid.
    spacing
        (i, j, k), mm.
    hu
        (z, y, x), HU: what holds gas and no tissue (bowel, open air) is then no lung.

    Returns
    -------
    LungMask
        Empty when there is less than 100 mL of lung, unless (as ``hu`` shows) that is much for so
        small a body or so few slices.
    """
    labels = np.zeros(shape, np.uint8)
    for one in predictions:
        right, left = one.probability
        lung = np.maximum(right, left) >= THRESHOLD
        side = np.where(left > right, np.uint8(LEFT), np.uint8(RIGHT))
        labels[(one.index, *one.box.slices)] = side * lung
    notes = drop_other_pieces(labels, spacing, hu)
    _fill_holes(labels, spacing)
    return _checked(labels, spacing, "network", *notes, hu=hu)


def lungs_from_density(hu: NDArray[Any], spacing: tuple[float, float, float]) -> LungMask:
    """Lungs by density (HU, canonical grid); large consolidations are lost, which is said."""
    labels = split_sides(air_filled_lungs(hu, spacing), spacing)
    note = "The lungs were found by density alone, which misses large consolidations."
    return _checked(labels, spacing, "classical", note)


def _checked(
    labels: NDArray[np.uint8],
    spacing: tuple[float, float, float],
    method: str,
    *warnings: str,
    hu: NDArray[Any] | None = None,
) -> LungMask:
    voxel_ml = float(np.prod(spacing)) / 1000
    counts = count_labels(labels)[[RIGHT, LEFT]] * voxel_ml
    if counts.sum() < MINIMUM_LUNG_ML and not _fills_a_chest(labels, hu):
        return LungMask(np.zeros_like(labels), method)
    notes = list(warnings)
    small, large = sorted(counts.tolist())
    side, other = ("right", "left") if counts[0] < counts[1] else ("left", "right")
    against = f"{small:.0f} mL against {large:.0f} mL"
    if small < ALMOST_NONE * large:
        notes.append(
            f"Almost no {side} lung was found ({against}); check the lung mask, or give your own "
            "with --lungs."
        )
    elif small < FAR_LESS * large:
        notes.append(
            f"Far less {side} than {other} lung was found ({against}): fluid, collapse or "
            "consolidation may be missing from it; check the lung mask, or give your own with "
            "--lungs."
        )
    cut = [name for k, name in ((0, "first"), (-1, "last")) if _cut_at(labels[k], spacing)]
    if cut:
        notes.append(
            f"The lungs reach the {' and the '.join(cut)} slice: a part of them lies outside the "
            "scan, and volumes cover the scanned part only."
        )
    return LungMask(labels, method, tuple(notes))


def _fills_a_chest(labels: NDArray[np.uint8], hu: NDArray[Any] | None) -> bool:
    """Whether lungs take a notable part of the body in some slice."""
    if hu is None:
        return False
    k = int(np.argmax([np.count_nonzero(plane) for plane in labels]))
    lung = labels[k] != 0
    body = np.count_nonzero(lung | (hu[k] > TISSUE_HU))
    return bool(np.count_nonzero(lung) > SMALL_CHEST_SHARE * body)


def _cut_at(plane: NDArray[np.uint8], spacing: tuple[float, float, float]) -> bool:
    """Whether so much lung (over 10 cm2) lies in an end slice that more must follow."""
    return bool(np.count_nonzero(plane) * spacing[0] * spacing[1] > 1000.0)


def _fill_holes(labels: NDArray[np.uint8], spacing: tuple[float, float, float]) -> None:
    """Fill small holes of each slice with the side around them, in place."""
    largest = LARGEST_HOLE_MM2 / (spacing[0] * spacing[1])
    for plane in labels:
        for side in (RIGHT, LEFT):
            mask = plane == side
            box = bounding_box(mask)
            if box is not None:  # holes lie inside the box, and so does all that encloses them
                part = plane[box]
                part[fill_small_holes(mask[box], largest) & (part == 0)] = side
