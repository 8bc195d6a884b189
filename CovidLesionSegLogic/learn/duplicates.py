"""Near-identical images count as one patient's: they share a side of a split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .sources import Slice

SIDE = 32
LARGEST_DIFFERENCE = 7.0
"""Mean difference of two thumbnails, grey levels, up to which they count as the same picture."""


def keep_together(slices: Sequence[Slice]) -> tuple[list[Slice], list[tuple[str, str]]]:
    """Give patients with near-identical images one name.

    Returns
    -------
    tuple
        The slices, those of joined patients under the first of their names in alphabetical order,
        and the pairs of near-identical slices of different patients, by name.
    """
    parent = {s.patient: s.patient for s in slices}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    thumbnails = np.stack([_thumbnail(s.image) for s in slices]) if slices else np.zeros((0, 1))
    pairs = []
    for i, own in enumerate(thumbnails):
        apart = np.abs(thumbnails[i + 1 :] - own).mean(axis=1)
        for j in i + 1 + np.flatnonzero(apart <= LARGEST_DIFFERENCE):
            one, other = slices[i], slices[int(j)]
            if one.patient != other.patient:
                pairs.append((one.name, other.name))
                first, second = sorted((root(one.patient), root(other.patient)))
                parent[second] = first
    return [replace(s, patient=root(s.patient)) for s in slices], pairs


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The image averaged to 32 x 32, flat; near-identical images may differ in size."""
    rows, columns = (
        np.linspace(0, n, SIDE + 1).round().astype(int)[:-1].clip(0, n - 1) for n in image.shape
    )
    sums = np.add.reduceat(np.add.reduceat(image.astype(np.float32), rows, 0), columns, 1)
    ones = np.add.reduceat(np.add.reduceat(np.ones(image.shape, np.float32), rows, 0), columns, 1)
    return (sums / ones).ravel()
