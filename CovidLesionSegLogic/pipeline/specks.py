"""Removal of lesions too small to be believed, one slice at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.lungs import bounding_box


def remove_small(labels: NDArray[np.uint8], min_voxels: int) -> int:
    """Clear connected lesions (26-neighbours, all classes together) of fewer voxels, in place.

    Slices are labelled one by one, within the box of their lesions, and their parts are joined
    across slices in a disjoint-set forest: a label volume would be four times the size of
    ``labels`` at least.

    Parameters
    ----------
    labels
        (z, y, x), 0 background.
    min_voxels
        Lesions of at least so many voxels stay.

    Returns
    -------
    int
        The number of lesions removed.
    """
    parent: list[int] = []
    voxels: list[int] = []

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    above: NDArray[np.int64] | None = None
    for plane in labels:
        below = _parts(plane, len(parent))
        if below is None:
            above = None
            continue
        counts = np.bincount(below[below >= 0] - len(parent))
        parent.extend(range(len(parent), len(parent) + len(counts)))
        voxels.extend(counts.tolist())
        if above is not None:
            for one, other in _touching(above, below):
                parent[root(other)] = root(one)
        above = below
    totals: dict[int, int] = {}
    for node, count in enumerate(voxels):
        totals[root(node)] = totals.get(root(node), 0) + count
    # The last place stands for the background, which is index -1.
    small = np.array([totals[root(node)] < min_voxels for node in range(len(parent))] + [False])
    first = 0
    for plane in labels:
        parts = _parts(plane, first)
        if parts is not None:
            first = int(parts.max()) + 1
            plane[small[parts]] = 0
    return sum(total < min_voxels for total in totals.values())


def _parts(plane: NDArray[Any], first: int) -> NDArray[np.int64] | None:
    """8-connected parts of a slice numbered from ``first``, -1 elsewhere; None without any."""
    from scipy.ndimage import label

    box = bounding_box(plane)
    if box is None:
        return None
    numbers = np.full(plane.shape, -1, np.int64)
    found, _ = label(plane[box] != 0, structure=np.ones((3, 3)))
    numbers[box] = np.where(found > 0, found.astype(np.int64) - 1 + first, -1)
    return numbers


def _touching(above: NDArray[np.int64], below: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Pairs of parts of two adjacent slices that share a face, an edge or a corner."""
    box = bounding_box(above >= 0, (1, 1))
    assert box is not None
    core = np.pad(below[box], 1, constant_values=-1)
    above = above[box]
    height, width = above.shape
    pairs = []
    for dy in range(3):
        for dx in range(3):
            shifted = core[dy : dy + height, dx : dx + width]
            both = (above >= 0) & (shifted >= 0)
            pairs.append(np.stack([above[both], shifted[both]], axis=1))
    yield from map(tuple, np.unique(np.concatenate(pairs), axis=0).tolist())
