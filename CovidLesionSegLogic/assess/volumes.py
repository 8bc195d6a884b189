"""Scores of whole volumes: overlap, and volumes in mL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.learn.sources import UNKNOWN_CLASS
from CovidLesionSegLogic.lungs import LEFT, RIGHT
from CovidLesionSegLogic.models import LesionClass


@dataclass(frozen=True)
class VolumeScores:
    """Agreement of two lesion masks; mL, and None where a ratio has nothing to rest on.

    ``volume_error_ml`` is found minus true; ``false_positive_ml`` is found outside the truth.
    """

    dice: float | None
    sensitivity: float | None
    precision: float | None
    truth_ml: float
    found_ml: float
    volume_error_ml: float
    false_positive_ml: float

    @property
    def both_empty(self) -> bool:
        """Whether there is no lesion in either mask."""
        return self.dice is None


def ratio(above: int, below: int) -> float | None:
    """``above`` / ``below``; None when ``below`` is 0."""
    return above / below if below else None


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float | None:
    """Dice coefficient of two masks of one shape; None when both are empty."""
    return ratio(2 * _count(a & b), _count(a) + _count(b))


def _count(mask: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(mask))


def score_volume(found: NDArray[Any], truth: NDArray[Any], voxel_volume_ml: float) -> VolumeScores:
    """Compare two label maps (z, y, x) of one grid, all classes (non-zero values) together.

    Raises
    ------
    ValueError
        The shapes differ.
    """
    if found.shape != truth.shape:
        raise ValueError(f"result {found.shape} and ground truth {truth.shape} differ in size")
    marked, lesion = found != 0, truth != 0
    hits, n_marked, n_lesion = _count(marked & lesion), _count(marked), _count(lesion)
    return VolumeScores(
        dice=ratio(2 * hits, n_marked + n_lesion),
        sensitivity=ratio(hits, n_lesion),
        precision=ratio(hits, n_marked),
        truth_ml=n_lesion * voxel_volume_ml,
        found_ml=n_marked * voxel_volume_ml,
        volume_error_ml=(n_marked - n_lesion) * voxel_volume_ml,
        false_positive_ml=(n_marked - hits) * voxel_volume_ml,
    )


def score_classes(
    found: NDArray[Any],
    truth: NDArray[np.uint8],
    classes: Sequence[LesionClass],
    voxel_volume_ml: float,
) -> dict[str, VolumeScores] | None:
    """Compare two label maps (z, y, x) of one grid class by class, by the class's name.

    None where the truth does not tell the classes apart: one label alone may mean any lesion, and
    255 is lesion of unknown class. A truth without lesion holds for every class.
    """
    values = set(np.flatnonzero(np.bincount(truth.ravel(), minlength=1)).tolist()) - {0}
    known = values & {c.label for c in classes}
    if values and (len(values) == 1 or not known or UNKNOWN_CLASS in values):
        return None
    return {
        c.name: score_volume(found == c.label, truth == c.label, voxel_volume_ml) for c in classes
    }


def score_lungs(
    found: NDArray[np.uint8], truth: NDArray[np.uint8], affine: NDArray[np.float64]
) -> dict[str, float | None]:
    """Dice of both lungs and, where the truth tells them apart (labels 1 and 2), of each.

    Which of the two labels is the right lung is seen from where they lie, not from the number:
    public data sets use both orders.

    Parameters
    ----------
    found
        (z, y, x), 1 the patient's right lung, 2 the left.
    truth
        (z, y, x) on the same grid.
    affine
        (4, 4), voxel index (i, j, k, 1) to LPS mm.
    """
    scores = {"lung_dice": dice(found != 0, truth != 0)}
    right = left = None
    values = np.flatnonzero(np.bincount(truth.ravel(), minlength=3))
    if [v for v in values if v] == [1, 2]:
        first, second = (_leftward_mm(truth == v, affine) for v in (1, 2))
        right_label, left_label = (1, 2) if first < second else (2, 1)
        right = dice(found == RIGHT, truth == right_label)
        left = dice(found == LEFT, truth == left_label)
    return scores | {"right_lung_dice": right, "left_lung_dice": left}


def _leftward_mm(mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> float:
    """LPS x of the mask's centroid: grows towards the patient's left."""
    total = _count(mask)
    x = float(affine[0, 3])
    for axis, weight in zip((2, 1, 0), affine[0, :3], strict=True):  # i, j, k
        others = tuple(a for a in range(3) if a != axis)
        counts = mask.sum(axis=others)
        x += float(weight) * float((counts * np.arange(len(counts))).sum()) / total
    return x
