"""One pass over the voxels: everything the numbers are made from, in a few small tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .components import ComponentCounter
from .histogram import BINS, LOW_HU, hu_bins

BLOCK_VOXELS = 1 << 22
"""Voxels looked at together: some tens of MB of temporaries whatever the volume's size."""


@dataclass(eq=False)
class Tally:
    """Voxel counts of a volume that is fed from the feet upwards, in blocks of slices.

    Attributes
    ----------
    histogram
        Shape (3, classes + 1, BINS): side (0 outside, 1 right, 2 left), class (0 none), HU.
        Voxels whose HU is not finite are left out.
    side_class
        Shape (3, classes + 1): voxels per side and class.
    slice_lung, slice_class
        Shape (slices,) and (slices, classes + 1): voxels of lung and of each class per slice.
    region_class, region_hu
        Shape (regions + 1, classes + 1) and (regions + 1, 2): voxels per region and class; sum of
        HU and number of the voxels it is over.
    """

    classes: int
    region_labels: NDArray[np.int64]
    histogram: NDArray[np.int64] = field(init=False)
    side_class: NDArray[np.int64] = field(init=False)
    slice_lung: list[NDArray[np.int64]] = field(default_factory=list)
    slice_class: list[NDArray[np.int64]] = field(default_factory=list)
    region_class: NDArray[np.int64] = field(init=False)
    region_hu: NDArray[np.float64] = field(init=False)
    components: list[ComponentCounter] = field(init=False)

    def __post_init__(self) -> None:
        n = self.classes + 1
        self.histogram = np.zeros((3, n, BINS), dtype=np.int64)
        self.side_class = np.zeros((3, n), dtype=np.int64)
        self.region_class = np.zeros((len(self.region_labels) + 1, n), dtype=np.int64)
        self.region_hu = np.zeros((len(self.region_labels) + 1, 2))
        # Counter 0 takes all classes together.
        self.components = [ComponentCounter() for _ in range(n if n > 2 else 1)]

    def update(
        self,
        hu: NDArray[Any],
        classes: NDArray[np.uint8],
        lungs: NDArray[Any],
        regions: NDArray[Any] | None,
    ) -> None:
        """Add the next block; all of shape (slices, rows, columns), ``classes`` 0 ... n."""
        n = self.classes + 1
        slices, per_slice = hu.shape[0], hu.shape[1] * hu.shape[2]
        wanted = (classes > 0) | (lungs > 0)
        if regions is not None:
            wanted |= regions > 0
        where = np.flatnonzero(wanted)
        in_slice = where // per_slice
        klass = classes[wanted].astype(np.int64)
        side = lungs[wanted].astype(np.int64)
        bins, finite = hu_bins(hu[wanted])

        per_class = np.bincount(in_slice * n + klass, minlength=slices * n).reshape(slices, n)
        self.slice_class.append(per_class)
        self.slice_lung.append(np.bincount(in_slice[side > 0], minlength=slices))
        # Voxels that belong to a region only (side 0, class 0) land in a cell nobody reads.
        cell = side * n + klass
        self.side_class += np.bincount(cell, minlength=3 * n).reshape(3, n)
        keys = cell * BINS + bins
        keys = keys if finite is None else keys[finite]
        self.histogram += np.bincount(keys, minlength=self.histogram.size).reshape(
            self.histogram.shape
        )
        if regions is not None:
            self._update_regions(regions[wanted], klass, bins, finite)
        for index, counter in enumerate(self.components):
            counter.update(classes > 0 if index == 0 else classes == index)

    def _update_regions(
        self,
        regions: NDArray[Any],
        klass: NDArray[np.int64],
        bins: NDArray[np.int64],
        finite: NDArray[np.bool_] | None,
    ) -> None:
        n, rows = self.classes + 1, len(self.region_labels) + 1
        index = np.searchsorted(self.region_labels, regions) + 1
        index[regions == 0] = 0
        counts = np.bincount(index * n + klass, minlength=rows * n)
        self.region_class += counts.reshape(rows, n)
        if finite is not None:
            index, bins = index[finite], bins[finite]
        hu = (bins + LOW_HU).astype(np.float64)
        self.region_hu[:, 0] += np.bincount(index, weights=hu, minlength=rows)
        self.region_hu[:, 1] += np.bincount(index, minlength=rows)
