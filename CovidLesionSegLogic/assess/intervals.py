"""Means with bootstrap intervals over the units that were drawn: images, volumes or patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
CONFIDENCE = 0.95
SEED = 0


@dataclass(frozen=True)
class Interval:
    """A figure with its percentile bootstrap interval (Efron 1979) and the units it rests on.

    ``value`` is None without units; ``low`` and ``high`` are None with fewer than two.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def resample_counts(n: int, *, resamples: int = RESAMPLES, seed: int = SEED) -> NDArray[np.float64]:
    """How often each of ``n`` units is drawn in each resample: (resamples, n).

    Using one matrix for several figures of the same units keeps them paired.
    """
    rng = np.random.default_rng(seed)
    return rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)


def mean_interval(
    values: Sequence[float | None], counts: NDArray[np.float64] | None = None
) -> Interval:
    """Mean of the values that exist, over units; None stands for "not defined for this unit".

    Parameters
    ----------
    values
        One per unit.
    counts
        From :func:`resample_counts` for as many units; None: with the defaults.
    """
    there = np.array([v is not None for v in values], bool)
    numbers = np.array([0.0 if v is None else v for v in values], np.float64)
    n = int(there.sum())
    if n == 0:
        return Interval(None, None, None, 0)
    value = float(numbers[there].mean())
    if n == 1:
        return Interval(value, None, None, 1)
    counts = resample_counts(len(numbers)) if counts is None else counts
    drawn = counts @ there
    means = (counts @ numbers)[drawn > 0] / drawn[drawn > 0]
    return Interval(value, *_limits(means), n)


def max_of_mean_interval(
    curves: NDArray[np.float64], counts: NDArray[np.float64] | None = None
) -> tuple[Interval, int]:
    """Maximum of the mean curve, and its index; each resample has its own maximum.

    Parameters
    ----------
    curves
        (units, thresholds).
    """
    n = len(curves)
    mean = curves.mean(axis=0)
    best = int(mean.argmax())
    value = float(mean[best])
    if n == 1:
        return Interval(value, None, None, 1), best
    counts = resample_counts(n) if counts is None else counts
    return Interval(value, *_limits((counts @ curves / n).max(axis=1)), n), best


def _limits(samples: NDArray[np.float64]) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(samples, [tail, 1 - tail])
    return float(low), float(high)


def describe(unit: str) -> dict[str, Any]:
    """How the intervals were made, for a result file."""
    return {
        "method": "percentile bootstrap",
        "unit": unit,
        "confidence": CONFIDENCE,
        "resamples": RESAMPLES,
        "seed": SEED,
    }
