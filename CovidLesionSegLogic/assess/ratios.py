"""Ratios of sums over slices, with bootstrap intervals over the patients the slices belong to.

Slices of one patient resemble each other, so patients are drawn, each with all its slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.assess.intervals import CONFIDENCE, Interval, resample_counts


def percentile_interval(value: float, samples: NDArray[np.float64], n: int) -> Interval:
    """``value`` with the percentile limits of its resamples; ``n`` units."""
    if n < 2 or not len(samples):
        return Interval(value, None, None, n)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(samples, [tail, 1 - tail])
    return Interval(value, float(low), float(high), n)


def ratio_interval(
    above: NDArray[Any], below: NDArray[Any], counts: NDArray[np.float64] | None = None
) -> Interval:
    """Sum of ``above`` over sum of ``below``, with the interval of the same in each resample.

    With sums of values over numbers of slices it is the mean over slices.

    Parameters
    ----------
    above, below
        One number per patient; a patient with 0 below has nothing to say and is not counted.
    counts
        From :func:`~CovidLesionSegLogic.assess.intervals.resample_counts` for as many patients;
        None: with the defaults.
    """
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    n = int((below > 0).sum())
    if n == 0:
        return Interval(None, None, None, 0)
    counts = resample_counts(len(below)) if counts is None else counts
    sums = counts @ below
    drawn = sums > 0
    samples = (counts @ above)[drawn] / sums[drawn]
    return percentile_interval(float(above.sum() / below.sum()), samples, n)


def patient_indices(patients: Sequence[str]) -> tuple[list[str], NDArray[np.intp]]:
    """The patients in the order they first occur, and each slice's place in that list."""
    names = list(dict.fromkeys(patients))
    place = {name: i for i, name in enumerate(names)}
    return names, np.array([place[name] for name in patients], np.intp)


def sums_by_patient(
    values: NDArray[Any], index: NDArray[np.intp], patients: int
) -> NDArray[np.float64]:
    """Sums (patients,) or (patients, columns) of ``values`` (slices,) or (slices, columns)."""
    sums = np.zeros((patients, *np.shape(values)[1:]), np.float64)
    np.add.at(sums, index, values)
    return sums
