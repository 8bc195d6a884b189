"""The numbers of a result as a small table for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from CovidLesionSegLogic.pipeline import SegmentationResult


def table(rows: list[list[str]]) -> list[str]:
    """Align columns: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def result_lines(result: SegmentationResult) -> list[str]:
    """Volumes and shares per class and for the lungs."""
    q = result.quantification
    rows = [["", "volume mL", "right mL", "left mL", "% of lungs", "mean HU"]]
    # With a single class the total would repeat it.
    for m in (*q.classes, q.total) if len(q.classes) > 1 else q.classes:
        rows.append(
            [
                m.name,
                _number(m.volume_ml),
                _number(m.right_lung_ml),
                _number(m.left_lung_ml),
                _number(m.share_of_lungs_percent, 2),
                _number(m.hu.mean_hu, 0),
            ]
        )
    rows.append(
        [
            "lungs",
            _number(q.lungs.volume_ml),
            _number(q.right_lung.volume_ml),
            _number(q.left_lung.volume_ml),
            "",
            _number(q.lungs.hu.mean_hu, 0),
        ]
    )
    p = result.provenance
    head = f"{result.ct.name}: model {p['model']['name']} {p['model']['version']}"
    seconds = sum(p["seconds"].values())
    return [
        f"{head} on {p['device']}, {seconds:.1f} s. Research software, not for clinical use.",
        *table(rows),
    ]
