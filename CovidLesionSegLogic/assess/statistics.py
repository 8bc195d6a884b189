"""The tests of the coarse-refine paper (Table 5 and section 3.5), and what should stand by them.

Table 5 does not name its test: Kruskal-Wallis over the severities and Spearman's rank correlation
with them stand for it. Section 3.5 compares predictions with the truth by a Friedman test and
reads a small statistic as agreement; it is given as published, with the exact McNemar test beside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

NOT_ACCURATE = (
    "'Not significant' does not mean 'accurate': both tests ask only whether the two kinds of "
    "error (missed, and found by mistake) are equally frequent, so a classifier that is wrong for "
    "every patient passes them as long as its errors balance."
)
PRINTED_CRITICAL_VALUE = 59.97
"""As printed in section 3.5; at one degree of freedom it is 3.841."""


@dataclass(frozen=True)
class TestResult:
    """A test's statistic and p-value, None with the reason in ``note`` where there is none.

    ``n`` is the number of observations.
    """

    __test__ = False  # not for pytest

    test: str
    statistic: float | None
    p: float | None
    n: int
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def kruskal_wallis(groups: Mapping[str, Sequence[float]]) -> TestResult:
    """Whether the groups' values come from one distribution (chi-squared approximation).

    Groups without values are left out; at least two must have some, not all equal.
    """
    name = "Kruskal-Wallis"
    filled = [list(values) for values in groups.values() if len(values)]
    n = sum(map(len, filled))
    if len(filled) < 2:
        return TestResult(name, None, None, n, "fewer than two groups have values")
    if len({value for values in filled for value in values}) < 2:
        return TestResult(name, None, None, n, "all values are equal")
    found = stats.kruskal(*filled)
    return TestResult(name, float(found.statistic), float(found.pvalue), n)


def spearman(groups: Mapping[str, Sequence[float]]) -> TestResult:
    """Rank correlation of the values with their group's place in the order of ``groups``.

    ``p`` is two-sided (Student's t approximation).
    """
    name = "Spearman"
    place = [i for i, values in enumerate(groups.values()) for _ in values]
    value = [v for values in groups.values() for v in values]
    if len(value) < 3:
        return TestResult(name, None, None, len(value), "fewer than three values")
    if len(set(place)) < 2:
        return TestResult(name, None, None, len(value), "fewer than two groups have values")
    if len(set(value)) < 2:
        return TestResult(name, None, None, len(value), "all values are equal")
    found = stats.spearmanr(place, value)
    return TestResult(name, float(found.statistic), float(found.pvalue), len(value))


def discordant(predicted: Sequence[bool], truth: Sequence[bool]) -> tuple[int, int]:
    """b, the positives found by mistake, and c, the positives missed; ValueError: lengths."""
    if len(predicted) != len(truth):
        raise ValueError(f"{len(predicted)} predictions for {len(truth)} truths")
    p, t = np.asarray(predicted, bool), np.asarray(truth, bool)
    return int((p & ~t).sum()), int((~p & t).sum())


def friedman_as_published(predicted: Sequence[bool], truth: Sequence[bool]) -> TestResult:
    """Friedman statistic of prediction and truth as two "attributes", as in section 3.5.

    Not corrected for ties, it is (b - c)^2 / N: the printed 0.308 and 1.463 are 17^2 / 936 (cut,
    not rounded) and 37^2 / 936 (though 17 is more than the 16 errors that the printed accuracy of
    0.983 leaves). Corrected for ties it would be (b - c)^2 / (b + c), McNemar's chi-squared. ``p``
    is that of the chi-squared distribution with one degree of freedom, whose critical value at 0.05
    is 3.841. As the subjects who agree (nearly all) count as ties, the statistic hardly ever
    reaches it.
    """
    name, n = "Friedman, as published", len(truth)
    b, c = discordant(predicted, truth)
    if not n:
        return TestResult(name, None, None, 0, "no observations")
    statistic = (b - c) ** 2 / n
    note = f"critical value at p < 0.05: {critical_value():.3f}"
    return TestResult(name, statistic, float(stats.chi2.sf(statistic, 1)), n, note)


def critical_value(p: float = 0.05) -> float:
    """Of the Friedman statistic of two attributes: chi-squared with one degree of freedom."""
    return float(stats.chi2.isf(p, 1))


def mcnemar_exact(predicted: Sequence[bool], truth: Sequence[bool]) -> TestResult:
    """Exact two-sided McNemar test; the statistic is b, its law binomial (b + c, 1/2)."""
    b, c = discordant(predicted, truth)
    p = float(stats.binomtest(b, b + c, 0.5).pvalue) if b + c else 1.0
    note = f"{b} found by mistake, {c} missed"
    return TestResult("McNemar, exact", float(b), p, len(truth), note)


def agreement_tests(predicted: Sequence[bool], truth: Sequence[bool]) -> dict[str, Any]:
    """Both tests of decisions against the truth, and how to read them; JSON-ready."""
    return {
        "friedman_as_published": friedman_as_published(predicted, truth).to_dict(),
        "critical_value": critical_value(),
        "critical_value_as_printed": PRINTED_CRITICAL_VALUE,
        "mcnemar_exact": mcnemar_exact(predicted, truth).to_dict(),
        "reading": NOT_ACCURATE,
    }
