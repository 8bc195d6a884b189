"""Linear interpolation of slices onto a straight, even grid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.values import AIR_HU

NEAR = 0.02
"""A slice this close (share of the gap) to where it belongs is taken as it is."""


def straighten(
    array: NDArray[Any], drift: NDArray[np.float64], spacing: tuple[float, float]
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Undo the sideways drift of a tilted stack by shifting every slice within its plane.

    The slices grow so that nothing is cut off; what lies outside a slice is -1024 HU.

    Parameters
    ----------
    array
        Shape (z, y, x), HU.
    drift
        Shape (z, 2): offset of each slice along a row (x) and along a column (y), mm.
    spacing
        Pixel spacing along x and y, mm.

    Returns
    -------
    straight
        Shape (z, y', x') of the same dtype, y' >= y and x' >= x.
    shift
        Offset (x, y) in mm of the new first pixel against the first slice's old one.
    """
    pixels = drift / np.asarray(spacing)
    pixels = np.where(np.ptp(pixels, axis=0) < 0.05, 0.0, pixels)  # rounding is no drift
    low = np.floor(pixels.min(axis=0)).astype(int)
    high = np.ceil(pixels.max(axis=0)).astype(int)
    slices, rows, columns = array.shape
    grow_x, grow_y = (high - low).tolist()
    straight = np.full((slices, rows + grow_y, columns + grow_x), AIR_HU, dtype=array.dtype)
    for index in range(slices):
        x, y = pixels[index] - low
        plane = _shifted(array[index].astype(np.float32), float(y), 0, rows + grow_y)
        plane = _shifted(plane, float(x), 1, columns + grow_x)
        straight[index] = _like(plane, array.dtype)
    return straight, low * np.asarray(spacing)


class Place(NamedTuple):
    """A slice of the even stack: ``share`` of slice ``upper``, the rest of the one below it.

    ``own`` is the slice that is taken as it is, None where two are mixed.
    """

    upper: int
    share: float
    own: int | None


def even_heights(heights: NDArray[np.float64], step: float) -> Iterator[Place]:
    """Where the slices at 0, step, 2 step, ... lie among those at ``heights`` (mm, rising)."""
    for index in range(round(float(heights[-1]) / step) + 1):
        height = min(index * step, float(heights[-1]))
        upper = int(np.clip(np.searchsorted(heights, height), 1, len(heights) - 1))
        share = float((height - heights[upper - 1]) / (heights[upper] - heights[upper - 1]))
        own = None
        if not NEAR < share < 1 - NEAR:
            own = upper - 1 if share < 0.5 else upper
        yield Place(upper, share, own)


def fill_heights(array: NDArray[Any], heights: NDArray[np.float64], step: float) -> NDArray[Any]:
    """Slices at ``heights`` (mm, rising from 0) to even heights 0, step, 2 step, ...

    Every new slice is interpolated linearly between its two neighbours; the dtype stays.
    """
    places = list(even_heights(heights, step))
    out = np.empty((len(places), *array.shape[1:]), dtype=array.dtype)
    for index, (upper, share, own) in enumerate(places):
        if own is not None:
            out[index] = array[own]
            continue
        plane = array[upper - 1] * np.float32(1 - share) + array[upper] * np.float32(share)
        out[index] = _like(plane, array.dtype)
    return out


def _shifted(
    plane: NDArray[np.float32], pixels: float, axis: int, length: int
) -> NDArray[np.float32]:
    """``plane`` moved up by ``pixels`` >= 0 along ``axis`` into ``length`` pixels, air around."""
    whole = int(np.floor(pixels))
    part = np.float32(pixels - whole)
    size = plane.shape[axis]
    shape = [*plane.shape]
    shape[axis] = length + 1
    out = np.full(shape, AIR_HU, dtype=np.float32)
    target = np.moveaxis(out, axis, 0)
    target[whole : whole + size] = np.moveaxis(plane, axis, 0)
    if part > 0:
        previous = np.concatenate((np.full_like(target[:1], AIR_HU), target[:-1]))
        target *= 1 - part
        target += previous * part
    return np.moveaxis(target[:length], 0, axis)


def _like(plane: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.rint(plane).astype(dtype) if dtype.kind == "i" else plane.astype(dtype)
