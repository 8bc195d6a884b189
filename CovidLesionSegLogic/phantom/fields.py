"""Implicit functions the anatomy is made of: negative inside, about a distance in mm."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import map_coordinates

from CovidLesionSegLogic.phantom.grid import Array, Points


class Profile:
    """A smooth curve through (height, value) pairs, quick to read for many heights.

    Parameters
    ----------
    heights
        Any order, mm.
    values
        One for each height.
    """

    STEP = 0.25

    def __init__(self, heights: ArrayLike, values: ArrayLike) -> None:
        order = np.argsort(heights)
        h = np.asarray(heights, dtype=float)[order]
        self._first = float(h[0])
        grid = np.arange(h[0], h[-1] + self.STEP, self.STEP)
        curve = PchipInterpolator(h, np.asarray(values, dtype=float)[order])
        self._table = curve(np.minimum(grid, h[-1])).astype(np.float32)

    def __call__(self, z: ArrayLike) -> Array:
        """Values at heights ``z`` (mm), constant beyond the ends."""
        index = (np.asarray(z, dtype=np.float32) - self._first) * np.float32(1.0 / self.STEP)
        return self._table[np.clip(np.rint(index), 0, len(self._table) - 1).astype(np.int32)]


class Noise:
    """Smooth random field in the patient's space: mean 0, standard deviation about 1.

    The lattice repeats after ``size`` cells; positions are divided by ``scale`` mm.
    """

    def __init__(self, rng: np.random.Generator, size: int = 40) -> None:
        self._lattice = rng.standard_normal((size, size, size)).astype(np.float32)

    def __call__(self, p: Points, scale: float, shift: float = 0.0) -> Array:
        """The field at ``p`` with features of ``scale`` mm; another ``shift``, another field."""
        coordinates = np.empty((3, *p.shape), np.float32)
        for row, values in enumerate((p.z, p.y, p.x)):
            cell = values / np.float32(scale) + np.float32(shift * (1.0 + 0.37 * row))
            base = np.floor(cell)
            t = cell - base
            coordinates[row] = base + t * t * (3.0 - 2.0 * t)
        out = np.empty(p.shape, np.float32)
        map_coordinates(self._lattice, coordinates, output=out, order=1, mode="grid-wrap")
        out *= np.float32(1.9)  # interpolation averages neighbours: bring the deviation back to 1
        return out

    def fractal(self, p: Points, scale: float, shift: float = 0.0, octaves: int = 3) -> Array:
        """Sum of octaves, each half as large and half as strong as the one before."""
        total = self(p, scale, shift)
        for octave in range(1, octaves):
            total += self(p, scale / 2**octave, shift + 7.3 * octave) * np.float32(0.5**octave)
        return total * np.float32(0.87)


def smooth_min(a: Array, b: Array | np.float32, k: float) -> Array:
    """Union of two fields whose seam is filled over about ``k`` mm."""
    h = np.maximum(np.float32(k) - np.abs(a - b), 0.0)
    h *= h
    h *= np.float32(0.25 / k)
    return np.minimum(a, b) - h


def smooth_max(a: Array, b: Array | np.float32, k: float) -> Array:
    """Intersection of two fields whose edge is rounded over about ``k`` mm."""
    return -smooth_min(-a, -b, k)


def ellipsoid(
    p: Points, centre: ArrayLike, radii: ArrayLike, axes: NDArray[np.float64] | None = None
) -> Array:
    """About the distance (mm) to an ellipsoid; rows of ``axes`` are its unit axes in LPS."""
    c = np.asarray(centre, dtype=np.float32)
    r = np.asarray(radii, dtype=np.float32)
    x, y, z = p.x - c[0], p.y - c[1], p.z - c[2]
    if axes is None:
        square = (x / r[0]) ** 2 + (y / r[1]) ** 2 + (z / r[2]) ** 2
    else:
        m = (np.asarray(axes) / r[:, None]).astype(np.float32)
        square = (
            (m[0, 0] * x + m[0, 1] * y + m[0, 2] * z) ** 2
            + (m[1, 0] * x + m[1, 1] * y + m[1, 2] * z) ** 2
            + (m[2, 0] * x + m[2, 1] * y + m[2, 2] * z) ** 2
        )
    return (np.sqrt(square) - 1.0) * float(r.min())


def polyline(p: Points, path: ArrayLike, radii: ArrayLike) -> Array:
    """Distance (mm) to a tube along ``path`` (n, 3) whose radius changes evenly between nodes."""
    nodes = np.asarray(path, dtype=np.float32)
    r = np.broadcast_to(np.asarray(radii, dtype=np.float32), (len(nodes),))
    best = np.full(p.shape, 1e4, np.float32)
    for a, b, ra, rb in zip(nodes[:-1], nodes[1:], r[:-1], r[1:], strict=True):
        d = b - a
        x, y, z = p.x - a[0], p.y - a[1], p.z - a[2]
        t = (x * d[0] + y * d[1] + z * d[2]) / max(float(d @ d), 1e-6)
        t = np.clip(t, 0.0, 1.0)
        gap = np.sqrt((x - t * d[0]) ** 2 + (y - t * d[1]) ** 2 + (z - t * d[2]) ** 2)
        gap -= ra + t * (rb - ra)
        np.minimum(best, gap, out=best)
    return best


def spline(nodes: ArrayLike, count: int) -> NDArray[np.float64]:
    """``count`` points along a smooth curve through ``nodes`` (n, d)."""
    n = np.asarray(nodes, dtype=float)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(n[:, :3], axis=0), axis=1))])
    return np.asarray(PchipInterpolator(length, n)(np.linspace(0.0, length[-1], count)))
