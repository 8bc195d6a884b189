"""Lung mask by thresholds and morphology: no network needed, but dense consolidation is lost."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

AIR_HU = -400
AIRWAY_HU = -850.0
WORKING_PIXELS = 256
MINIMUM_LUNG_ML = 50.0
MINIMUM_SHARE = 0.08  # of the largest air space; less is bowel gas or debris
AIRWAY_AREA_MM2 = 700.0
AIRWAY_OFF_MIDDLE = 0.12  # of the body's width
CLOSING_MM = 7.0
LARGEST_HOLE_MM2 = 600.0  # vessels and nodules; the dome of the liver is larger


def air_filled_lungs(hu: NDArray[Any], spacing: tuple[float, float, float]) -> NDArray[np.bool_]:
    """Air-filled lung with its vessels, both sides together.

    Parameters
    ----------
    hu
        (z, y, x) HU in canonical orientation.
    spacing
        (i, j, k) in mm.

    Returns
    -------
    (z, y, x) bool, all False when there is no air space of lung size within the body.
    """
    step = max(1, round(max(hu.shape[1:]) / WORKING_PIXELS))
    si, sj, sk = spacing[0] * step, spacing[1] * step, spacing[2]
    voxel_ml = si * sj * sk / 1000
    result = np.zeros(hu.shape, bool)
    inside = np.zeros((hu.shape[0], *hu[0, ::step, ::step].shape), bool)
    for k, plane in enumerate(hu):
        inside[k] = _enclosed_air(np.asarray(plane[::step, ::step]), si * sj)
    components, count = ndimage.label(inside)
    if not count:
        return result
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    if sizes.max() * voxel_ml < MINIMUM_LUNG_ML:
        return result
    keep = (sizes >= MINIMUM_SHARE * sizes.max()) & (sizes * voxel_ml >= MINIMUM_LUNG_ML / 2)
    lungs = keep[components]
    radius = max(1, round(CLOSING_MM / min(si, sj)))
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disc = x * x + y * y <= radius * radius
    for k in np.flatnonzero(lungs.any((1, 2))):
        padded = np.pad(lungs[k], radius)
        closed = ndimage.binary_closing(padded, disc)[radius:-radius, radius:-radius]
        filled = fill_small_holes(closed, LARGEST_HOLE_MM2 / (si * sj))
        full = filled.repeat(step, 0).repeat(step, 1)[: hu.shape[1], : hu.shape[2]]
        result[k, : full.shape[0], : full.shape[1]] = full
    return result


def _enclosed_air(plane: NDArray[Any], pixel_mm2: float) -> NDArray[np.bool_]:
    """Air of one slice that does not reach the frame, without trachea and main bronchi."""
    air, count = ndimage.label(plane < AIR_HU)
    if not count:
        return np.zeros(plane.shape, bool)
    keep = np.ones(count + 1, bool)
    keep[0] = False
    for border in (air[0], air[-1], air[:, 0], air[:, -1]):
        keep[border] = False
    areas = np.bincount(air.ravel(), minlength=count + 1) * pixel_mm2
    index = np.arange(count + 1)
    means = ndimage.mean(plane, air, index)
    body = np.flatnonzero((plane > AIR_HU).any(0))
    if body.size:
        columns = np.broadcast_to(np.arange(plane.shape[1]), plane.shape)
        off_middle = np.abs(ndimage.mean(columns, air, index) - (body[0] + body[-1]) / 2)
        central = off_middle < AIRWAY_OFF_MIDDLE * (body[-1] - body[0])
        keep &= ~(central & (areas < AIRWAY_AREA_MM2) & (means < AIRWAY_HU))
    return keep[air]


def fill_small_holes(mask: NDArray[np.bool_], largest_px: float) -> NDArray[np.bool_]:
    """Fill the enclosed holes of a slice's mask (y, x) that have at most ``largest_px`` pixels."""
    holes, count = ndimage.label(ndimage.binary_fill_holes(mask) & ~mask)
    small = np.bincount(holes.ravel(), minlength=count + 1) <= largest_px
    small[0] = False
    return np.asarray(mask | small[holes])
