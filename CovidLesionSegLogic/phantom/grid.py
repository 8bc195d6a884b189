"""Where the voxels of any CT grid lie in the patient, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float32]
Window = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Points:
    """Positions in the patient: LPS mm, three float32 arrays that broadcast to one shape."""

    x: Array
    y: Array
    z: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape the three coordinates broadcast to."""
        return np.broadcast_shapes(self.x.shape, self.y.shape, self.z.shape)

    def __getitem__(self, window: Window) -> Points:
        def cut(a: Array) -> Array:
            # An axis of length one stands for every index along it.
            return a[
                tuple(s if n > 1 else slice(None) for s, n in zip(window, a.shape, strict=True))
            ]

        return Points(cut(self.x), cut(self.y), cut(self.z))

    def at(self, mask: NDArray[np.bool_]) -> Points:
        """The positions where ``mask`` (of the full shape) holds, as three 1-D arrays."""
        x, y, z = (np.broadcast_to(a, self.shape)[mask] for a in (self.x, self.y, self.z))
        return Points(x, y, z)


@dataclass(frozen=True, eq=False)
class Block:
    """A run of whole slices with one voxel of margin on every side.

    Parameters
    ----------
    first, last
        The slices (k) of the grid the block covers, ``first <= k < last``.
    points
        Positions of (last - first + 2, rows + 2, columns + 2) voxel centres, margin included.
    start
        Centre of the block's first voxel (without margin) along the grid's own axes, mm.
    axes
        (3, 3): columns are the unit vectors of i, j, k in LPS.
    spacing
        mm along i, j, k.
    """

    first: int
    last: int
    points: Points
    start: NDArray[np.float64]
    axes: NDArray[np.float64]
    spacing: NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns) without the margin."""
        z, y, x = self.points.shape
        return z - 2, y - 2, x - 2

    @property
    def inner(self) -> Points:
        """Positions without the margin."""
        return self.points[slice(1, -1), slice(1, -1), slice(1, -1)]

    def window(self, low: ArrayLike, high: ArrayLike, margin: int = 0) -> Window | None:
        """The voxels (of the block with ``margin`` voxels more) within the LPS box low..high.

        Returns None when the box misses the block. For an oblique grid the window is the box
        around the box, so it may hold more than was asked for, never less.
        """
        corners = np.array(np.meshgrid(*zip(np.asarray(low), np.asarray(high), strict=True)))
        along = self.axes.T @ corners.reshape(3, 8)
        low_ijk, high_ijk = along.min(axis=1), along.max(axis=1)
        size = self.shape[::-1]
        cuts = []
        for axis in (2, 1, 0):
            a = (low_ijk[axis] - self.start[axis]) / self.spacing[axis]
            b = (high_ijk[axis] - self.start[axis]) / self.spacing[axis]
            first = max(int(np.ceil(a)) + margin, 0)
            last = min(int(np.floor(b)) + margin + 1, size[axis] + 2 * margin)
            if last <= first:
                return None
            cuts.append(slice(first, last))
        return cuts[0], cuts[1], cuts[2]

    def surface(self, field: Array) -> tuple[Array, Array]:
        """First-order distance to the zero of an implicit field, and one voxel's depth across it.

        Parameters
        ----------
        field
            Negative inside, of a shape with one voxel of margin (z + 2, y + 2, x + 2).

        Returns
        -------
        distance, depth
            Of shape (z, y, x), mm. ``clip(0.5 - (distance - t) / depth, 0, 1)`` is the share of
            a voxel within ``t`` mm of the inside, whatever the voxel's shape and orientation.
        """
        c = slice(1, -1)
        steps = (
            field[c, c, 2:] - field[c, c, :-2],
            field[c, 2:, c] - field[c, :-2, c],
            field[2:, c, c] - field[:-2, c, c],
        )
        per_voxel = np.full(steps[0].shape, 1e-12, np.float32)
        per_mm = np.full(steps[0].shape, 1e-12, np.float32)
        for step, spacing in zip(steps, self.spacing, strict=True):
            step *= step
            per_voxel += step
            step *= np.float32(1.0 / spacing**2)
            per_mm += step
        np.sqrt(per_voxel, out=per_voxel)
        np.sqrt(per_mm, out=per_mm)
        distance = 2.0 * field[c, c, c] / per_mm
        per_voxel /= per_mm
        return distance, per_voxel


def share(distance: Array, depth: Array, offset: float | Array = 0.0) -> Array:
    """Share of each voxel inside the surface moved outwards by ``offset`` mm, 0..1."""
    result = distance - offset
    result /= depth
    np.subtract(np.float32(0.5), result, out=result)
    return np.clip(result, 0.0, 1.0, out=result)


@dataclass(frozen=True, eq=False)
class Grid:
    """A CT grid in the patient (LPS mm): shape (z, y, x), the rest in index order (i, j, k)."""

    shape: tuple[int, int, int]
    spacing: NDArray[np.float64]
    direction: NDArray[np.float64]
    origin: NDArray[np.float64]

    def blocks(self, voxels: int = 600_000) -> Iterator[Block]:
        """The grid as runs of slices of about ``voxels`` voxels."""
        nz, ny, nx = self.shape
        depth = max(1, min(nz, voxels // max(1, ny * nx)))
        for first in range(0, nz, depth):
            yield self.block(first, min(nz, first + depth))

    def block(self, first: int, last: int) -> Block:
        """The slices first..last-1 with the positions of their voxels."""
        _, ny, nx = self.shape
        counts = (nx, ny, last - first)
        offset = np.array([0.0, 0.0, first])
        index = [np.arange(-1, n + 1) + o for n, o in zip(counts, offset, strict=True)]
        shapes = ((1, 1, -1), (1, -1, 1), (-1, 1, 1))
        coordinates = []
        for row in range(3):
            total = np.full((1, 1, 1), self.origin[row])
            for axis in range(3):
                factor = self.direction[row, axis] * self.spacing[axis]
                # Axes that do not move this coordinate stay of length one: on the usual grids
                # all that depends on height alone then costs nothing.
                if abs(self.direction[row, axis]) > 1e-9:
                    total = total + (index[axis] * factor).reshape(shapes[axis])
            coordinates.append(total.astype(np.float32))
        start = self.direction.T @ self.origin + offset * self.spacing
        return Block(first, last, Points(*coordinates), start, self.direction, self.spacing)
