"""A table as rows of text and numbers: the same cells for Markdown, HTML and CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from CovidLesionSegLogic.assess.intervals import Interval
from CovidLesionSegLogic.assess.tables.metrics import METRICS
from CovidLesionSegLogic.assess.tables.plan import Row, Table
from CovidLesionSegLogic.assess.tables.summary import Judged, Results

EXTRA = ("dice_max", "dice_at_0.5")
"""Ours only: the paper prints neither."""

NOT_RUN = "not run"


@dataclass(frozen=True)
class Cell:
    """Two lines: ours, and the printed number; ``strong`` marks the paper's own bold."""

    ours: str
    paper: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Grid:
    """A table of cells under headings; the first ``labels`` columns are plain texts."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def number(value: float | None, digits: int = 3, *, sign: bool = False) -> str:
    """A figure as text; "–" where there is none."""
    if value is None:
        return "–"
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def with_interval(found: Interval | None, *, sign: bool = False) -> str:
    """ "0.612 (0.550 to 0.670)" ."""
    if found is None or found.value is None:
        return "–"
    if found.low is None:
        return number(found.value, sign=sign)
    ends = f"{number(found.low, sign=sign)} to {number(found.high, sign=sign)}"
    return f"{number(found.value, sign=sign)} ({ends})"


def figures_grid(table: Table, results: Results) -> Grid:
    """The paper's columns: ours with interval above, the printed number below."""
    rows = []
    for row in table.rows:
        judged = results.of(row)
        cells = [Cell(text) for text in row.label]
        for column in table.columns:
            ours = with_interval(judged.interval(column)) if judged else NOT_RUN
            cells.append(Cell(ours, row.paper.get(column, ""), column in row.bold))
        rows.append(tuple(cells))
    headings = (*table.headings, *(METRICS[c].short for c in table.columns))
    caption = "Ours: mean (95 % interval)."
    if any(row.paper for row in table.rows):
        caption += " Below: as the paper prints it, its own bold cells included."
    return Grid(caption, headings, tuple(rows))


def ours_grid(table: Table, results: Results) -> Grid:
    """What only we have: further Dice values, the difference to the reference row, the effort."""
    reference = None if table.reference is None else results.of(table.rows[table.reference])
    many = any(len(j.results) > 1 for row in table.rows if (j := results.of(row)))
    rows = []
    for row in table.rows:
        judged = results.of(row)
        cells = [Cell(text) for text in row.label]
        if judged is None:
            cells += [Cell(NOT_RUN)] * (9 + many)
        else:
            cells += [Cell(with_interval(judged.interval(m))) for m in EXTRA]
            cells.append(Cell(_difference(judged, reference)))
            if many:
                cells.append(Cell(_seed_spread(judged)))
            cells += [Cell(text) for text in _effort(judged, row)]
        rows.append(tuple(cells))
    return Grid(
        "Ours only. Δ Dice: difference in the published Dice from the reference row, image by "
        "image.",
        (
            *table.headings,
            *(METRICS[m].short for m in EXTRA),
            "Δ Dice",
            *(["Dice, SD over seeds"] if many else []),
            "parameters, M",
            "start",
            "steps",
            "seeds",
            "training, s",
            "testing, s",
        ),
        tuple(rows),
    )


def _difference(judged: Judged, reference: Judged | None) -> str:
    if reference is None:
        return "–"
    if judged is reference:
        return "reference"
    return with_interval(judged.difference(reference, "dice_mean_256"), sign=True)


def _seed_spread(judged: Judged) -> str:
    return number(float(np.std(judged.by_seed, ddof=1))) if len(judged.by_seed) > 1 else "–"


def _effort(judged: Judged, row: Row) -> list[str]:
    first = judged.results[0]
    training = [r["training"] for r in judged.results]
    steps = first["entry"]["schedule"]["steps"]
    # A killed process leaves no time behind: then this is of the steps that were timed.
    timed = all(t["timed_steps"] == steps for t in training)
    seconds = float(np.mean([t["seconds"] for t in training]))
    testing = float(
        np.mean([r["evaluations"][row.evaluation.key]["seconds"] for r in judged.results])
    )
    return [
        number(first["parameters"] / 1e6, 1),
        str(first["entry"]["init"]),
        str(steps),
        ", ".join(str(r["seed"]) for r in judged.results),
        number(seconds, 1) if timed else f"{number(seconds, 1)} (incomplete)",
        number(testing, 1),
    ]


def csv_rows(table: Table, results: Results) -> list[dict[str, Any]]:
    """One row per row of the table: every figure with its ends, the printed texts, the effort."""
    reference = None if table.reference is None else results.of(table.rows[table.reference])
    found = []
    for row in table.rows:
        judged = results.of(row)
        line: dict[str, Any] = dict(zip(table.headings, row.label, strict=True))
        line |= {"run": row.run, "evaluation": row.evaluation.key}
        for column in (*table.columns, *EXTRA):
            line |= _three(column, judged.interval(column) if judged else None)
            line[f"{column}_paper"] = row.paper.get(column)
        difference = None
        if judged and reference and judged is not reference:
            difference = judged.difference(reference, "dice_mean_256")
        line |= _three("dice_difference", difference)
        first = judged.results[0] if judged else None
        line |= {
            "images": len(judged.images) if judged else None,
            "seeds": " ".join(str(r["seed"]) for r in judged.results) if judged else None,
            "parameters": first["parameters"] if first else None,
            "steps": first["entry"]["schedule"]["steps"] if first else None,
            "training_seconds": _mean_training(judged.results) if judged else None,
        }
        found.append(line)
    return found


def _three(name: str, found: Interval | None) -> dict[str, float | None]:
    ends = (None, None, None) if found is None else (found.value, found.low, found.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))


def _mean_training(results: Sequence[dict[str, Any]]) -> float:
    return float(np.mean([r["training"]["seconds"] for r in results]))
