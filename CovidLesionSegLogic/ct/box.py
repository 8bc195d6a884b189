"""A part of a volume: what lies outside it is 0 everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Box:
    """Part of a volume of ``shape`` (z, y, x): from ``start`` to below ``stop``, voxels."""

    start: tuple[int, int, int]
    stop: tuple[int, int, int]

    def __post_init__(self) -> None:
        if any(not 0 <= a < b for a, b in zip(self.start, self.stop, strict=True)):
            raise ValueError(f"a box from {self.start} to {self.stop} holds nothing")

    @classmethod
    def around(cls, array: NDArray[Any]) -> Box:
        """The smallest box with every voxel that is not 0; one voxel where all are."""
        spans = []
        for axes in ((1, 2), (0, 2), (0, 1)):
            occupied = np.flatnonzero(array.any(axis=axes))
            spans.append((int(occupied[0]), int(occupied[-1]) + 1) if occupied.size else (0, 1))
        starts, stops = zip(*spans, strict=True)
        return cls(starts, stops)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """For indexing the whole array."""
        z, y, x = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x) of the part."""
        z, y, x = (b - a for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x


@dataclass(frozen=True, eq=False)
class Placed:
    """Voxels of ``box`` in a volume of ``shape`` (z, y, x), which is 0 elsewhere.

    Raises ValueError where the array does not fill the box or the box leaves the volume.
    """

    array: NDArray[Any]
    box: Box
    shape: tuple[int, int, int]

    def __post_init__(self) -> None:
        if self.array.shape != self.box.shape:
            raise ValueError(f"voxels of shape {self.array.shape} in a box of {self.box.shape}")
        if any(stop > size for stop, size in zip(self.box.stop, self.shape, strict=True)):
            raise ValueError(f"a box to {self.box.stop} in a volume of {self.shape}")

    @classmethod
    def of(cls, array: NDArray[Any]) -> Placed:
        """A view of the smallest box with every voxel of ``array`` (z, y, x) that is not 0."""
        box = Box.around(array)
        z, y, x = array.shape
        return cls(array[box.slices], box, (z, y, x))

    def whole(self) -> NDArray[Any]:
        """A new array of the volume's shape."""
        result = np.zeros(self.shape, self.array.dtype)
        result[self.box.slices] = self.array
        return result
