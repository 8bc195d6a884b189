"""Small cases whose numbers are computed by hand: places, sides, edges of the allowed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.quantify import Quantification, extent_score, quantify
from CovidLesionSegLogic.quantify.severity import MOST
from CovidLesionSegLogic.quantify.tally import Tally


@dataclass(frozen=True)
class Named:
    """The least a lesion class is asked for."""

    name: str
    label: int


CLASSES = (Named("ground-glass opacity", 1), Named("consolidation", 2))
SHAPE = (4, 5, 6)


def ct_of(hu: object = -700, spacing: tuple = (0.5, 0.8, 2.5), dtype: type = np.int16) -> CTVolume:
    array = np.full(SHAPE, -700, dtype)
    array[...] = hu
    return CTVolume(array, spacing=spacing)


def measured(**change: object) -> Quantification:
    """The lungs are columns 0, 1 (right) and 4, 5 (left); one voxel has 0.001 mL."""
    lungs = np.zeros(SHAPE, np.uint8)
    lungs[:, :, :2], lungs[:, :, 4:] = 1, 2
    request = {"labels": np.zeros(SHAPE, np.uint8), "lungs": lungs, "classes": CLASSES, **change}
    ct = request.pop("ct", ct_of())
    return quantify(ct, **request)


def test_volumes_sides_and_areas() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[1, 2, :] = 1  # 2 voxels in each lung and 2 between them
    labels[3, :, 5] = 2  # 5 in the left lung
    q = measured(labels=labels)
    assert q.voxel_volume_ml == pytest.approx(0.001)
    ggo, consolidation = q.classes
    assert ggo.volume_ml == pytest.approx(0.006)
    assert (ggo.right_lung_ml, ggo.left_lung_ml) == pytest.approx((0.002, 0.002))
    assert ggo.outside_lungs_ml == pytest.approx(0.002)
    assert (consolidation.right_lung_ml, consolidation.left_lung_ml) == pytest.approx((0, 0.005))
    assert (q.total.right_lung_ml, q.total.left_lung_ml) == pytest.approx((0.002, 0.007))
    assert q.total.share_of_lungs_percent == pytest.approx(100 * 9 / 80)
    assert q.total.share_of_right_lung_percent == pytest.approx(5)
    assert q.total.share_of_left_lung_percent == pytest.approx(17.5)
    assert (q.total.components, q.total.slices) == (2, 2)
    assert q.total.largest_component_ml == pytest.approx(0.006)
    assert [c.largest_component_ml for c in q.classes] == pytest.approx([0.006, 0.005])
    assert (q.total.name, q.total.label) == ("all lesions", None)
    assert [c.label for c in q.classes] == [1, 2]
    assert (q.right_lung.name, q.left_lung.name, q.lungs.name) == (
        "right lung", "left lung", "both lungs",
    )  # fmt: skip
    # Slices from the top; what lies between the lungs is no lung: 20 voxels of 0.4 mm2.
    assert [s.lung_area_mm2 for s in q.slices] == pytest.approx([8.0] * 4)
    assert [s.total_lesion_area_mm2 for s in q.slices] == pytest.approx([2.0, 0, 2.4, 0])
    assert [s.own_index for s in q.slices] == [3, 2, 1, 0]
    assert (q.slice_axis, q.slice_spacing_mm) == ("k", 2.5)
    assert (q.regions, q.lesion_outside_regions_ml, q.score_0_to_25) == ((), None, None)


def test_density_is_told_by_side() -> None:
    hu = np.full(SHAPE, -700)
    hu[1, 2] = [-600, -500, -100, 0, -400, -200]
    labels = np.zeros(SHAPE, np.uint8)
    labels[1, 2] = 1
    q = measured(ct=ct_of(hu), labels=labels)
    ggo = q.classes[0]
    assert (ggo.hu_right_lung.mean_hu, ggo.hu_right_lung.sd_hu) == pytest.approx((-550, 50))
    assert (ggo.hu_left_lung.mean_hu, ggo.hu_left_lung.median_hu) == pytest.approx((-300, -300))
    assert ggo.hu.mean_hu == pytest.approx(-300)
    assert ggo.hu.median_hu == pytest.approx(-300)


@pytest.mark.parametrize(
    ("hu", "part"),
    [(-901, 0), (-900, 1), (-501, 1), (-500, 2), (-101, 2), (-100, 3)],
)
def test_edges_of_aeration(hu: int, part: int) -> None:
    lung = measured(ct=ct_of(hu)).lungs
    parts = [
        lung.hyperaerated_percent, lung.well_aerated_percent,
        lung.poorly_aerated_percent, lung.non_aerated_percent,
    ]  # fmt: skip
    assert parts == [100.0 if n == part else 0.0 for n in range(4)]


@pytest.mark.parametrize(
    ("hu", "counted"),
    [(-2048, -2048), (-2049, -2048), (-9000, -2048), (6143, 6143), (6144, 6143), (9000, 6143)],
)
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_the_darkest_and_the_brightest_voxels(hu: int, counted: int, dtype: type) -> None:
    lung = measured(ct=ct_of(hu, dtype=dtype)).lungs
    assert (lung.hu.mean_hu, lung.hu.median_hu, lung.hu.sd_hu) == (counted, counted, 0)


def test_fractions_of_hu_are_rounded() -> None:
    assert measured(ct=ct_of(-99.6, dtype=np.float32)).lungs.hu.mean_hu == -100
    assert measured(ct=ct_of(-100.4, dtype=np.float32)).lungs.hu.mean_hu == -100


def test_the_median_of_an_even_number_lies_between() -> None:
    hu = np.full(SHAPE, -700)
    hu[:2] = -800
    assert measured(ct=ct_of(hu)).lungs.hu.median_hu == -750
    hu[0, 0, 0] = -700
    assert measured(ct=ct_of(hu)).lungs.hu.median_hu == -700


def test_regions_outside_the_lungs_count_and_have_a_density() -> None:
    """Region 1 lies between the lungs, without any lesion; a voxel there is not a number."""
    regions = np.zeros(SHAPE, np.uint8)
    regions[0, :, 2:4] = 1
    hu = np.full(SHAPE, -700.0)
    hu[0, 0, 2:4] = (40, np.nan)
    hu[0, 1:, 2:4] = 58
    q = measured(ct=ct_of(hu, dtype=np.float32), regions=regions, region_names={2: "absent"})
    first, absent = q.regions
    assert (first.name, first.label, first.volume_ml) == ("region 1", 1, pytest.approx(0.010))
    assert first.mean_hu == pytest.approx((40 + 8 * 58) / 9)
    assert first.lesion_ml == {"ground-glass opacity": 0, "consolidation": 0}
    assert (absent.name, absent.volume_ml, absent.mean_hu) == ("absent", 0, None)
    assert q.warnings == ()
    assert measured(regions=regions, region_names={}).lesion_outside_regions_ml == 0


def test_a_named_region_that_is_absent_is_listed() -> None:
    regions = np.zeros(SHAPE, np.uint8)
    regions[0] = 7
    q = measured(regions=regions, region_names={0: "background", 1: "absent"})
    assert [(r.label, r.name) for r in q.regions] == [(1, "absent"), (7, "region 7")]


@pytest.mark.parametrize(("label", "fine"), [(65535, True), (65536, False)])
def test_the_highest_label_of_a_region(label: int, fine: bool) -> None:
    regions = np.full(SHAPE, label, np.int32)
    if fine:
        assert [r.label for r in measured(regions=regions).regions] == [label]
    else:
        with pytest.raises(ValueError, match="must not exceed 65535"):
            measured(regions=regions)


@pytest.mark.parametrize(("label", "fine"), [(254, True), (255, False)])
def test_the_highest_label_of_a_class(label: int, fine: bool) -> None:
    classes = (Named("infection", label),)
    if fine:
        assert measured(labels=np.full(SHAPE, label), classes=classes).total.volume_ml > 0
    else:
        with pytest.raises(ValueError, match="1 to 254"):
            measured(classes=classes)


@pytest.mark.parametrize("label", [3, 254, 255, 256, 257])
def test_labels_of_no_class_are_refused(label: int) -> None:
    labels = np.zeros(SHAPE, np.int16)
    labels[-1, -1, -1] = label
    with pytest.raises(ValueError, match="belongs to no class"):
        measured(labels=labels)


def test_masks_may_be_boolean() -> None:
    infection = (Named("infection", 1),)
    q = measured(labels=np.ones(SHAPE, bool), lungs=np.ones(SHAPE, bool), classes=infection)
    assert q.right_lung.volume_ml == q.total.right_lung_ml == pytest.approx(0.12)
    assert q.left_lung.volume_ml == 0


@pytest.mark.parametrize("what", ["labels", "lungs", "regions"])
def test_another_shape_is_refused_by_name(what: str) -> None:
    with pytest.raises(ValueError, match=rf"the {what} have shape \(1, 5, 6\), the CT \(4, 5, 6\)"):
        measured(**{what: np.zeros((1, 5, 6), np.uint8)})


def test_two_classes_of_one_label_are_refused() -> None:
    with pytest.raises(ValueError, match="share a name or a label"):
        measured(classes=(Named("a", 1), Named("b", 1)))


@pytest.mark.parametrize(("voxels", "slices"), [(1, [1] * 4), (60, [2, 2]), (89, [2, 2])])
def test_blocks_hold_whole_slices(
    monkeypatch: pytest.MonkeyPatch, voxels: int, slices: list[int]
) -> None:
    seen: list[int] = []
    real = Tally.update

    def update(self: Tally, hu: np.ndarray, *rest: np.ndarray) -> None:
        seen.append(len(hu))
        real(self, hu, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Tally, "update", update)
    monkeypatch.setattr("CovidLesionSegLogic.quantify.measure.BLOCK_VOXELS", voxels)
    measured()
    assert seen == slices


@pytest.mark.parametrize("axis", [0, 1])
def test_the_height_of_an_oblique_slice_is_that_of_its_centre(axis: int) -> None:
    """Tilted by 3-4-5: along the tilted index axis the height rises by 0.6 mm for each mm."""
    tilt = np.eye(3)
    other = 1 - axis
    tilt[:, axis] = 0.8 * np.eye(3)[axis] + 0.6 * np.eye(3)[2]
    tilt[:, 2] = -0.6 * np.eye(3)[axis] + 0.8 * np.eye(3)[2]
    assert tilt[other, other] == 1
    ct = CTVolume(np.zeros(SHAPE, np.int16), (0, 0, 10.0), (2.0, 3.0, 5.0), tilt)
    q = quantify(ct, np.zeros(SHAPE, np.uint8), None, CLASSES)
    middle = 0.6 * (2.0 * 2.5 if axis == 0 else 3.0 * 2.0)  # six columns, five rows
    assert [s.z_mm for s in q.slices] == pytest.approx(
        [10 + middle + 4.0 * k for k in (3, 2, 1, 0)]
    )


@pytest.mark.parametrize(
    ("outside", "lesion", "said"), [(0, 95, False), (1, 100, False), (1, 95, True)]
)
def test_a_hundredth_of_lesion_outside_the_lungs_is_said(
    outside: int, lesion: int, said: bool
) -> None:
    """1 of 100 voxels may lie outside without a word, 1 of 95 (1.05 %) may not."""
    lungs = np.ones(SHAPE, np.uint8)
    lungs[:, :, 4:] = 2
    labels = np.zeros(SHAPE, np.uint8)
    labels.ravel()[:lesion] = 1
    lungs.ravel()[:outside] = 0
    warnings = measured(labels=labels, lungs=lungs).warnings
    assert len(warnings) == said
    if said:
        assert warnings[0].startswith("0.00 mL of lesion lie outside the lung mask")


def test_any_class_outside_the_lungs_is_said() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[0, 0, :2], labels[0, 0, 2:4] = 1, 2
    (warning,) = measured(labels=labels).warnings
    assert "outside the lung mask" in warning
    (warning,) = measured(labels=np.where(labels > 0, 3 - labels, 0)).warnings
    assert "outside the lung mask" in warning


def test_lesions_in_regions_and_beyond_in_ml() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[0, 0], labels[0, 1, :2], labels[3, 4] = 1, 2, 2
    regions = np.zeros(SHAPE, np.uint8)
    regions[0], regions[1, 0, 0] = 3, 4
    q = measured(labels=labels, regions=regions)
    first, single = q.regions
    assert first.lesion_ml == pytest.approx({"ground-glass opacity": 0.006, "consolidation": 0.002})
    assert first.total_lesion_ml == pytest.approx(0.008)
    assert first.total_share_percent == pytest.approx(100 * 8 / 30)
    assert q.lesion_outside_regions_ml == pytest.approx(0.006)
    assert (single.volume_ml, single.mean_hu) == (pytest.approx(0.001), -700)
    assert not any("region map" in warning or "lobes" in warning for warning in q.warnings)


def test_a_lung_of_one_voxel_has_shares() -> None:
    lungs = np.zeros(SHAPE, np.uint8)
    lungs[0, 0, 0] = 2
    q = measured(lungs=lungs, labels=np.ones(SHAPE, np.uint8))
    assert q.total.share_of_left_lung_percent == 100
    assert q.total.share_of_right_lung_percent is None


@pytest.mark.parametrize(
    ("percent", "score"),
    [(1e-9, 1), (1, 1), (4.999, 1), (5, 2), (25, 2), (25.001, 3), (49.9, 3), (49.999, 3),
     (50, 4), (75, 4), (75.001, 5), (100, 5)],
)  # fmt: skip
def test_edges_of_the_extent_score(percent: float, score: int) -> None:
    assert extent_score(percent) == score


def test_the_most_is_five_times_the_highest_score() -> None:
    assert extent_score(100) == MOST / 5


def test_a_slice_with_one_small_voxel_holds_lesion() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[1, 0, 0] = 1
    assert measured(labels=labels).slices_with_lesion == (2,)


@pytest.mark.parametrize(("hu", "counted"), [(-1e30, -2048), (1e30, 6143)])
def test_absurd_values_count_as_the_ends_of_the_scale(hu: float, counted: int) -> None:
    assert measured(ct=ct_of(hu, dtype=np.float32)).lungs.hu.mean_hu == counted
