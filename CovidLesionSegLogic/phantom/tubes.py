"""Vessels, airways and long bones: tubes drawn with the partial volume of any voxel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CovidLesionSegLogic.phantom.grid import Array, Block

SMALL = 64  # segments are sorted into blocks this many at a time


@dataclass(frozen=True, eq=False)
class Tubes:
    """Straight pieces of tube: ends (n, 3) in LPS mm and the radius at each end (n,), mm."""

    a: NDArray[np.float64]
    b: NDArray[np.float64]
    ra: NDArray[np.float64]
    rb: NDArray[np.float64]

    @classmethod
    def along(cls, paths: Iterable[tuple[ArrayLike, ArrayLike]]) -> Tubes:
        """Pieces along paths, each ((n, 3) nodes, radius or (n,) radii)."""
        a, b, ra, rb = [], [], [], []
        for path, radii in paths:
            nodes = np.asarray(path, dtype=float)
            r = np.broadcast_to(np.asarray(radii, dtype=float), (len(nodes),))
            a.append(nodes[:-1])
            b.append(nodes[1:])
            ra.append(r[:-1])
            rb.append(r[1:])
        if not a:
            return cls(np.empty((0, 3)), np.empty((0, 3)), np.empty(0), np.empty(0))
        return cls(np.concatenate(a), np.concatenate(b), np.concatenate(ra), np.concatenate(rb))

    def select(self, keep: NDArray[np.bool_]) -> Tubes:
        """The pieces where ``keep`` holds."""
        return Tubes(self.a[keep], self.b[keep], self.ra[keep], self.rb[keep])

    def resized(self, scale: float = 1.0, add: float = 0.0) -> Tubes:
        """The same pieces with radius ``scale * r + add`` mm; those left without radius go."""
        tubes = Tubes(self.a, self.b, scale * self.ra + add, scale * self.rb + add)
        return tubes.select(np.minimum(tubes.ra, tubes.rb) > 0.05)

    def __len__(self) -> int:
        return len(self.a)

    def cover(self, block: Block, blur: float = 0.5) -> Array:
        """Share of each voxel of ``block`` inside the tubes, (z, y, x), 0..1.

        A tube thinner than a voxel is drawn as wide as the voxel and paler, so that the amount
        of tissue is kept. ``blur`` adds to the voxel, mm (the scanner's own resolution).
        """
        out = np.zeros(block.shape, np.float32)
        size = block.spacing**2 + blur**2
        # Along the grid's own axes the coordinates are separable, whatever the direction.
        a, b = self.a @ block.axes, self.b @ block.axes
        reach = np.maximum(self.ra, self.rb)[:, None] + np.sqrt(size) * 1.3
        low, high = np.minimum(a, b) - reach, np.maximum(a, b) + reach
        nz, ny, nx = block.shape
        stop = block.start + (np.array([nx, ny, nz]) - 1) * block.spacing
        inside = np.flatnonzero(np.all((high >= block.start) & (low <= stop), axis=1))
        s2 = size.astype(np.float32)
        for n in inside:
            cut = block.local_window(low[n], high[n])
            if cut is None:
                continue
            _draw(out[cut], a[n], b[n], float(self.ra[n]), float(self.rb[n]), s2,
                  [block.local_axis(axis, cut[2 - axis]) for axis in range(3)])
        return out


def _draw(out: Array, a: NDArray[np.float64], b: NDArray[np.float64], ra: float, rb: float,
          s2: Array, axes: list[Array]) -> None:
    """Raise ``out`` to the share of each voxel inside one piece of tube."""
    x = (axes[0] - np.float32(a[0]))[None, None, :]
    y = (axes[1] - np.float32(a[1]))[None, :, None]
    z = (axes[2] - np.float32(a[2]))[:, None, None]
    d = (b - a).astype(np.float32)
    n = max(float(d @ d), 1e-6)
    t = (x * (d[0] / n) + y * (d[1] / n)) + z * (d[2] / n)
    np.clip(t, 0.0, 1.0, out=t)
    x2 = np.square(x - t * d[0])
    y2 = np.square(y - t * d[1])
    z2 = np.square(z - t * d[2])
    square = x2 + y2 + z2
    # One voxel's depth across the wall: its extent along the direction away from the axis.
    depth2 = (x2 * s2[0] + y2 * s2[1] + z2 * s2[2] + 1e-6) / (square + 1e-6 / s2.min())
    radius = np.float32(ra) + t * np.float32(rb - ra)
    wide2 = radius * radius + 0.25 * depth2
    value = (np.sqrt(wide2) - np.sqrt(square)) / np.sqrt(depth2) + 0.5
    np.clip(value, 0.0, 1.0, out=value)
    value *= radius * radius / wide2
    np.maximum(out, value, out=out)
