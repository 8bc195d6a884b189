"""Bootstrap intervals: known cases, missing values, repeatability."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from CovidLesionSegLogic.assess.intervals import (
    Interval,
    describe,
    max_of_mean_interval,
    mean_interval,
    resample_counts,
)


def test_every_resample_draws_as_many_units():
    counts = resample_counts(7)
    assert counts.shape == (2000, 7)
    assert (counts.sum(axis=1) == 7).all()
    np.testing.assert_array_equal(counts, resample_counts(7))
    assert (counts != resample_counts(7, seed=1)).any()


def test_interval_is_that_of_the_normal_approximation():
    values = np.random.default_rng(0).normal(0.6, 0.2, 400)
    interval = mean_interval(values.tolist())
    half = 1.96 * values.std() / 20
    assert interval.value == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_missing_values_are_left_out_not_zero():
    interval = mean_interval([0.5, None, 0.5, None])
    assert interval == Interval(0.5, 0.5, 0.5, 2)
    assert mean_interval([None, 0.3]) == Interval(0.3, None, None, 1)
    assert mean_interval([None]) == Interval(None, None, None, 0)


def test_maximum_of_the_mean_is_not_the_mean_of_maxima():
    curves = np.array([[0.0, 0.8, 0.2], [0.6, 0.4, 0.0]])
    interval, index = max_of_mean_interval(curves)
    assert (interval.value, index) == (pytest.approx(0.6), 1)
    assert (interval.low, interval.high) == (pytest.approx(0.6), pytest.approx(0.8))
    single, _ = max_of_mean_interval(curves[:1])
    assert single == Interval(0.8, None, None, 1)


def test_limits_are_the_2_5_and_97_5_percentiles():
    # 201 resamples of two units, from only the first to only the second in even steps.
    steps = np.linspace(0, 2, 201)
    draws = np.stack([2 - steps, steps], axis=1)
    interval = mean_interval([0, 1], draws)
    assert (interval.low, interval.high) == pytest.approx((0.025, 0.975))
    assert (interval.value, interval.n) == (0.5, 2)
    curves = np.array([[0.0, 0.1], [1.0, 0.1]])
    interval, index = max_of_mean_interval(curves, draws)
    # Below 0.1 the other threshold has the larger mean.
    assert (interval.low, interval.high) == pytest.approx((0.1, 0.975))
    assert (interval.value, interval.n, index) == (0.5, 2, 0)


def test_of_yes_and_no_the_limits_are_binomial():
    values = [float(i % 3 > 0) for i in range(30)]
    limits = stats.binom.ppf([0.025, 0.975], 30, 2 / 3) / 30
    interval = mean_interval(values)
    assert (interval.low, interval.high) == pytest.approx(limits)
    assert interval == mean_interval(values)  # the seed is fixed


def test_results_say_how_intervals_were_made():
    assert Interval(0.5, 0.25, 0.75, 3).to_dict() == {
        "value": 0.5,
        "low": 0.25,
        "high": 0.75,
        "n": 3,
    }
    assert describe("patient") == {
        "method": "percentile bootstrap",
        "unit": "patient",
        "confidence": 0.95,
        "resamples": 2000,
        "seed": 0,
    }
