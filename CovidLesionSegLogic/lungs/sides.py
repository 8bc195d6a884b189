"""Telling the right lung from the left one in a mask that does not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

RIGHT, LEFT = 1, 2
# A lung counts as a second one when it has at least this share of the first one's volume; a
# shrunken lung is rarely smaller, debris rarely larger.
SECOND_LUNG_SHARE = 0.08
WORKING_SPACING_MM = 3.0
MAXIMUM_EROSION_MM = 15.0


def split_sides(mask: NDArray[np.bool_], spacing: tuple[float, float, float]) -> NDArray[np.uint8]:
    """Label a lung mask by side.

    The lungs often touch at the anterior junction line: the mask is eroded, on a coarse copy,
    until it falls into two large parts, which then grow back to claim every voxel by distance.

    Parameters
    ----------
    mask
        (z, y, x) in canonical orientation (x grows to the patient's left).
    spacing
        (i, j, k) in mm.

    Returns
    -------
    (z, y, x) uint8: 0, 1 right lung, 2 left lung. When only one part is found, it is one lung and
    is named by its place relative to the middle of the frame.
    """
    labels = np.zeros(mask.shape, np.uint8)
    if not mask.any():
        return labels
    steps = tuple(max(1, round(WORKING_SPACING_MM / s)) for s in reversed(spacing))
    coarse = mask[:: steps[0], :: steps[1], :: steps[2]]
    coarse_spacing = tuple(s * n for s, n in zip(reversed(spacing), steps, strict=True))
    if not coarse.any():
        labels[mask] = RIGHT
        return labels
    seeds = _two_parts(coarse, coarse_spacing)
    nearest = ndimage.distance_transform_edt(
        seeds == 0, sampling=coarse_spacing, return_distances=False, return_indices=True
    )
    claimed = seeds[tuple(nearest)]
    jj = np.minimum(np.arange(mask.shape[1]) // steps[1], claimed.shape[1] - 1)
    ii = np.minimum(np.arange(mask.shape[2]) // steps[2], claimed.shape[2] - 1)
    for k in range(mask.shape[0]):
        plane = claimed[min(k // steps[0], len(claimed) - 1)]
        labels[k] = plane[np.ix_(jj, ii)] * mask[k]
    return labels


def _two_parts(mask: NDArray[np.bool_], spacing: tuple[float, ...]) -> NDArray[np.uint8]:
    """Seeds (right 1, left 2) of the two lungs in a coarse mask; one seed if there is one lung."""
    depth = ndimage.distance_transform_edt(mask, sampling=spacing)
    middle = (mask.shape[2] - 1) / 2
    components, _ = ndimage.label(mask)
    for erosion in np.arange(0.0, MAXIMUM_EROSION_MM, 1.5):
        core = depth > erosion
        components, count = ndimage.label(core)
        if count < 2:
            continue
        sizes = np.bincount(components.ravel())[1:]
        first, second = (np.argsort(sizes)[::-1][:2] + 1).tolist()
        if sizes[second - 1] < SECOND_LUNG_SHARE * sizes[first - 1]:
            continue
        x_first, x_second = (
            float(np.flatnonzero((components == c).any((0, 1))).mean()) for c in (first, second)
        )
        if abs(x_first - x_second) < 0.1 * mask.shape[2]:
            continue  # one above the other: a piece of the same lung
        seeds = np.zeros(mask.shape, np.uint8)
        seeds[components == first] = RIGHT if x_first < x_second else LEFT
        seeds[components == second] = LEFT if x_first < x_second else RIGHT
        return seeds
    x = float(np.nonzero(mask)[2].mean())
    return mask * np.uint8(RIGHT if x < middle else LEFT)
