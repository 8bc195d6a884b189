"""The published slice protocol against a slow, literal version of it."""

from __future__ import annotations

import numpy as np
import pytest

from CovidLesionSegLogic.assess.slices import score_slice


def literal(soft, truth):
    """Inf-Net's evaluation, one threshold after another."""
    low, high = soft.min(), soft.max()
    soft = (soft - low) / (high - low) if high > low else soft
    rows = []
    for i in range(255, -1, -1):
        hard = soft >= i / 255
        tp, fp = (hard & truth).sum(), (hard & ~truth).sum()
        fn, tn = (~hard & truth).sum(), (~hard & ~truth).sum()
        if tp == 0:
            rows.append((0.0, 0.0, 0.0))
        else:
            rows.append((2 * tp / (2 * tp + fp + fn), tp / (tp + fn), tn / max(tn + fp, 1)))
    return np.array(rows).T


@pytest.mark.parametrize("seed", range(5))
def test_curves_equal_the_literal_protocol(seed):
    rng = np.random.default_rng(seed)
    truth = rng.random((23, 31)) < 0.3
    soft = np.clip(0.3 * truth + 0.6 * rng.random(truth.shape), 0, 1)
    scores = score_slice(soft, truth)
    dice, sensitivity, specificity = literal(soft, truth)
    np.testing.assert_allclose(scores.dice_curve, dice, atol=1e-12)
    np.testing.assert_allclose(scores.sensitivity_curve, sensitivity, atol=1e-12)
    np.testing.assert_allclose(scores.specificity_curve, specificity, atol=1e-12)
    assert scores.mean_dice == pytest.approx(dice.mean())
    assert scores.mean_sensitivity == pytest.approx(sensitivity.mean())
    assert scores.mean_specificity == pytest.approx(specificity.mean())


def test_a_perfect_map_scores_one():
    truth = np.zeros((10, 10), bool)
    truth[2:5, 3:7] = True
    scores = score_slice(truth.astype(float), truth)
    assert scores.dice_at_threshold == 1
    assert scores.dice_curve[:-1].min() == 1  # the last threshold, 0, marks everything
    assert scores.mae == 0


def test_own_threshold_is_not_stretched():
    truth = np.zeros((10, 10), bool)
    truth[0, 0] = True
    faint = np.full((10, 10), 0.01)
    faint[0, 0] = 0.02
    scores = score_slice(faint, truth)
    assert scores.dice_at_threshold == 0
    assert scores.dice_curve[0] == 1  # stretched, the faint pixel is the brightest


def test_one_half_is_marked_at_one_half():
    soft, truth = np.array([[0.5, 0.25, 0.75]]), np.array([[True, False, True]])
    assert score_slice(soft, truth).dice_at_threshold == 1
    assert score_slice(soft, truth, threshold=0.51).dice_at_threshold == pytest.approx(2 / 3)


def test_one_pixel_beside_the_truth_counts():
    # Of 256 thresholds only the last, 0, marks it.
    scores = score_slice(np.array([[0.0, 1.0]]), np.array([[False, True]]))
    assert scores.mean_specificity == pytest.approx(255 / 256)
    assert scores.mean_sensitivity == 1


@pytest.mark.parametrize("value", [False, True])
def test_empty_and_full_truths_divide_by_nothing(value):
    soft = np.linspace(0, 1, 12).reshape(3, 4)
    with np.errstate(all="raise"):
        scores = score_slice(soft, np.full((3, 4), value))
    assert scores.specificity_curve.tolist() == [0] * 256
    assert scores.sensitivity_curve[-1] == value


def test_a_truth_of_zeros_and_ones_is_a_mask():
    rng = np.random.default_rng(2)
    soft, truth = rng.random((5, 6)), rng.random((5, 6)) < 0.4
    ours, theirs = score_slice(soft, truth), score_slice(soft, truth.astype(np.uint8))
    np.testing.assert_array_equal(ours.dice_curve, theirs.dice_curve)
    assert (ours.mae, ours.dice_at_threshold) == (theirs.mae, theirs.dice_at_threshold)


def test_sizes_must_agree():
    with pytest.raises(ValueError, match="differ in size"):
        score_slice(np.zeros((3, 3)), np.zeros((3, 4), bool))
