"""Dice, IoU, pixel precision and recall: by hand, in three ways, with empty masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from CovidLesionSegLogic.assess.overlap import MEASURES, Overlap, PixelCounts


def mask(*pixels: int, size: int = 10) -> np.ndarray:
    flat = np.zeros(size, bool)
    flat[list(pixels)] = True
    return flat.reshape(2, -1)


def test_equations_2_to_5_by_hand():
    one = PixelCounts.of(mask(0, 1, 2, 3), mask(2, 3, 4))
    assert (one.hits, one.marked, one.truth) == (2, 4, 3)
    assert one.dice == pytest.approx(4 / 7)
    assert one.iou == pytest.approx(2 / 5)
    assert one.precision == pytest.approx(2 / 4)
    assert one.recall == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="differ in size"):
        PixelCounts.of(mask(0), mask(0, size=12))


def test_empty_masks():
    false = PixelCounts.of(mask(0), mask())
    assert (false.dice, false.iou, false.precision, false.recall) == (0, 0, 0, None)
    missed = PixelCounts.of(mask(), mask(0))
    assert (missed.dice, missed.iou, missed.precision, missed.recall) == (0, 0, None, 0)
    nothing = PixelCounts.of(mask(), mask())
    assert [getattr(nothing, name) for name in MEASURES] == [None] * 4


def test_per_image_pooled_and_per_patient_by_hand():
    overlap = Overlap()
    overlap.update(mask(0, 1), mask(0, 1), patient="a")  # Dice 1
    overlap.update(mask(0, 1), mask(2, 3, 4, 5), patient="a")  # Dice 0
    overlap.update(mask(), mask(), patient="a")  # counted only
    overlap.update(mask(0, 1, 2), mask(0), patient="b")  # Dice 1/2
    overlap.update(mask(5), mask(), patient="c")  # Dice 0, no recall
    overlap.update(mask(), mask(), patient="d")
    found = overlap.compute()
    assert found.counts == {
        "images": 6,
        "patients": 4,
        "empty_truth": 3,
        "empty_result": 2,
        "both_empty": 2,
    }
    assert found.per_image["dice"].value == pytest.approx((1 + 0 + 1 / 2 + 0) / 4)
    assert found.per_image["iou"].value == pytest.approx((1 + 0 + 1 / 3 + 0) / 4)
    assert found.per_image["recall"].value == pytest.approx((1 + 0 + 1) / 3)
    assert found.per_image["recall"].n == 2  # patients
    # 3 hits of 8 marked and 7 true pixels.
    assert found.pooled["dice"].value == pytest.approx(2 * 3 / 15)
    assert found.pooled["iou"].value == pytest.approx(3 / 12)
    assert found.pooled["precision"].value == pytest.approx(3 / 8)
    assert found.pooled["recall"].value == pytest.approx(3 / 7)
    # a: 2 hits of 4 and 6; b: 1 of 3 and 1; c: 0 of 1 and 0; d has nothing to say.
    assert found.per_patient["dice"].value == pytest.approx((4 / 10 + 1 / 2 + 0) / 3)
    assert found.per_patient["dice"].n == 3
    assert found.per_patient["iou"].value == pytest.approx((2 / 8 + 1 / 3 + 0) / 3)
    assert found.per_patient["precision"].value == pytest.approx((2 / 4 + 1 / 3 + 0) / 3)
    assert found.per_patient["recall"].value == pytest.approx((2 / 6 + 1) / 2)


def test_images_without_truth_or_result_are_counted_apart():
    overlap = Overlap()
    pairs = [((0,), (0,)), ((0,), (1,)), ((), (0,)), ((), (1,)), ((), (2,)), ((0,), ()), ((), ())]
    for predicted, truth in pairs:
        overlap.update(mask(*predicted), mask(*truth), patient="a")
    counts = overlap.compute().counts
    assert (counts["empty_truth"], counts["empty_result"], counts["both_empty"]) == (2, 4, 1)


def test_counts_of_one_image_come_back_and_are_written():
    one = Overlap().update(mask(0, 1, 2, 3), mask(2, 3, 4), patient="a")
    assert one == PixelCounts(hits=2, marked=4, truth=3)
    assert one.to_dict() == {
        "truth_pixels": 3,
        "marked_pixels": 4,
        "dice": pytest.approx(4 / 7),
        "iou": pytest.approx(2 / 5),
        "precision": pytest.approx(2 / 4),
        "recall": pytest.approx(2 / 3),
    }


def test_intervals_draw_patients_not_images():
    rng = np.random.default_rng(0)
    images, alone = Overlap(), Overlap()
    for patient in range(12):
        predicted, truth = rng.random((2, 8, 8)) < 0.2 + 0.05 * patient
        alone.update(predicted, truth, patient=str(patient))
        for _ in range(20):  # twenty times the same slice tells nothing new
            images.update(predicted, truth, patient=str(patient))
    for way in ("per_image", "pooled", "per_patient"):
        for name in MEASURES:
            many, few = getattr(images.compute(), way)[name], getattr(alone.compute(), way)[name]
            assert (many.value, many.low, many.high) == pytest.approx(
                (few.value, few.low, few.high)
            )
            assert many.low < many.value < many.high


def test_nothing_seen_has_no_value():
    found = Overlap().compute().to_dict()
    assert found["counts"]["images"] == 0
    assert found["metrics"]["pooled"]["dice"] == {"value": None, "low": None, "high": None, "n": 0}


MASKS = hnp.arrays(bool, (3, 4))


@settings(deadline=None, max_examples=40)
@given(MASKS, MASKS)
def test_measures_agree_with_each_other(predicted, truth):
    one = PixelCounts.of(predicted, truth)
    other = PixelCounts.of(truth, predicted)
    assert (one.dice, one.iou, one.precision) == (other.dice, other.iou, other.recall)
    if one.dice is not None and one.iou is not None:
        assert one.dice == pytest.approx(2 * one.iou / (1 + one.iou))
    if one.precision and one.recall:
        assert one.dice == pytest.approx(2 / (1 / one.precision + 1 / one.recall))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(MASKS, MASKS), min_size=1, max_size=5))
def test_with_one_image_for_each_patient_two_ways_are_one(pairs):
    overlap = Overlap()
    for i, (predicted, truth) in enumerate(pairs):
        overlap.update(predicted, truth, patient=str(i))
    found = overlap.compute()
    for name in MEASURES:
        a, b = found.per_image[name], found.per_patient[name]
        assert a.n == b.n
        assert a.value == (None if b.value is None else pytest.approx(b.value))
