"""S-measure, E-measure, MAE and curves against PySODMetrics, and the cases it cannot score."""

from __future__ import annotations

import numpy as np
import py_sod_metrics
import pytest

from CovidLesionSegLogic.assess.curves import BETA_SQUARED, f_measure
from CovidLesionSegLogic.assess.slices import score_slice, to_grey

SHAPE = (19, 26)


def random_case(seed):
    rng = np.random.default_rng(seed)
    truth = rng.random(SHAPE) < rng.uniform(0.02, 0.6)
    soft = np.clip(0.4 * truth + 0.5 * rng.random(SHAPE) + 0.03, 0, 1)
    return to_grey(soft), truth


def blob(*box):
    truth = np.zeros(SHAPE, bool)
    truth[box[0] : box[1], box[2] : box[3]] = True
    return truth


NOISE = to_grey(np.random.default_rng(9).random(SHAPE))
CASES = {f"random {seed}": random_case(seed) for seed in range(6)} | {
    "empty truth": (NOISE, np.zeros(SHAPE, bool)),
    "full truth": (NOISE, np.ones(SHAPE, bool)),
    "one pixel": (NOISE, blob(4, 5, 7, 8)),
    "empty map": (np.zeros(SHAPE, np.uint8), blob(3, 9, 4, 11)),
    "constant map": (np.full(SHAPE, 77, np.uint8), blob(3, 9, 4, 11)),
    "both empty": (np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, bool)),
    "perfect": (to_grey(blob(3, 9, 4, 11).astype(float)), blob(3, 9, 4, 11)),
    "opposite": (to_grey(1.0 - blob(3, 9, 4, 11)), blob(3, 9, 4, 11)),
    # Quadrants without any lesion, on both sides or on one.
    "one pixel found": (to_grey(blob(4, 5, 7, 8).astype(float)), blob(4, 5, 7, 8)),
    "two pixels, one found": (
        to_grey(blob(4, 5, 7, 8).astype(float)),
        blob(4, 5, 7, 8) | blob(14, 15, 20, 21),
    ),
    "found beside it": (to_grey(blob(12, 15, 16, 20).astype(float)), blob(4, 5, 7, 8)),
}


@pytest.mark.filterwarnings("ignore:This class will be removed")
@pytest.mark.parametrize("name", CASES)
def test_scores_equal_pysodmetrics(name):
    grey, truth = CASES[name]
    theirs = {
        "s": py_sod_metrics.Smeasure(alpha=0.5),
        "e": py_sod_metrics.Emeasure(),
        "mae": py_sod_metrics.MAE(),
        "f": py_sod_metrics.Fmeasure(beta=0.3),
    }
    for metric in theirs.values():
        metric.step(grey, truth.astype(np.uint8) * 255)
    ours = score_slice(grey / 255, truth)
    assert ours.s_measure == pytest.approx(theirs["s"].get_results()["sm"], abs=1e-12)
    assert ours.mae == pytest.approx(theirs["mae"].get_results()["mae"], abs=1e-12)
    e_curve = theirs["e"].get_results()["em"]["curve"]
    np.testing.assert_allclose(ours.e_measure_curve, e_curve, atol=1e-12)
    assert ours.mean_e_measure == pytest.approx(np.mean(e_curve))
    f = theirs["f"].get_results()
    np.testing.assert_allclose(ours.precision_curve, f["pr"]["p"], atol=1e-12)
    np.testing.assert_allclose(ours.sensitivity_curve, f["pr"]["r"], atol=1e-12)
    f_curve = f_measure(ours.precision_curve, ours.sensitivity_curve, 0.3)
    np.testing.assert_allclose(f_curve, f["fm"]["curve"], atol=1e-12)


def test_f_measure_at_one_is_dice():
    grey, truth = CASES["random 0"]
    scores = score_slice(grey / 255, truth)
    f1 = f_measure(scores.precision_curve, scores.sensitivity_curve, BETA_SQUARED[1])
    np.testing.assert_allclose(f1, scores.dice_curve, atol=1e-12)


def test_a_lesion_along_the_last_column_has_a_number():
    # Two of the four quadrants are empty: the published code divides 0 by 0.
    truth = blob(3, 9, SHAPE[1] - 1, SHAPE[1])
    assert score_slice(truth.astype(float), truth).s_measure == pytest.approx(1)
    assert 0 < score_slice(NOISE / 255, truth).s_measure < 0.6


def test_an_image_of_one_pixel_has_numbers():
    pixel, nothing = np.ones((1, 1), bool), np.zeros((1, 1), bool)
    found, missed = score_slice(np.ones((1, 1)), pixel), score_slice(np.zeros((1, 1)), pixel)
    assert (found.s_measure, found.mean_e_measure) == (1, 1)
    assert (missed.s_measure, missed.mae) == (0, 1)
    # Marked at threshold 0 alone.
    assert missed.e_measure_curve.tolist() == [0] * 255 + [1]
    assert score_slice(np.zeros((1, 1)), nothing).e_measure_curve.tolist() == [1] * 255 + [0]
    two = score_slice(np.array([[0.0, 1.0]]), np.array([[False, True]]))
    assert (two.s_measure, two.mean_dice) == pytest.approx((1, (255 + 2 / 3) / 256))


def test_empty_truth_scores_nothing_and_own_dice_is_not_defined():
    empty = np.zeros(SHAPE, bool)
    scores = score_slice(0.1 * NOISE / 255, empty)
    for curve in ("dice_curve", "sensitivity_curve", "specificity_curve", "precision_curve"):
        assert not getattr(scores, curve).any()
    assert scores.dice_at_threshold is None
    assert score_slice(NOISE / 255, empty).dice_at_threshold == 0


def test_grey_keeps_one_half():
    assert to_grey(np.array([-0.5, 0, 0.499, 0.5, 1, 1.2])).tolist() == [0, 0, 127, 128, 255, 255]
