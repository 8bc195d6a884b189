"""Connected components of a mask that arrives in blocks of slices."""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray


class ComponentCounter:
    """Count 26-connected components and find the largest, one block of slices at a time.

    Blocks come in order and touch each other; only one block is labelled at a time, so the
    memory does not grow with the volume. Components that meet at a border between blocks are
    joined with a disjoint-set forest.
    """

    def __init__(self) -> None:
        self._parent: list[int] = [0]
        self._voxels: list[int] = [0]
        self._last: NDArray[np.int64] | None = None

    def update(self, block: NDArray[Any]) -> None:
        """Add the next block, shape (slices, rows, columns), any non-zero value is inside."""
        mask = np.ascontiguousarray(block, dtype=np.uint8)
        rows = np.flatnonzero(mask.any(axis=(0, 2)))
        if rows.size == 0:
            self._last = None
            return
        columns = np.flatnonzero(mask.any(axis=(0, 1)))
        box = (slice(None), slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        image = SimpleITK.GetImageFromArray(np.ascontiguousarray(mask[box]))
        labels = SimpleITK.GetArrayFromImage(SimpleITK.ConnectedComponent(image, True))
        counts = np.bincount(labels.ravel())
        offset = len(self._parent) - 1
        self._parent.extend(range(offset + 1, offset + len(counts)))
        self._voxels.extend(int(n) for n in counts[1:])

        first = self._plane(labels[0], offset, box, mask.shape)
        if self._last is not None:
            self._join(self._last, first)
        self._last = self._plane(labels[-1], offset, box, mask.shape)

    def compute(self) -> tuple[int, int]:
        """Number of components and voxels of the largest."""
        totals: dict[int, int] = {}
        for node in range(1, len(self._parent)):
            root = self._root(node)
            totals[root] = totals.get(root, 0) + self._voxels[node]
        return len(totals), max(totals.values(), default=0)

    @staticmethod
    def _plane(
        labels: NDArray[Any], offset: int, box: tuple[slice, ...], shape: tuple[int, ...]
    ) -> NDArray[np.int64]:
        # One voxel of padding all round, so that shifted neighbours need no bounds checks.
        plane = np.zeros((shape[1] + 2, shape[2] + 2), dtype=np.int64)
        inside = np.where(labels > 0, labels.astype(np.int64) + offset, 0)
        plane[box[1].start + 1 : box[1].stop + 1, box[2].start + 1 : box[2].stop + 1] = inside
        return plane

    def _join(self, above: NDArray[np.int64], below: NDArray[np.int64]) -> None:
        core = above[1:-1, 1:-1]
        pairs = []
        for dy in range(3):
            for dx in range(3):
                shifted = below[dy : dy + core.shape[0], dx : dx + core.shape[1]]
                touching = (core > 0) & (shifted > 0)
                pairs.append(np.stack([core[touching], shifted[touching]], axis=1))
        for a, b in np.unique(np.concatenate(pairs), axis=0):
            root_a, root_b = self._root(int(a)), self._root(int(b))
            if root_a != root_b:
                self._parent[root_b] = root_a

    def _root(self, node: int) -> int:
        while self._parent[node] != node:
            self._parent[node] = self._parent[self._parent[node]]
            node = self._parent[node]
        return node
