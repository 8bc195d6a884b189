"""Evaluate a lesion model on CT volumes with reference masks, through the product's own path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from CovidLesionSegLogic.assess import intervals
from CovidLesionSegLogic.assess.volumes import score_classes, score_lungs, score_volume
from CovidLesionSegLogic.ct import read_ct, read_labels
from CovidLesionSegLogic.ct.cases import Case, check_case, check_grid, find_cases
from CovidLesionSegLogic.engine import Cancel, Progress, choose_device, describe_device, no_progress
from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.models import LesionClass, get_card
from CovidLesionSegLogic.pipeline import SegmentOptions, provenance, segment_ct
from CovidLesionSegLogic.quantify.export import write_json

__all__ = [
    "Case",
    "check_case",
    "check_grid",
    "evaluate_case",
    "evaluate_volumes",
    "find_cases",
    "summarise",
]

LESION_METRICS = (
    "dice",
    "sensitivity",
    "precision",
    "volume_error_ml",
    "absolute_volume_error_ml",
    "false_positive_ml",
)
LUNG_METRICS = ("lung_dice", "right_lung_dice", "left_lung_dice")
DESCRIPTION = (
    "Each CT goes through the same path as 'segment': the product finds the lungs itself; a lung "
    "mask given here is only the truth that the lungs are scored against. Lesions are compared as "
    "one class (every label > 0) on the CT's own grid. Volumes with lesions in neither mask are "
    "counted, not averaged into Dice; sensitivity needs a true lesion, precision a found one. "
    "volume_error_ml is found minus true. Intervals: percentile bootstrap over volumes."
)

CLASS_DESCRIPTION = (
    "Classes are judged where the lesion file tells them apart, with the labels of the model's "
    "card; a file with a single label (or with 255, lesion of unknown class) is judged for any "
    "lesion alone. Under 'metrics' stands any lesion, under 'classes' each class."
)


def evaluate_volumes(
    cases: Sequence[Case],
    output: Path,
    options: SegmentOptions | None = None,
    *,
    progress: Progress = no_progress,
    cancel: Cancel | None = None,
) -> dict[str, Any]:
    """Segment every CT, compare, write the figures to ``output`` (JSON) and return them.

    Parameters
    ----------
    options
        As for one CT; ``options.lungs`` must be None: the product finds the lungs itself.
    progress, cancel
        Stages "check" and "evaluate" count volumes; those of ``segment_ct`` come between.

    Raises
    ------
    RequestError
        The request is wrong; InputError: a file cannot be used, by name; CancelledError.
    """
    options = options or SegmentOptions()
    if options.lungs is not None:
        raise RequestError("Lungs cannot be given to the network in an evaluation: leave them out.")
    cancel = cancel or Cancel()
    card = get_card(options.model, "lesion")
    device = choose_device(options.device)
    for done, case in enumerate(cases):
        cancel.check()
        progress("check", done, len(cases))
        check_case(case)
    progress("check", len(cases), len(cases))

    rows = []
    for done, case in enumerate(cases):
        cancel.check()
        progress("evaluate", done, len(cases))
        rows.append(evaluate_case(case, options, progress=progress, cancel=cancel))
    progress("evaluate", len(cases), len(cases))
    several = len(card.classes) > 1
    report = {
        "kind": "volumes",
        "software": provenance.software_record(),
        "model": provenance.model_record(card),
        "device": describe_device(device),
        "created": provenance.now(),
        "options": options.to_dict(),
        "protocol": {
            "name": "volumes",
            "description": f"{DESCRIPTION} {CLASS_DESCRIPTION}" if several else DESCRIPTION,
            "intervals": intervals.describe("volume"),
        },
        **summarise(rows),
        **(summarise_classes(rows, card.classes) if several else {}),
        "volumes": rows,
    }
    write_json(report, output)
    return report


def evaluate_case(
    case: Case,
    options: SegmentOptions,
    *,
    progress: Progress = no_progress,
    cancel: Cancel | None = None,
) -> dict[str, Any]:
    """Segment and score one CT; JSON-ready."""
    ct = read_ct(case.ct)
    truth = read_labels(case.lesion, ct)
    result = segment_ct(ct, options, progress=progress, cancel=cancel)
    score = score_volume(result.labels, truth, ct.voxel_volume_ml)
    row: dict[str, Any] = {
        "name": ct.name,
        "ct": str(case.ct),
        "lesion": str(case.lesion),
        "lung": None if case.lung is None else str(case.lung),
        **asdict(score),
        "absolute_volume_error_ml": abs(score.volume_error_ml),
        "both_empty": score.both_empty,
    }
    if len(result.classes) > 1:
        by_class = score_classes(result.labels, truth, result.classes, ct.voxel_volume_ml)
        row["classes"] = by_class and {
            name: {
                **asdict(one),
                "absolute_volume_error_ml": abs(one.volume_error_ml),
                "both_empty": one.both_empty,
            }
            for name, one in by_class.items()
        }
    if case.lung is not None:
        row |= score_lungs(result.lungs, read_labels(case.lung, ct), ct.affine)
    return row | {
        "lung_method": result.provenance["lungs"]["method"],
        "seconds": round(sum(result.provenance["seconds"].values()), 3),
        "warnings": list(result.warnings),
    }


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Counts and metrics with intervals over the volumes."""
    counts = intervals.resample_counts(len(rows)) if rows else None
    keys = [*LESION_METRICS, *(k for k in LUNG_METRICS if any(k in row for row in rows))]
    return {
        "counts": {
            "volumes": len(rows),
            "empty_truth": sum(row["truth_ml"] == 0 for row in rows),
            "empty_result": sum(row["found_ml"] == 0 for row in rows),
            "both_empty": sum(row["both_empty"] for row in rows),
        },
        "metrics": {
            key: intervals.mean_interval([row.get(key) for row in rows], counts).to_dict()
            for key in keys
        },
    }


def summarise_classes(
    rows: Sequence[dict[str, Any]], classes: Sequence[LesionClass]
) -> dict[str, Any]:
    """Counts and metrics of each class over the volumes whose truth tells the classes apart."""
    judged = [row["classes"] for row in rows if row["classes"] is not None]
    return {
        "classes": [
            {"name": c.name, "label": c.label, **summarise([row[c.name] for row in judged])}
            for c in classes
        ],
        "volumes_judged_for_any_lesion_only": [
            row["name"] for row in rows if row["classes"] is None
        ],
    }
