"""The paper's tests and those beside them, against numbers computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from CovidLesionSegLogic.assess.statistics import (
    NOT_ACCURATE,
    agreement_tests,
    critical_value,
    friedman_as_published,
    kruskal_wallis,
    mcnemar_exact,
    spearman,
)


def decisions(hits: int, false: int, missed: int, total: int) -> tuple[list[bool], list[bool]]:
    rest = total - hits - false - missed
    predicted = [True] * hits + [True] * false + [False] * missed + [False] * rest
    truth = [True] * hits + [False] * false + [True] * missed + [False] * rest
    return predicted, truth


def test_kruskal_wallis_by_hand():
    # Ranks 1 2 3 | 4 5 6 | 7 8 9: H = 12 / (9 * 10) * (36 + 225 + 576) / 3 - 3 * 10 = 7.2.
    groups = {"mild": [1.0, 2, 3], "moderate": [4.0, 5, 6], "severe": [7.0, 8, 9]}
    found = kruskal_wallis(groups)
    assert found.statistic == pytest.approx(7.2)
    assert found.p == pytest.approx(math.exp(-3.6))  # two degrees of freedom
    assert found.n == 9
    # With two values H is (n - 1) times the share of variance between groups: 5 * (2/3) / (4/3).
    assert kruskal_wallis({"a": [0, 0, 1], "b": [1, 1, 1]}).statistic == pytest.approx(2.5)


def test_spearman_by_hand():
    # Without ties rho = 1 - 6 sum(d^2) / (n (n^2 - 1)); ranks 2 1 3 4 against 1 2 3 4: d^2 = 2.
    found = spearman({"a": [2.0], "b": [1.0], "c": [3.0], "d": [4.0]})
    assert found.statistic == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert spearman({"a": [3.0, 3.5], "b": [1.0, 2.0]}).statistic < 0
    assert spearman({"a": [1.0, 1.0], "b": [2.0, 2.0]}).statistic == pytest.approx(1)
    three = spearman({"a": [1.0], "b": [3.0], "c": [2.0]})
    assert (three.statistic, three.n) == (pytest.approx(0.5), 3)
    two = spearman({"a": [1.0], "b": [2.0]})
    assert (two.statistic, two.p, two.n) == (None, None, 2)
    assert "fewer than three values" in two.note


@pytest.mark.parametrize(
    ("groups", "note"),
    [
        ({"mild": [0.1, 0.2, 0.3], "severe": []}, "fewer than two groups"),
        ({"mild": [0.0, 0.0], "severe": [0.0]}, "all values are equal"),
    ],
)
def test_what_cannot_be_tested_says_why(groups, note):
    for test in (kruskal_wallis, spearman):
        found = test(groups)
        assert found.statistic is None
        assert found.p is None
        assert found.n == 3
        assert note in found.note


def test_friedman_is_the_printed_statistic():
    ours = friedman_as_published(*decisions(500, 20, 3, 936))
    assert ours.statistic == pytest.approx(17**2 / 936)
    assert math.floor(1000 * ours.statistic) / 1000 == 0.308  # as printed: cut, not rounded
    baseline = friedman_as_published(*decisions(450, 40, 77, 936))
    assert round(baseline.statistic, 3) == 1.463
    assert critical_value() == pytest.approx(3.841, abs=5e-4)
    # One degree of freedom: the statistic is a squared standard normal.
    for found in (ours, baseline):
        assert found.p == pytest.approx(2 * stats.norm.sf(math.sqrt(found.statistic)))
    nothing = friedman_as_published([], [])
    assert (nothing.statistic, nothing.p, nothing.n) == (None, None, 0)


def test_mcnemar_by_hand():
    # b = 1, c = 5: two-sided 2 (1 + 6) / 2^6.
    found = mcnemar_exact(*decisions(4, 1, 5, 20))
    assert found.p == pytest.approx(14 / 64)
    assert found.statistic == 1
    assert "1 found by mistake, 5 missed" in found.note
    assert mcnemar_exact(*decisions(4, 0, 0, 20)).p == 1
    # b = c: the errors balance, and nothing is left to doubt.
    assert mcnemar_exact(*decisions(4, 3, 3, 20)).p == pytest.approx(1)
    with pytest.raises(ValueError, match="2 predictions for 1 truths"):
        mcnemar_exact([True, False], [True])


def test_not_significant_is_not_accurate():
    """Wrong for everybody, yet both tests pass: what the sentence warns of."""
    found = agreement_tests(*decisions(0, 50, 50, 100))
    assert found["friedman_as_published"]["statistic"] == 0
    assert found["mcnemar_exact"]["p"] == 1
    assert found["reading"] == NOT_ACCURATE
    assert found["critical_value_as_printed"] == 59.97
    assert found["critical_value"] == pytest.approx(1.959964**2)


PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


@settings(deadline=None, max_examples=40)
@given(PAIRS)
def test_friedman_is_the_rank_statistic_without_correction_for_ties(pairs):
    predicted, truth = zip(*pairs, strict=True)
    ranks = np.array([stats.rankdata(pair) for pair in pairs])
    n, k = ranks.shape
    expected = 12 / (n * k * (k + 1)) * (ranks.sum(axis=0) ** 2).sum() - 3 * n * (k + 1)
    found = friedman_as_published(predicted, truth)
    assert found.statistic == pytest.approx(expected, abs=1e-9)
    assert friedman_as_published(truth, predicted).statistic == found.statistic


@settings(deadline=None, max_examples=40)
@given(PAIRS)
def test_mcnemar_is_a_sign_test(pairs):
    predicted, truth = zip(*pairs, strict=True)
    found = mcnemar_exact(predicted, truth)
    b = sum(p and not t for p, t in pairs)
    c = sum(t and not p for p, t in pairs)
    tail = sum(math.comb(b + c, i) for i in range(min(b, c) + 1)) / 2 ** (b + c)
    assert found.p == pytest.approx(min(1, 2 * tail))
    assert mcnemar_exact(truth, predicted).p == pytest.approx(found.p)
