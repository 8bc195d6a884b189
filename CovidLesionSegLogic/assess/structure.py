"""Structure and alignment of a soft map with a binary ground truth: S-measure and E-measure.

Both follow the published evaluation code, edge cases included, vectorised over the thresholds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_EPS = float(np.spacing(1.0))


def s_measure(soft: NDArray[np.float64], truth: NDArray[np.bool_], alpha: float = 0.5) -> float:
    """Structure measure (Fan et al., ICCV 2017, doi:10.1109/ICCV.2017.487).

    ``alpha`` weighs the object part, 1 - ``alpha`` the region part. An empty ground truth gives
    1 - mean(map), a full one mean(map), as published.

    Parameters
    ----------
    soft, truth
        (H, W): the map in 0..1, the ground truth.
    """
    share = float(truth.mean())
    if share == 0:
        return 1 - float(soft.mean())
    if share == 1:
        return float(soft.mean())
    objects = share * _object(soft[truth]) + (1 - share) * _object(1 - soft[~truth])
    return max(0.0, alpha * objects + (1 - alpha) * _region(soft, truth))


def _object(values: NDArray[np.float64]) -> float:
    mean = float(values.mean())
    spread = float(values.std(ddof=1)) if values.size > 1 else 0.0
    return 2 * mean / (mean**2 + 1 + spread + _EPS)


def _region(soft: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Similarity in the four quadrants around the ground truth's centroid, by their area."""
    row, column = (int(c) + 1 for c in np.argwhere(truth).mean(axis=0).round())
    total = 0.0
    for rows in (slice(None, row), slice(row, None)):
        for columns in (slice(None, column), slice(column, None)):
            part = soft[rows, columns]
            # A quadrant without pixels has weight 0; the published code makes the whole 0 * NaN.
            if part.size:
                total += part.size / soft.size * _similarity(part, truth[rows, columns])
    return total


def _similarity(soft: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    x, y = float(soft.mean()), float(truth.mean())
    degrees = soft.size - 1 + _EPS
    spread = float(((soft - x) ** 2).sum() + ((truth - y) ** 2).sum()) / degrees
    common = float(((soft - x) * (truth - y)).sum()) / degrees
    above = 4 * x * y * common
    below = (x**2 + y**2) * spread
    if above != 0:
        return above / (below + _EPS)
    return 1.0 if below == 0 else 0.0


def e_measure_curve(
    hits: NDArray[np.float64], false: NDArray[np.float64], positives: float, pixels: int
) -> NDArray[np.float64]:
    """Enhanced-alignment measure (Fan et al., IJCAI 2018, doi:10.24963/ijcai.2018/97).

    One value per threshold. The sum is divided by ``pixels`` - 1 as published, so a perfect map
    scores a little over 1.

    Parameters
    ----------
    hits, false
        (thresholds,): marked pixels inside and outside the ground truth.
    positives
        Pixels of the ground truth.
    pixels
        Pixels of the image.
    """
    marked = hits + false
    if positives == 0:
        total = pixels - marked
    elif positives == pixels:
        total = marked
    else:
        mean_map, mean_truth = marked / pixels, positives / pixels
        missed = positives - hits
        total = np.zeros_like(marked)
        for count, a, b in (
            (hits, 1 - mean_map, 1 - mean_truth),
            (false, 1 - mean_map, -mean_truth),
            (missed, -mean_map, 1 - mean_truth),
            (pixels - marked - missed, -mean_map, -mean_truth),
        ):
            alignment = 2 * a * b / (a**2 + b**2 + _EPS)
            total += count * (alignment + 1) ** 2 / 4
    return np.asarray(total / max(pixels - 1, 1), np.float64)
