"""From voxel counts to the named numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .grid import CanonicalGrid
from .histogram import aeration_percent, statistics
from .lobes import LOBES, are_lobes, lobe_of
from .severity import extent_score, total_score
from .tally import Tally
from .types import ClassMeasures, LungMeasures, Quantification, RegionMeasures, SliceMeasures

RIGHT, LEFT = 1, 2
TOTAL_NAME = "all lesions"
OUTSIDE_WORTH_SAYING = 0.01
"""Part of the lesion volume outside the lungs from which a warning is given."""


def share(part: float, whole: float) -> float | None:
    """``part`` in percent of ``whole``; None where there is no whole."""
    return 100.0 * float(part) / float(whole) if whole > 0 else None


def build(
    grid: CanonicalGrid,
    tally: Tally,
    names: Sequence[str],
    labels: Sequence[int],
    region_names: Mapping[int, str] | None,
) -> Quantification:
    """Name and scale the counts of ``tally``; arguments as :func:`..measure.quantify` has them."""
    ml = grid.ct.voxel_volume_ml
    slice_class = np.concatenate(tally.slice_class)
    slice_lung = np.concatenate(tally.slice_lung)
    voxels = tally.side_class
    each = [slice(p, p + 1) for p in range(1, tally.classes + 1)]
    measures = []
    for position, part in enumerate([slice(1, None), *each]):
        # With one class, its components are those of the total.
        counter = tally.components[position if len(tally.components) > 1 else 0]
        number, largest = counter.compute()
        measures.append(
            _class_measures(
                TOTAL_NAME if position == 0 else names[position - 1],
                None if position == 0 else labels[position - 1],
                voxels[:, part].sum(axis=1),
                voxels.sum(axis=1),
                tally.histogram[:, part].sum(axis=1),
                (number, largest * ml),
                int(np.count_nonzero(slice_class[:, part].sum(axis=1))),
                ml,
            )
        )
    side = tally.histogram.sum(axis=1)
    lungs = [
        _lung_measures("right lung", voxels[RIGHT].sum(), side[RIGHT], ml),
        _lung_measures("left lung", voxels[LEFT].sum(), side[LEFT], ml),
        _lung_measures("both lungs", voxels[1:].sum(), side[1:].sum(axis=0), ml),
    ]
    regions = _regions(tally, names, region_names or {}, ml)
    beyond = float(tally.region_class[0, 1:].sum()) * ml if regions else None
    return Quantification(
        study=grid.ct.name,
        classes=tuple(measures[1:]),
        total=measures[0],
        right_lung=lungs[0],
        left_lung=lungs[1],
        lungs=lungs[2],
        slices=_slices(grid, slice_class, slice_lung, names),
        slice_axis=grid.own_slice_axis,
        slice_spacing_mm=grid.ct.spacing[2],
        voxel_volume_ml=ml,
        regions=regions,
        score_0_to_25=total_score(regions),
        lesion_outside_regions_ml=beyond,
        warnings=(
            *_warnings(measures[0], lungs),
            *_region_warnings(measures[0], regions, beyond),
        ),
    )


def _class_measures(
    name: str,
    label: int | None,
    by_side: NDArray[np.int64],
    lung_voxels: NDArray[np.int64],
    histogram: NDArray[np.int64],
    components: tuple[int, float],
    slices: int,
    ml: float,
) -> ClassMeasures:
    inside = by_side[RIGHT] + by_side[LEFT]
    return ClassMeasures(
        name=name,
        label=label,
        volume_ml=float(by_side.sum()) * ml,
        right_lung_ml=float(by_side[RIGHT]) * ml,
        left_lung_ml=float(by_side[LEFT]) * ml,
        outside_lungs_ml=float(by_side[0]) * ml,
        share_of_lungs_percent=share(inside, lung_voxels[RIGHT] + lung_voxels[LEFT]),
        share_of_right_lung_percent=share(by_side[RIGHT], lung_voxels[RIGHT]),
        share_of_left_lung_percent=share(by_side[LEFT], lung_voxels[LEFT]),
        hu=statistics(histogram.sum(axis=0)),
        hu_right_lung=statistics(histogram[RIGHT]),
        hu_left_lung=statistics(histogram[LEFT]),
        components=components[0],
        largest_component_ml=components[1],
        slices=slices,
    )


def _lung_measures(name: str, voxels: int, histogram: NDArray[np.int64], ml: float) -> LungMeasures:
    aeration = aeration_percent(histogram) or (None, None, None, None)
    return LungMeasures(name, float(voxels) * ml, statistics(histogram), *aeration)


def _slices(
    grid: CanonicalGrid,
    slice_class: NDArray[np.int64],
    slice_lung: NDArray[np.int64],
    names: Sequence[str],
) -> tuple[SliceMeasures, ...]:
    area = grid.ct.spacing[0] * grid.ct.spacing[1]
    z_mm = grid.slice_z_mm()
    top = len(slice_lung) - 1
    return tuple(
        SliceMeasures(
            index=top - k,
            own_index=grid.own_slice_index(k),
            z_mm=float(z_mm[k]),
            lung_area_mm2=float(slice_lung[k]) * area,
            lesion_area_mm2={
                name: float(slice_class[k, c]) * area for c, name in enumerate(names, start=1)
            },
            total_lesion_area_mm2=float(slice_class[k, 1:].sum()) * area,
        )
        for k in range(top, -1, -1)
    )


def _regions(
    tally: Tally, names: Sequence[str], region_names: Mapping[int, str], ml: float
) -> tuple[RegionMeasures, ...]:
    regions = []
    for row, label in enumerate(tally.region_labels.tolist(), start=1):
        counts = tally.region_class[row]
        whole, lesion = int(counts.sum()), int(counts[1:].sum())
        hu_sum, hu_count = tally.region_hu[row]
        percent = share(lesion, whole)
        regions.append(
            RegionMeasures(
                name=region_names.get(label, f"region {label}"),
                label=label,
                volume_ml=whole * ml,
                mean_hu=float(hu_sum / hu_count) if hu_count > 0 else None,
                lesion_ml={n: float(counts[c]) * ml for c, n in enumerate(names, start=1)},
                share_percent={n: share(counts[c], whole) for c, n in enumerate(names, start=1)},
                total_lesion_ml=lesion * ml,
                total_share_percent=percent,
                score=extent_score(percent),
            )
        )
    if are_lobes(r.name for r in regions):
        regions.sort(key=lambda r: LOBES.index(str(lobe_of(r.name))))
    return tuple(regions)


def _warnings(total: ClassMeasures, lungs: Sequence[LungMeasures]) -> tuple[str, ...]:
    right, left, both = lungs
    messages = []
    if both.volume_ml == 0:
        messages.append("No lungs are marked, so no share of the lungs can be given.")
    else:
        messages += [
            f"The {lung.name} is empty in the lung mask: check it before quoting shares."
            for lung in (right, left)
            if lung.volume_ml == 0
        ]
        if total.outside_lungs_ml > OUTSIDE_WORTH_SAYING * total.volume_ml:
            messages.append(
                f"{total.outside_lungs_ml:.2f} mL of lesion lie outside the lung mask; "
                "the volume counts them, the shares do not."
            )
    return tuple(messages)


def _region_warnings(
    total: ClassMeasures, regions: Sequence[RegionMeasures], beyond: float | None
) -> tuple[str, ...]:
    if not are_lobes(r.name for r in regions):
        return ()
    messages = [
        f"The {r.name} is empty in the region map, so the CT severity score has no sum."
        for r in regions
        if r.score is None
    ]
    if beyond is not None and beyond > OUTSIDE_WORTH_SAYING * total.volume_ml:
        messages.append(
            f"{beyond:.2f} mL of lesion lie outside the lobes; the CT severity score does not "
            "count them."
        )
    return tuple(messages)
