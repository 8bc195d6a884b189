"""Hounsfield statistics from one histogram, exact for whole HU."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .types import HuStatistics

LOW_HU = -2048
"""Lower edge of the histogram, HU; darker voxels count as this value."""

BINS = 8192
"""One bin per HU: up to +6143 HU, beyond any 12-bit CT."""

AERATION_EDGES_HU = (-900, -500, -100)
"""Borders of hyper-, well, poorly and non-aerated lung (Gattinoni 2001, quantitative CT)."""


def hu_bins(hu: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
    """Bin index of every HU value, and which are finite (None where all are).

    Fractional HU (float32 volumes) are rounded to the nearest whole HU.
    """
    finite: NDArray[np.bool_] | None = None
    if hu.dtype.kind == "f":
        finite = np.isfinite(hu)
        if finite.all():
            finite = None
        else:
            hu = np.where(finite, hu, 0)
        hu = np.rint(np.clip(hu, LOW_HU, LOW_HU + BINS - 1))
    return np.clip(hu.astype(np.int64) - LOW_HU, 0, BINS - 1), finite


def statistics(counts: NDArray[np.int64]) -> HuStatistics:
    """Mean, median and population SD in HU of a histogram, shape (BINS,); None where empty."""
    total = int(counts.sum())
    if total == 0:
        return HuStatistics(None, None, None)
    values = np.arange(BINS, dtype=np.float64) + LOW_HU
    mean = float(values @ counts) / total
    variance = float(((values - mean) ** 2) @ counts) / total
    cumulative = np.cumsum(counts)
    lower = values[np.searchsorted(cumulative, (total - 1) // 2, side="right")]
    upper = values[np.searchsorted(cumulative, total // 2, side="right")]
    return HuStatistics(mean, float(lower + upper) / 2, variance**0.5)


def aeration_percent(counts: NDArray[np.int64]) -> tuple[float, float, float, float] | None:
    """Percent of voxels that are hyper-, well, poorly and non-aerated; None where empty."""
    total = int(counts.sum())
    if total == 0:
        return None
    parts = np.split(counts, [edge - LOW_HU for edge in AERATION_EDGES_HU])
    a, b, c, d = (100.0 * int(part.sum()) / total for part in parts)
    return a, b, c, d
