"""Change between two time points, in numbers only (no registration is needed for them)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .types import ClassMeasures, Quantification


@dataclass(frozen=True)
class Change:
    """One class (or all lesions) at baseline and at follow-up.

    ``change_percent`` is relative to the baseline's volume and None where that is 0;
    ``share_change_points`` is the difference of the shares of the lungs in percentage points,
    which is less sensitive to how deeply the patient breathed in than the volume.
    """

    name: str
    baseline_ml: float
    followup_ml: float
    change_ml: float
    change_percent: float | None
    baseline_share_of_lungs_percent: float | None
    followup_share_of_lungs_percent: float | None
    share_change_points: float | None
    mean_hu_change: float | None

    def to_row(self) -> dict[str, Any]:
        """The change as a table row."""
        return dict(vars(self))


def compare(baseline: Quantification, followup: Quantification) -> tuple[Change, ...]:
    """Change of every class that both studies have (by name), then of all lesions.

    Raises
    ------
    ValueError
        When the two studies were measured with different classes: their volumes do not compare.
    """
    before = {c.name: c for c in baseline.classes}
    after = {c.name: c for c in followup.classes}
    if before.keys() != after.keys():
        raise ValueError(
            f"the studies have different classes ({', '.join(before)} and {', '.join(after)}); "
            "segment both with the same model"
        )
    pairs = [(before[name], after[name]) for name in before]
    return tuple(_change(a, b) for a, b in [*pairs, (baseline.total, followup.total)])


def _change(before: ClassMeasures, after: ClassMeasures) -> Change:
    difference = after.volume_ml - before.volume_ml
    return Change(
        name=before.name,
        baseline_ml=before.volume_ml,
        followup_ml=after.volume_ml,
        change_ml=difference,
        change_percent=100 * difference / before.volume_ml if before.volume_ml > 0 else None,
        baseline_share_of_lungs_percent=before.share_of_lungs_percent,
        followup_share_of_lungs_percent=after.share_of_lungs_percent,
        share_change_points=_minus(after.share_of_lungs_percent, before.share_of_lungs_percent),
        mean_hu_change=_minus(after.hu.mean_hu, before.hu.mean_hu),
    )


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b
