"""The few numbers that people quote, as one table for windows, clipboards and Slicer's tables."""

from __future__ import annotations

from dataclasses import dataclass

from .types import ClassMeasures, Quantification

COLUMNS = (
    "volume mL",
    "% of lungs",
    "right lung mL",
    "% of right lung",
    "left lung mL",
    "% of left lung",
    "mean HU",
)


@dataclass(frozen=True)
class SummaryRow:
    """A lesion class, all lesions together, or the lungs.

    ``kind`` is "class", "total" or "lungs"; ``label`` the class's value in label maps; ``values``
    stand in the order of :data:`COLUMNS`, None where there is none.
    """

    name: str
    kind: str
    label: int | None
    values: tuple[float | None, ...]


def summary_rows(quantification: Quantification) -> list[SummaryRow]:
    """The classes, their total where there are several, and the lungs."""
    q = quantification
    rows = [_lesion(measures, "class") for measures in q.classes]
    if len(q.classes) > 1:
        rows.append(_lesion(q.total, "total"))
    volumes = (q.lungs.volume_ml, None, q.right_lung.volume_ml, None, q.left_lung.volume_ml, None)
    return [*rows, SummaryRow("lungs", "lungs", None, (*volumes, q.lungs.hu.mean_hu))]


def _lesion(m: ClassMeasures, kind: str) -> SummaryRow:
    values = (
        m.volume_ml,
        m.share_of_lungs_percent,
        m.right_lung_ml,
        m.share_of_right_lung_percent,
        m.left_lung_ml,
        m.share_of_left_lung_percent,
        m.hu.mean_hu,
    )
    return SummaryRow("all lesions" if kind == "total" else m.name, kind, m.label, values)
