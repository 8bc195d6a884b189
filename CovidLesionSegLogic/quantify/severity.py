"""The CT severity score of the lobes, 0 to 25: a measure of extent, not a diagnosis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .lobes import are_lobes

if TYPE_CHECKING:
    from .types import RegionMeasures

MOST = 25
SCORE_SOURCE = "Pan et al., Radiology 2020;295:715-721"
SCORE_RULE = (
    "0 without lesion, 1 below 5 %, 2 from 5 to 25 %, 3 above 25 and below 50 %, "
    "4 from 50 to 75 %, 5 above 75 % of the lobe's volume"
)
SCORE_NOTE = "a measure of extent, not a diagnosis; not for clinical use"


def extent_score(percent: float | None) -> int | None:
    """Extent score 0 to 5 of a lobe of which lesions fill ``percent`` (0 to 100).

    The source (:data:`SCORE_SOURCE`) prints whole percentages, for readers who estimate by eye: 0
    none, 1 below 5, 2 up to 25, 3 from 26 to 49, 4 from 50 to 75, 5 above 75. Measured shares
    between the printed ones count upwards from 25 and downwards from 50: both 25.1 and 49.9 are 3.
    """
    if percent is None:
        return None
    if percent <= 0:
        return 0
    return 1 + sum((percent >= 5, percent > 25, percent >= 50, percent > 75))


def total_score(regions: Sequence[RegionMeasures]) -> int | None:
    """Sum of the five lobes' scores; None unless the regions are the five lobes, none empty."""
    scores = [r.score for r in regions if r.score is not None]
    if len(scores) != len(regions) or not are_lobes(r.name for r in regions):
        return None
    return sum(scores)
