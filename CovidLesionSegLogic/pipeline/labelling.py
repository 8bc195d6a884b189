"""From probabilities to labels: thresholds, one class per voxel, inside the lungs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.lungs import bounding_box
from CovidLesionSegLogic.models import LesionClass
from CovidLesionSegLogic.pipeline.specks import remove_small

__all__ = ["complete_lungs", "label_slice", "near_lung", "remove_small"]

LUNG_DILATION_MM = 3.0
"""In-plane: lesions at the pleura reach a little beyond a lung mask drawn by density."""


def label_slice(
    probability: NDArray[np.float32], classes: Sequence[LesionClass], threshold: float | None
) -> NDArray[np.uint8]:
    """Labels of one slice.

    A voxel gets the class with the highest probability among those at or over their threshold;
    of two equal ones the first.

    Parameters
    ----------
    probability
        (classes, h, w), 0...1.
    classes
        In the order of the probabilities.
    threshold
        For every class; None: each class's own.

    Returns
    -------
    ndarray
        (h, w), uint8: the classes' ``label`` values, 0 background.
    """
    limits = np.array(
        [c.threshold if threshold is None else threshold for c in classes], np.float32
    )
    over = np.where(probability >= limits[:, None, None], probability, -1)
    best = over.argmax(axis=0)
    found = over.max(axis=0) >= 0
    values = np.array([c.label for c in classes], np.uint8)
    return np.where(found, values[best], 0).astype(np.uint8)


def near_lung(mask: NDArray[Any], spacing: tuple[float, float]) -> NDArray[np.bool_]:
    """Pixels at most 3 mm from a lung pixel in the plane.

    Parameters
    ----------
    mask
        (h, w), non-zero inside the lungs.
    spacing
        (row, column) spacing, mm.
    """
    from scipy.ndimage import distance_transform_edt

    near = np.zeros(mask.shape, np.bool_)
    rows, columns = (math.ceil(LUNG_DILATION_MM / s) for s in spacing)
    box = bounding_box(mask, (rows, columns))
    if box is not None:
        distance = distance_transform_edt(mask[box] == 0, sampling=spacing)
        near[box] = distance <= LUNG_DILATION_MM
    return near


def complete_lungs(
    lungs: NDArray[np.uint8], labels: NDArray[np.uint8], spacing: tuple[float, float]
) -> None:
    """Give lesion voxels just outside the lungs to the nearest lung of their slice, in place.

    A found lung mask ends a little inside the pleura, or short of a consolidation; lesion tissue
    is lung tissue, and shares of the lungs must count it on both sides of the fraction.

    Parameters
    ----------
    lungs, labels
        (z, y, x); the lungs keep their side values.
    spacing
        (row, column) spacing, mm.
    """
    from scipy.ndimage import distance_transform_edt

    for lung, label in zip(lungs, labels, strict=True):
        missing = (label != 0) & (lung == 0)
        if not (missing.any() and lung.any()):
            continue
        box = bounding_box(missing | (lung != 0))  # of no other pixel does the distance matter
        part = lung[box]
        nearest = distance_transform_edt(
            part == 0, sampling=spacing, return_distances=False, return_indices=True
        )
        part[missing[box]] = part[tuple(nearest)][missing[box]]
