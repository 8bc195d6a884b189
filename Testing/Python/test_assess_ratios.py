"""Ratios of sums and their intervals over patients, with resamples drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from CovidLesionSegLogic.assess.intervals import Interval, resample_counts
from CovidLesionSegLogic.assess.ratios import (
    patient_indices,
    percentile_interval,
    ratio_interval,
    sums_by_patient,
)

STEPS = np.linspace(0, 2, 201)
BY_HAND = np.stack([2 - STEPS, STEPS], axis=1)
"""201 resamples of two patients, from only the first to only the second in even steps."""


def test_limits_are_the_2_5_and_97_5_percentiles():
    found = percentile_interval(0.4, np.arange(201) / 200, 2)
    assert (found.value, found.low, found.high) == pytest.approx((0.4, 0.025, 0.975))
    assert found.n == 2


def test_no_limits_of_one_unit_nor_without_resamples():
    samples = np.array([0.1, 0.2])
    assert percentile_interval(0.4, samples, 1) == Interval(0.4, None, None, 1)
    assert percentile_interval(0.4, samples, 0) == Interval(0.4, None, None, 0)
    assert percentile_interval(0.4, samples[:0], 2) == Interval(0.4, None, None, 2)
    one = percentile_interval(0.4, samples[:1], 2)
    assert (one.low, one.high) == pytest.approx((0.1, 0.1))


def test_ratio_of_sums_by_hand():
    # Patient 1 has 1 of 10, patient 2 has 30 of 30: pooled 31 / 40, not the mean of 0.1 and 1.
    found = ratio_interval([1, 30], [10, 30], BY_HAND)
    assert found.value == pytest.approx(31 / 40)
    low, high = BY_HAND[5], BY_HAND[195]
    assert found.low == pytest.approx((low @ [1, 30]) / (low @ [10, 30]))
    assert found.high == pytest.approx((high @ [1, 30]) / (high @ [10, 30]))
    assert found.n == 2


def test_resamples_without_anything_below_are_left_out():
    draws = np.array([[2.0, 0, 0], [0, 2, 0], [0, 0, 2], [1, 1, 0]])
    found = ratio_interval(np.array([0.5, 0.1, 0]), np.array([1, 0.25, 0]), draws)
    assert (found.value, found.n) == (pytest.approx(0.6 / 1.25), 2)
    # 0.5, 0.4 and 0.48 remain; between them the quantiles are linear.
    assert found.low == pytest.approx(0.4 + 0.05 * 0.08)
    assert found.high == pytest.approx(0.5 - 0.05 * 0.02)


def test_patients_with_nothing_to_say_do_not_count():
    assert ratio_interval(np.zeros(2), np.zeros(2)) == Interval(None, None, None, 0)
    assert ratio_interval(np.zeros(0), np.zeros(0)) == Interval(None, None, None, 0)
    assert ratio_interval(np.array([3, 0]), np.array([4, 0])) == Interval(0.75, None, None, 1)


def test_of_one_case_per_patient_the_limits_are_binomial():
    right = np.arange(30) % 3 > 0
    found = ratio_interval(right, np.ones(30))
    assert found == ratio_interval(right, np.ones(30), resample_counts(30))
    assert found != ratio_interval(right, np.ones(30), resample_counts(30, seed=1)[:50])
    assert (found.value, found.n) == (pytest.approx(2 / 3), 30)
    limits = stats.binom.ppf([0.025, 0.975], 30, 2 / 3) / 30
    assert (found.low, found.high) == pytest.approx(limits)


def test_sums_by_patient():
    names, index = patient_indices(["b", "a", "b", "c", "a"])
    assert names == ["b", "a", "c"]
    assert index.tolist() == [0, 1, 0, 2, 1]
    assert sums_by_patient(np.array([1, 2, 4, 8, 16]), index, 3).tolist() == [5, 18, 8]
    table = np.array([[1, 10], [2, 20], [4, 40], [8, 80], [16, 160]])
    assert sums_by_patient(table, index, 4).tolist() == [[5, 50], [18, 180], [8, 80], [0, 0]]
