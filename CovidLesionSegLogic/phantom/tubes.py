"""Vessels, airways and long bones: tubes drawn with the partial volume of any voxel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CovidLesionSegLogic.phantom.grid import Array, Block


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
        size_ijk = np.array(block.shape[::-1])
        first = np.clip(np.ceil((low - block.start) / block.spacing), 0, None).astype(int)
        stop = np.minimum(np.floor((high - block.start) / block.spacing).astype(int) + 1, size_ijk)
        s2 = size.astype(np.float32)
        axes = [
            (block.start[n] + np.arange(size_ijk[n]) * block.spacing[n]).astype(np.float32)
            for n in range(3)
        ]
        x, y, z = axes[0][None, None, :], axes[1][None, :, None], axes[2][:, None, None]
        for n in np.flatnonzero(np.all(stop > first, axis=1)):
            (i0, j0, k0), (i1, j1, k1) = first[n], stop[n]
            _draw(
                out[k0:k1, j0:j1, i0:i1],
                a[n],
                b[n],
                float(self.ra[n]),
                float(self.rb[n]),
                s2,
                x[:, :, i0:i1] - np.float32(a[n, 0]),
                y[:, j0:j1] - np.float32(a[n, 1]),
                z[k0:k1] - np.float32(a[n, 2]),
            )
        return out


def _draw(
    out: Array,
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    ra: float,
    rb: float,
    s2: Array,
    x: Array,
    y: Array,
    z: Array,
) -> None:
    """Raise ``out`` to the share of each voxel inside one piece of tube; x, y, z are from a."""
    d = (b - a).astype(np.float32)
    n = max(float(d @ d), 1e-6)
    t = (x * (d[0] / n) + y * (d[1] / n)) + z * (d[2] / n)
    np.minimum(t, np.float32(1.0), out=t)
    np.maximum(t, np.float32(0.0), out=t)
    x2 = np.square(x - t * d[0])
    y2 = np.square(y - t * d[1])
    z2 = np.square(z - t * d[2])
    square = x2 + y2 + z2
    # One voxel's depth across the wall: its extent along the direction away from the axis.
    depth2 = (x2 * s2[0] + y2 * s2[1] + z2 * s2[2] + 1e-6) / (square + 1e-6 / s2.min())
    radius = np.float32(ra) + t * np.float32(rb - ra)
    wide2 = radius * radius + 0.25 * depth2
    value = (np.sqrt(wide2) - np.sqrt(square)) / np.sqrt(depth2) + 0.5
    np.minimum(value, np.float32(1.0), out=value)
    np.maximum(value, np.float32(0.0), out=value)
    value *= radius * radius / wide2
    np.maximum(out, value, out=out)
