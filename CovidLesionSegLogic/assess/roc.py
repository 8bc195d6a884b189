"""ROC curves and the area under them, with intervals over patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.assess.figures import new_figure, save_figure
from CovidLesionSegLogic.assess.intervals import Interval, resample_counts
from CovidLesionSegLogic.assess.ratios import patient_indices, percentile_interval

CHUNK = 100
"""Resamples at a time: large sets of slices would otherwise need much memory."""


@dataclass(frozen=True, eq=False)
class Roc:
    """Curve (points,) each, from no positive call to all positive, and the area under it.

    At ``threshold`` scores above or equal are called positive; the first is infinity. A rate
    that has nothing to rest on (only one kind of case) is NaN, and the area has no value.
    """

    false_positive_rate: NDArray[np.float64]
    true_positive_rate: NDArray[np.float64]
    threshold: NDArray[np.float64]
    auc: Interval


def roc(scores: Sequence[float], truth: Sequence[bool], patients: Sequence[str]) -> Roc:
    """Curve and area (Mann-Whitney, ties count half), interval by drawing patients.

    Resamples without a positive or without a negative case have no area and are left out.

    Parameters
    ----------
    scores, truth, patients
        One per case: the higher the score, the more surely positive; the patient it belongs to.

    Raises
    ------
    ValueError
        The lists differ in length.
    """
    if not len(scores) == len(truth) == len(patients):
        raise ValueError(f"{len(scores)} scores, {len(truth)} truths, {len(patients)} patients")
    values, level = np.unique(np.asarray(scores, np.float64), return_inverse=True)
    positive = np.asarray(truth, bool)
    names, index = patient_indices(patients)
    weights = np.ones((1, len(positive)))
    hits, false = _by_level(weights, level, positive, len(values))
    with np.errstate(invalid="ignore"):
        false_rate, true_rate = (_running(row[0]) / row[0].sum() for row in (false, hits))
    area = _areas(hits, false)
    if not len(area):
        auc = Interval(None, None, None, 0)
    else:
        draws = resample_counts(len(names))
        samples = [
            _areas(*_by_level(draws[i : i + CHUNK][:, index], level, positive, len(values)))
            for i in range(0, len(draws), CHUNK)
        ]
        auc = percentile_interval(float(area[0]), np.concatenate(samples), len(names))
        if len(set(index[positive])) == 1 == len(set(index[~positive])):
            # Every resample with both kinds of case is the same: that is no interval.
            auc = Interval(auc.value, None, None, auc.n)
    return Roc(false_rate, true_rate, np.concatenate([[np.inf], values[::-1]]), auc)


def _by_level(
    weights: NDArray[np.float64], level: NDArray[np.intp], positive: NDArray[np.bool_], levels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights of positive and of negative cases at each score, (resamples, levels) each."""
    found = []
    for chosen in (positive, ~positive):
        sums = np.zeros((levels, len(weights)))
        np.add.at(sums, level[chosen], weights[:, chosen].T)
        found.append(sums.T)
    return found[0], found[1]


def _running(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums from the highest score down, beginning with none."""
    return np.concatenate([[0.0], weights[::-1].cumsum()])


def _areas(hits: NDArray[np.float64], false: NDArray[np.float64]) -> NDArray[np.float64]:
    """Areas of those resamples that have both kinds of case."""
    pairs = hits.sum(axis=1) * false.sum(axis=1)
    below = false.cumsum(axis=1) - false / 2
    there = pairs > 0
    return (hits * below).sum(axis=1)[there] / pairs[there]


def draw_roc(path: Path, curves: Mapping[str, Roc], title: str) -> None:
    """Write the curves to a PNG, each named with its area and interval."""
    figure = new_figure(5, 5)
    axes = figure.add_subplot()
    for name, one in curves.items():
        auc = one.auc
        said = name if auc.value is None else f"{name}: AUC {auc.value:.3f}"
        if auc.low is not None and auc.high is not None:
            said += f" ({auc.low:.3f} to {auc.high:.3f})"
        axes.plot(one.false_positive_rate, one.true_positive_rate, label=said)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", title=title)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=9)
    save_figure(figure, path)
