"""The summary of a batch: one row per study, as CSV and JSON, and as a page with pictures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from CovidLesionSegLogic import __version__
from CovidLesionSegLogic.batch.outcome import DONE, FAILED, KEPT, WAITING, Outcome
from CovidLesionSegLogic.batch.privacy import hide_names
from CovidLesionSegLogic.batch.settings import Settings
from CovidLesionSegLogic.batch.study import LeftOut, Study
from CovidLesionSegLogic.batch.summary_page import summary_html
from CovidLesionSegLogic.ct.atomic import atomic_path
from CovidLesionSegLogic.quantify.export import safe_cell

FORMAT = "CovidLesionSeg batch summary"
_COUNTED = {"done": DONE, "kept": KEPT, "failed": FAILED, "not_done": WAITING}
FILES = ("summary.csv", "summary.json", "summary.html")


def write_summary(
    root: Path,
    outcomes: Sequence[Outcome],
    left_out: Sequence[LeftOut],
    settings: Settings,
    *,
    report: bool = True,
) -> dict[str, Path]:
    """Write the summary into the results folder, each file whole or not at all.

    The rows are in the order of the studies' names and hold nothing that differs between two runs
    of the same studies but the seconds; the page has the date.

    Parameters
    ----------
    outcomes
        Of all studies of the run, those that wait included.
    left_out
        What was found and not segmented.
    report
        Write the page too.
    """
    ordered = sorted(outcomes, key=lambda one: one.study.name.casefold())
    classes = list(dict.fromkeys(c["name"] for row in ordered for c in _classes(row)))
    rows = [row_of(outcome, classes) for outcome in ordered]
    data = {
        "format": FORMAT,
        "format_version": 1,
        "software": __version__,
        "settings": settings.to_dict(),
        "studies": len(ordered),
        **{key: sum(o.status == status for o in ordered) for key, status in _COUNTED.items()},
        "rows": [{**row, **_more(o)} for row, o in zip(rows, ordered, strict=True)],
        "left_out": [asdict(one) for one in left_out],
    }
    texts = {
        "summary.csv": _csv(rows),
        "summary.json": json.dumps(data, indent=1, allow_nan=False) + "\n",
    }
    if report:
        texts["summary.html"] = summary_html(ordered, left_out, classes)
    for name, text in texts.items():
        with atomic_path(root / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    return {name.replace(".", "_"): root / name for name in texts}


def _classes(outcome: Outcome) -> list[dict[str, Any]]:
    if outcome.record is None:
        return []
    classes: list[dict[str, Any]] = outcome.record.numbers["classes"]
    return classes


def row_of(outcome: Outcome, classes: Sequence[str]) -> dict[str, Any]:
    """A study as one row; volumes in mL, shares in percent of both lungs, None where unknown."""
    record = outcome.record
    numbers = {} if record is None else record.numbers
    found = {c["name"]: c for c in _classes(outcome)}
    row: dict[str, Any] = {
        "study": outcome.study.name,
        "status": "done" if outcome.status == KEPT else outcome.status,
        "reason": outcome.reason,
        "input": _input(outcome.study),
        "study_uid": numbers.get("study_uid"),
        "series_uid": numbers.get("series_uid") or _series(outcome.study),
        "model": numbers.get("model"),
        "slices": numbers.get("slices"),
        "slices_with_lesion": numbers.get("slices_with_lesion"),
        "lungs_ml": numbers.get("lungs_ml"),
    }
    for name in classes:
        one = found.get(name, {})
        row[f"{name}_ml"] = one.get("volume_ml")
        row[f"{name}_percent"] = one.get("share_percent")
    return row | {
        "all_lesions_ml": numbers.get("total_ml"),
        "all_lesions_percent": numbers.get("total_percent"),
        "ct_severity_score_0_to_25": numbers.get("score_0_to_25"),
        "slices_with_signs_of_infection": numbers.get("slices_positive"),
        "screening_signs_of_infection": numbers.get("infected"),
        "warnings": len(numbers["warnings"]) if numbers else None,
        "seconds": None if record is None else round(record.seconds, 1),
    }


def _input(study: Study) -> str | None:
    """Where the study came from, None where that must not show."""
    if study.code:
        return None
    place = str(study.path) if study.remote is None else study.remote.address
    return hide_names(place, study.name_words)


def _series(study: Study) -> str | None:
    return None if study.code else study.series_uid


def _more(outcome: Outcome) -> dict[str, Any]:
    """What a table has no room for."""
    more: dict[str, Any] = {"files": {}, "warning_texts": []}
    if outcome.record is not None:
        folder = outcome.record.name
        more["files"] = {k: f"{folder}/{v['file']}" for k, v in outcome.record.outputs.items()}
        more["warning_texts"] = outcome.record.numbers["warnings"]
        if outcome.record.stored:
            more["stored"] = outcome.record.stored
    if outcome.details:
        more["details"] = outcome.details
    return more


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    if rows:
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow([safe_cell(name) for name in rows[0]])
        writer.writerows([_cell(row[name]) for name in rows[0]] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else safe_cell(value)
