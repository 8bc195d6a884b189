"""Volumes, shares, densities and slices against plain numpy on masks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import ndimage

from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.quantify import Quantification, quantify, tally

LOBES = [
    "right upper lobe", "right middle lobe", "right lower lobe", "left upper lobe",
    "Left Lower Lobe",
]  # fmt: skip
TOTALSEGMENTATOR_NAMES = [
    "lung_upper_lobe_left", "lung_lower_lobe_left", "lung_upper_lobe_right",
    "lung_middle_lobe_right", "lung_lower_lobe_right",
]  # fmt: skip


@dataclass(frozen=True)
class Named:
    """The least a lesion class is asked for."""

    name: str
    label: int


CLASSES = (Named("ground-glass opacity", 1), Named("consolidation", 2))


def make_case(shape=(11, 20, 24), dtype=np.int16, seed=3):
    """A CT with two block lungs and random lesions in and out of them, canonical axes."""
    rng = np.random.default_rng(seed)
    hu = rng.integers(-1000, 300, shape).astype(dtype)
    lungs = np.zeros(shape, np.uint8)
    lungs[2:9, 4:16, 2:10] = 1
    lungs[2:9, 4:16, 14:22] = 2
    labels = np.where(rng.random(shape) < 0.12, rng.integers(1, 3, shape), 0).astype(np.uint8)
    ct = CTVolume(hu, origin=(-10.0, -20.0, 100.0), spacing=(0.7, 0.8, 2.5), name="case")
    return ct, labels, lungs


def test_class_measures_agree_with_masks():
    ct, labels, lungs = make_case()
    q = quantify(ct, labels, lungs, CLASSES)
    ml = 0.7 * 0.8 * 2.5 / 1000
    structure = np.ones((3, 3, 3))
    for measures, mask in [
        (q.classes[0], labels == 1),
        (q.classes[1], labels == 2),
        (q.total, labels > 0),
    ]:
        assert measures.volume_ml == pytest.approx(mask.sum() * ml)
        for value, side in [
            (measures.share_of_right_lung_percent, lungs == 1),
            (measures.share_of_left_lung_percent, lungs == 2),
            (measures.share_of_lungs_percent, lungs > 0),
        ]:
            assert value == pytest.approx(100 * (mask & side).sum() / side.sum())
        assert measures.outside_lungs_ml == pytest.approx((mask & (lungs == 0)).sum() * ml)
        hu = ct.array[mask]
        assert measures.hu.mean_hu == pytest.approx(hu.mean())
        assert measures.hu.median_hu == pytest.approx(np.median(hu))
        assert measures.hu.sd_hu == pytest.approx(hu.std())
        right = ct.array[mask & (lungs == 1)]
        assert measures.hu_right_lung.median_hu == pytest.approx(np.median(right))
        components, number = ndimage.label(mask, structure)
        assert measures.components == number
        assert measures.largest_component_ml == pytest.approx(
            np.bincount(components.ravel())[1:].max() * ml
        )
        assert measures.slices == mask.any(axis=(1, 2)).sum()


def test_lung_measures_and_aeration():
    ct, labels, lungs = make_case()
    q = quantify(ct, labels, lungs, CLASSES)
    for lung, mask in [
        (q.right_lung, lungs == 1),
        (q.left_lung, lungs == 2),
        (q.lungs, lungs > 0),
    ]:
        hu = ct.array[mask]
        assert lung.volume_ml == pytest.approx(mask.sum() * ct.voxel_volume_ml)
        assert lung.hu.mean_hu == pytest.approx(hu.mean())
        assert lung.hyperaerated_percent == pytest.approx(100 * (hu < -900).mean())
        assert lung.well_aerated_percent == pytest.approx(100 * ((hu >= -900) & (hu < -500)).mean())
        assert lung.poorly_aerated_percent == pytest.approx(
            100 * ((hu >= -500) & (hu < -100)).mean()
        )
        assert lung.non_aerated_percent == pytest.approx(100 * (hu >= -100).mean())


def test_slices_run_from_the_top():
    ct, labels, lungs = make_case()
    labels[:] = 0
    labels[7, 5:7, 3:6] = 2
    q = quantify(ct, labels, lungs, CLASSES)
    assert [s.index for s in q.slices] == list(range(11))
    assert q.slices[0].z_mm == pytest.approx(100 + 10 * 2.5)
    assert q.slices_with_lesion == (3,)
    row = q.slices[3]
    assert row.own_index == 7
    assert row.lesion_area_mm2 == {
        "ground-glass opacity": 0.0,
        "consolidation": pytest.approx(6 * 0.7 * 0.8),
    }
    assert row.lung_area_mm2 == pytest.approx((lungs[7] > 0).sum() * 0.7 * 0.8)


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("flips", [(), (0,), (1, 2), (0, 1, 2)])
def test_numbers_do_not_depend_on_the_axis_order(axes, flips):
    """The same patient stored along other axes gives the same numbers."""
    ct, labels, lungs = make_case()
    expected = quantify(ct, labels, lungs, CLASSES)
    stored, own_labels, own_lungs = (_store(a, axes, flips) for a in (ct.array, labels, lungs))
    other = CTVolume(stored, *_store_geometry(ct, axes, flips), name="case")
    q = quantify(other, own_labels, own_lungs, CLASSES)
    assert q.total == expected.total
    assert q.lungs == expected.lungs
    for a, b in zip(q.slices, expected.slices, strict=True):
        assert a.lesion_area_mm2 == pytest.approx(b.lesion_area_mm2)
        assert a.z_mm == pytest.approx(b.z_mm)
    axis = 2 - "ijk".index(q.slice_axis)
    assert axes[axis] == 0
    for row in q.slices:
        plane = np.take(own_labels, row.own_index, axis=axis)
        area = (plane > 0).sum() * 0.7 * 0.8
        assert row.total_lesion_area_mm2 == pytest.approx(area)


def _store(array, axes, flips):
    return np.ascontiguousarray(np.flip(array.transpose(axes), flips))


def _store_geometry(ct, axes, flips):
    """Origin, spacing, direction of the array stored by ``_store``."""
    size, order = ct.shape[::-1], [2 - axes[2 - n] for n in range(3)]
    spacing = tuple(ct.spacing[a] for a in order)
    direction = ct.direction[:, order].copy()
    origin = np.array(ct.origin)
    for array_axis in flips:
        n = 2 - array_axis
        origin = origin + direction[:, n] * spacing[n] * (size[order[n]] - 1)
        direction[:, n] *= -1
    return tuple(origin), spacing, direction


def test_no_lungs_gives_none_not_nan():
    ct, labels, _ = make_case()
    for lungs in (None, np.zeros(ct.shape, np.uint8)):
        q = quantify(ct, labels, lungs, CLASSES)
        assert q.total.volume_ml > 0
        assert q.total.share_of_lungs_percent is None
        assert q.total.hu_left_lung.mean_hu is None
        assert q.lungs.hu.mean_hu is None
        assert q.lungs.well_aerated_percent is None
        assert any("No lungs" in w for w in q.warnings)


def test_no_lesion_gives_zero_shares():
    ct, labels, lungs = make_case()
    q = quantify(ct, np.zeros_like(labels), lungs, CLASSES)
    assert q.total.volume_ml == 0
    assert q.total.share_of_lungs_percent == 0
    assert q.total.hu.median_hu is None
    assert q.total.components == 0
    assert q.total.largest_component_ml == 0
    assert q.slices_with_lesion == ()
    assert q.warnings == ()


def test_one_lung_missing_is_said():
    ct, labels, lungs = make_case()
    lungs[lungs == 2] = 0
    q = quantify(ct, labels, lungs, CLASSES)
    assert q.total.share_of_left_lung_percent is None
    assert q.total.share_of_right_lung_percent > 0
    assert any("left lung is empty" in w for w in q.warnings)
    assert any("outside the lung mask" in w for w in q.warnings)


def test_blocks_do_not_change_anything(monkeypatch):
    ct, labels, lungs = make_case(shape=(40, 20, 24))
    regions = (np.arange(40)[:, None, None] // 9 * np.ones(ct.shape[1:], int)).astype(np.int16)
    whole = quantify(ct, labels, lungs, CLASSES, regions=regions)
    monkeypatch.setattr("CovidLesionSegLogic.quantify.measure.BLOCK_VOXELS", 3 * 20 * 24)
    assert quantify(ct, labels, lungs, CLASSES, regions=regions) == whole
    assert tally.BLOCK_VOXELS > 3 * 20 * 24


def test_float_volume_with_gaps():
    ct, labels, lungs = make_case(dtype=np.float32)
    ct.array[labels == 1] += 0.25
    q = quantify(ct, labels, lungs, CLASSES)
    assert q.classes[0].hu.mean_hu == pytest.approx(ct.array[labels == 1].mean(), abs=0.5)
    ct.array[3] = np.nan
    holed = quantify(ct, labels, lungs, CLASSES)
    assert holed.total.volume_ml == q.total.volume_ml
    keep = (labels == 2) & np.isfinite(ct.array)
    assert holed.classes[1].hu.mean_hu == pytest.approx(ct.array[keep].mean())


def test_regions_any_labels_and_scores():
    ct, labels, lungs = make_case()
    regions = np.zeros(ct.shape, np.uint16)
    for n, label in enumerate((7, 300, 5, 9, 1000)):
        regions[:, 4 * n : 4 * n + 4] = label
    labels[regions == 5] = 0
    names = {7: "right upper lobe", 12: "absent lobe"}
    q = quantify(ct, labels, lungs, CLASSES, regions=regions, region_names=names)
    assert [r.label for r in q.regions] == [5, 7, 9, 12, 300, 1000]
    by_label = {r.label: r for r in q.regions}
    assert by_label[7].name == "right upper lobe"
    assert by_label[300].name == "region 300"
    assert by_label[12].volume_ml == 0
    assert by_label[12].total_share_percent is None
    assert by_label[12].score is None
    assert q.score_0_to_25 is None
    mask = regions == 300
    assert by_label[300].share_percent["consolidation"] == pytest.approx(
        100 * (labels[mask] == 2).mean()
    )
    assert by_label[300].mean_hu == pytest.approx(ct.array[mask].mean())
    assert by_label[5].score == 0


@pytest.mark.parametrize(
    ("names", "scored"),
    [
        (LOBES, True),
        (TOTALSEGMENTATOR_NAMES, True),
        ([*LOBES[:4], LOBES[0]], False),
        ([*LOBES[:4], "right zone"], False),
        ([*LOBES[:4], "globe"], False),
        (LOBES[:4], False),
        ([], False),
    ],
)
def test_the_sum_of_scores_is_given_for_lobes_only(names, scored):
    ct, labels, lungs = make_case()
    regions = np.zeros(ct.shape, np.uint16)
    for n in range(5):
        regions[:, 4 * n : 4 * n + 4] = n + 1
    names = dict(enumerate(names, start=1))
    q = quantify(ct, labels, lungs, CLASSES, regions=regions, region_names=names)
    assert len(q.regions) == 5
    assert all(r.score is not None for r in q.regions)
    assert q.score_0_to_25 == (sum(r.score for r in q.regions) if scored else None)


@pytest.mark.parametrize(
    ("percent", "score"),
    [
        (None, None),
        (0, 0),
        (0.1, 1),
        (4.9, 1),
        (5, 2),
        (25, 2),
        (25.1, 3),
        (50, 4),
        (75, 4),
        (76, 5),
    ],
)
def test_extent_score(percent, score):
    from CovidLesionSegLogic.quantify import extent_score

    assert extent_score(percent) == score


def test_single_class_any_label_value():
    ct, labels, lungs = make_case()
    q = quantify(ct, np.where(labels > 0, 200, 0), lungs, (Named("infection", 200),))
    assert q.classes[0].label == 200
    assert q.classes[0].volume_ml == q.total.volume_ml
    assert q.classes[0].components == q.total.components


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.zeros((2, 2, 2), np.uint8)}, "shape"),
        ({"labels": np.full((11, 20, 24), 3, np.uint8)}, "no class"),
        ({"labels": np.full((11, 20, 24), 999, np.int16)}, "no class"),
        ({"labels": np.full((11, 20, 24), -1, np.int16)}, "negative"),
        ({"labels": np.zeros((11, 20, 24), np.float32)}, "whole numbers"),
        ({"lungs": np.full((11, 20, 24), 3, np.uint8)}, "lungs"),
        ({"classes": (Named("a", 1), Named("a", 2))}, "share"),
        ({"classes": (Named("a", 0), Named("b", 2))}, "1 to 254"),
        ({"regions": np.full((11, 20, 24), 70000, np.int32)}, "65535"),
    ],
)
def test_wrong_input_is_refused(change, message):
    ct, labels, lungs = make_case()
    request = {"labels": labels, "lungs": lungs, "classes": CLASSES, **change}
    with pytest.raises(ValueError, match=message):
        quantify(ct, **request)


def test_dict_round_trip_is_finite_and_equal():
    ct, labels, lungs = make_case()
    q = quantify(ct, labels, lungs, CLASSES, regions=lungs)
    data = q.to_dict()
    assert Quantification.from_dict(data) == q
    assert data["classes"][0]["volume_ml"] > 0
    assert data["total"]["share_of_lungs_percent"] < 100

    def numbers(value):
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list | tuple):
            return [n for v in value for n in numbers(v)]
        return [value] if isinstance(value, float) else []

    assert all(math.isfinite(n) for n in numbers(data))


@pytest.mark.parametrize(
    "data", [{}, {"format": "other"}, {"format": "CovidLesionSeg quantification"}]
)
def test_from_dict_refuses_what_it_does_not_know(data):
    with pytest.raises(ValueError, match=r"not a quantification|not known"):
        Quantification.from_dict(data)
