"""The part of a CT's frame that the lung network looks at: a small body must not be lost in it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CovidLesionSegLogic.lungs.slices import bounding_box

TISSUE_HU = -300
WORKING_SPACING_MM = 4.0
APART_MM = 10.0
"""Of the slices that are looked at."""
THIN_MM = 10.0
"""Tables, blankets and tubes are thinner, bodies are not."""
LARGEST_FRAME = 1.6
"""Times the body's longer side; the network finds the lungs in such a frame as in its own."""
WANTED_FRAME = 1.15


def body_window(hu: NDArray[Any], spacing: tuple[float, float, float]) -> tuple[slice, slice]:
    """Rows and columns around the body: the whole frame, unless it is far larger than the body.

    Parameters
    ----------
    hu
        (z, y, x), HU, canonical orientation.
    spacing
        (i, j, k), mm.

    Returns
    -------
    tuple of slice
        Rows and columns of a window that is square in mm as far as the frame allows.
    """
    si, sj, sk = spacing
    nx, ny = (max(1, round(WORKING_SPACING_MM / s)) for s in (si, sj))
    reach = max(1, round(THIN_MM / 2 / max(nx * si, ny * sj)))
    body = np.zeros(hu[0, ::ny, ::nx].shape, bool)
    for plane in hu[:: max(1, int(APART_MM // sk))]:
        tissue = np.asarray(plane[::ny, ::nx] > TISSUE_HU)
        solid = ndimage.binary_opening(tissue, iterations=reach)
        parts, count = ndimage.label(solid)
        if count:
            sizes = np.bincount(parts.ravel())
            sizes[0] = 0
            part = parts == sizes.argmax()
            body |= part | _air_within(tissue, part, reach + 1)
    box = bounding_box(body)
    whole = slice(0, hu.shape[1]), slice(0, hu.shape[2])
    if box is None:
        return whole
    ends = [(s.start * n, s.stop * n) for s, n in zip(box, (ny, nx), strict=True)]
    steps = (sj, si)
    side = max((end - start) * mm for (start, end), mm in zip(ends, steps, strict=True))
    if max(n * mm for n, mm in zip(hu.shape[1:], steps, strict=True)) <= LARGEST_FRAME * side:
        return whole
    rows, columns = (
        _around((start + end) / 2, WANTED_FRAME * side / mm, n)
        for (start, end), mm, n in zip(ends, steps, hu.shape[1:], strict=True)
    )
    return rows, columns


def _air_within(
    tissue: NDArray[np.bool_], part: NDArray[np.bool_], reach: int
) -> NDArray[np.bool_]:
    """Enclosed air that touches the body's solid part: the wall around a lung may be thin itself.

    The air within a table lies beneath the body and is none.
    """
    holes, count = ndimage.label(ndimage.binary_fill_holes(tissue) & ~tissue)
    rows = np.flatnonzero(part.any(axis=1))
    touching = np.unique(holes[ndimage.binary_dilation(part, iterations=reach)])
    middles = ndimage.center_of_mass(holes > 0, holes, np.arange(1, count + 1))
    kept = [n for n in touching if n and rows[0] <= middles[n - 1][0] <= rows[-1]]
    return np.isin(holes, kept)


def _around(middle: float, length: float, most: int) -> slice:
    return slice(max(0, math.floor(middle - length / 2)), min(most, math.ceil(middle + length / 2)))
