"""The lung mask of a CT from a network's slice-wise probabilities or from density alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CovidLesionSegLogic.lungs.classical import air_filled_lungs, fill_small_holes
from CovidLesionSegLogic.lungs.sides import LEFT, RIGHT, WORKING_SPACING_MM, split_sides
from CovidLesionSegLogic.lungs.slices import bounding_box, count_labels

THRESHOLD = 0.5
MINIMUM_LUNG_ML = 100.0
"""Both lungs together; below this there is no chest in the picture."""
PIECE_SHARE = 0.02
"""Pieces of a lung below this share of its largest piece are debris."""
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

    Returns
    -------
    LungMask
        Empty when there is less than 100 mL of lung.
    """
    labels = np.zeros(shape, np.uint8)
    for one in predictions:
        right, left = one.probability
        lung = np.maximum(right, left) >= THRESHOLD
        side = np.where(left > right, np.uint8(LEFT), np.uint8(RIGHT))
        labels[(one.index, *one.box.slices)] = side * lung
    _drop_debris(labels, spacing)
    _fill_holes(labels, spacing)
    return _checked(labels, spacing, "network")


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
) -> LungMask:
    voxel_ml = float(np.prod(spacing)) / 1000
    counts = count_labels(labels)[[RIGHT, LEFT]] * voxel_ml
    if counts.sum() < MINIMUM_LUNG_ML:
        return LungMask(np.zeros_like(labels), method)
    notes = list(warnings)
    small, large = sorted(counts.tolist())
    if small < 0.05 * large:
        side = "right" if counts[0] < counts[1] else "left"
        notes.append(
            f"Almost no {side} lung was found ({small:.0f} mL against {large:.0f} mL); check the "
            "lung mask, or give your own with --lungs."
        )
    cut = [name for k, name in ((0, "first"), (-1, "last")) if _cut_at(labels[k], spacing)]
    if cut:
        notes.append(
            f"The lungs reach the {' and the '.join(cut)} slice: a part of them lies outside the "
            "scan, and volumes cover the scanned part only."
        )
    return LungMask(labels, method, tuple(notes))


def _cut_at(plane: NDArray[np.uint8], spacing: tuple[float, float, float]) -> bool:
    """Whether so much lung (over 10 cm2) lies in an end slice that more must follow."""
    return bool(np.count_nonzero(plane) * spacing[0] * spacing[1] > 1000.0)


def _drop_debris(labels: NDArray[np.uint8], spacing: tuple[float, float, float]) -> None:
    """Keep each lung's largest piece and others of notable size, in place.

    Pieces are found on a coarse copy: connectivity needs no fine grid, memory does not allow it.
    """
    nz, ny, nx = (max(1, round(WORKING_SPACING_MM / s)) for s in reversed(spacing))
    coarse = labels[::nz, ::ny, ::nx]
    keep = np.zeros(coarse.shape, bool)
    for side in (RIGHT, LEFT):
        pieces, count = ndimage.label(coarse == side)
        if count:
            sizes = np.bincount(pieces.ravel())
            sizes[0] = 0
            keep |= (sizes >= max(2, PIECE_SHARE * sizes.max()))[pieces]
    # A coarse voxel stands for its neighbourhood; grow by one so that no border is lost.
    keep = ndimage.binary_dilation(keep, np.ones((3, 3, 3), bool))
    for k, plane in enumerate(labels):
        near = keep[min(k // nz, len(keep) - 1)]
        fine = near.repeat(ny, 0).repeat(nx, 1)[: plane.shape[0], : plane.shape[1]]
        plane *= fine


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
