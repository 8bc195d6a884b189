"""From label maps to numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.volume import CTVolume

from .build import build
from .grid import CanonicalGrid
from .tally import BLOCK_VOXELS, Tally
from .types import NamedClass, Quantification


def quantify(
    ct: CTVolume,
    labels: NDArray[Any],
    lungs: NDArray[Any] | None,
    classes: Sequence[NamedClass],
    *,
    regions: NDArray[Any] | None = None,
    region_names: Mapping[int, str] | None = None,
) -> Quantification:
    """Measure the lesions of one CT.

    Works in blocks of slices on views of the arrays, so the memory needed beyond them stays below
    some 300 MB whatever the size of the volume.

    Parameters
    ----------
    ct
        The volume, HU, any axis order; its spacing (mm) gives the voxel's volume.
    labels
        Shape of ``ct.array`` (z, y, x), integers: 0 background, else a class's ``label``.
    lungs
        Same shape, integers: 0 outside, 1 the patient's right lung, 2 the left; None or all zero
        where no lungs are known: every share is then None.
    classes
        The lesion classes, each with ``name`` and ``label`` (1 or more, all different).
    regions
        Same shape, integers: any map of regions such as lobes, 0 is no region.
    region_names
        Names of the regions by label; a region without one is called "region N".

    Returns
    -------
    Quantification
        Volumes in mL, areas in mm2, densities in HU, shares in percent.

    Raises
    ------
    ValueError
        When the shapes differ, a label belongs to no class, the lungs hold other values than
        0, 1 and 2, or names and labels repeat.
    """
    labels = _checked("labels", labels, ct)
    lungs = np.broadcast_to(np.uint8(0), ct.shape) if lungs is None else lungs
    lungs = _checked("lungs", lungs, ct)
    if int(lungs.max(initial=0)) > 2:
        raise ValueError("the lungs hold other values than 0, 1 (right) and 2 (left)")
    lookup = _class_lookup(classes)
    region_labels = np.zeros(0, dtype=np.int64)
    if regions is not None:
        regions = _checked("regions", regions, ct)
        named = np.fromiter((region_names or {}).keys(), dtype=np.int64)
        region_labels = np.union1d(_present_labels(regions), named)
        region_labels = region_labels[region_labels > 0]

    grid = CanonicalGrid.of(ct)
    hu, label_view, lung_view = grid.ct.array, grid.view(labels), grid.view(lungs)
    region_view = None if regions is None else grid.view(regions)
    tally = Tally(len(classes), region_labels)
    step = max(1, BLOCK_VOXELS // max(1, hu.shape[1] * hu.shape[2]))
    for start in range(0, hu.shape[0], step):
        block = slice(start, start + step)
        values = label_view[block]
        if int(values.max(initial=0)) >= len(lookup) or (lookup[values] == _UNKNOWN).any():
            raise ValueError("the labels hold a value that belongs to no class")
        tally.update(
            np.ascontiguousarray(hu[block]),
            lookup[values],
            np.ascontiguousarray(lung_view[block]),
            None if region_view is None else np.ascontiguousarray(region_view[block]),
        )
    return build(grid, tally, [c.name for c in classes], [c.label for c in classes], region_names)


_UNKNOWN = 255


def _checked(what: str, array: NDArray[Any], ct: CTVolume) -> NDArray[Any]:
    array = np.asarray(array)
    if array.shape != ct.shape:
        raise ValueError(f"the {what} have shape {array.shape}, the CT {ct.shape}")
    if array.dtype == np.bool_:
        return array.view(np.uint8)
    if array.dtype.kind not in "iu":
        raise ValueError(f"the {what} must be whole numbers, not {array.dtype}")
    if array.dtype.kind == "i" and int(array.min(initial=0)) < 0:
        raise ValueError(f"the {what} hold negative values")
    return array


def _class_lookup(classes: Sequence[NamedClass]) -> NDArray[np.uint8]:
    """Label value to position in ``classes`` plus one; 0 to 0, anything else to ``_UNKNOWN``."""
    values = [int(c.label) for c in classes]
    if len(set(values)) != len(values) or len({c.name for c in classes}) != len(values):
        raise ValueError("two classes share a name or a label")
    if any(not 1 <= value < _UNKNOWN for value in values):
        raise ValueError("a class's label must be 1 to 254")
    lookup = np.full(256, _UNKNOWN, dtype=np.uint8)
    lookup[0] = 0
    for position, value in enumerate(values, start=1):
        lookup[value] = position
    return lookup


def _present_labels(regions: NDArray[Any]) -> NDArray[Any]:
    if int(regions.max(initial=0)) > 65535:
        raise ValueError("a region's label must not exceed 65535")
    seen = np.zeros(65536, dtype=bool)
    for plane in regions:
        seen[plane.ravel()] = True
    return np.flatnonzero(seen)
