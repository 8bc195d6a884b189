"""Evaluate a lesion model on CT volumes with reference masks, through the product's own path."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from CovidLesionSegLogic.assess import intervals
from CovidLesionSegLogic.assess.volumes import score_lungs, score_volume
from CovidLesionSegLogic.ct import read_ct, read_labels
from CovidLesionSegLogic.ct.formats import detect_format
from CovidLesionSegLogic.ct.image_file import read_image_file
from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.engine import Cancel, Progress, choose_device, describe_device, no_progress
from CovidLesionSegLogic.errors import InputError, RequestError
from CovidLesionSegLogic.models import get_card
from CovidLesionSegLogic.pipeline import SegmentOptions, provenance, segment_ct
from CovidLesionSegLogic.quantify.export import write_json

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


@dataclass(frozen=True)
class Case:
    """A CT (file or DICOM folder) and the masks that belong to it."""

    ct: Path
    lesion: Path
    lung: Path | None = None


def find_cases(
    ct: Sequence[str], lesion: Sequence[str], lung: Sequence[str] | None = None
) -> list[Case]:
    """Pair what the patterns match, each list in sorted order.

    Raises
    ------
    RequestError
        A pattern matches nothing, or the lists differ in length.
    """
    cts, lesions = _matches("--ct", ct), _matches("--lesion", lesion)
    lungs = _matches("--lung", lung) if lung else None
    counts = {"--ct": len(cts), "--lesion": len(lesions)}
    if lungs is not None:
        counts["--lung"] = len(lungs)
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{count} for {option}" for option, count in counts.items())
        raise RequestError(
            f"The files do not pair ({said}): give patterns that match one mask for each CT."
        )
    others: Sequence[Path | None] = lungs or [None] * len(cts)
    return [Case(*files) for files in zip(cts, lesions, others, strict=True)]


def _matches(option: str, patterns: Sequence[str]) -> list[Path]:
    found: set[Path] = set()
    for pattern in patterns:
        own = Path(pattern).expanduser()
        # A name may itself hold brackets.
        paths = [own] if own.exists() else [Path(p) for p in glob.glob(str(own), recursive=True)]
        if not paths:
            raise RequestError(f"{option} '{pattern}' matches no file: correct the pattern.")
        found.update(paths)
    return sorted(found)


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
    report = {
        "kind": "volumes",
        "software": provenance.software_record(),
        "model": provenance.model_record(card),
        "device": describe_device(device),
        "created": provenance.now(),
        "options": options.to_dict(),
        "protocol": {
            "name": "volumes",
            "description": DESCRIPTION,
            "intervals": intervals.describe("volume"),
        },
        **summarise(rows),
        "volumes": rows,
    }
    write_json(report, output)
    return report


def check_case(case: Case) -> None:
    """Read everything once; InputError names what cannot be used or lies on another grid."""
    ct = read_ct(case.ct)
    for mask in (case.lesion, case.lung):
        if mask is not None:
            check_grid(mask, case.ct, ct)
            read_labels(mask, ct)


def check_grid(mask: Path, ct_path: Path, ct: CTVolume) -> None:
    """InputError when ``mask`` is not on the grid of the CT: size, spacing and position.

    A tenth of the smallest voxel side is allowed for rounding in headers.
    """
    kind = detect_format(mask)
    if kind == "dicom":
        raise InputError(f"{mask} is DICOM: give the mask as .nii, .nii.gz, .nrrd or .mha.")
    image = read_image_file(mask, kind)
    if image.array.shape != ct.shape:
        sizes = [" x ".join(str(n) for n in s[::-1]) for s in (image.array.shape, ct.shape)]
        raise InputError(
            f"{mask} has {sizes[0]} voxels but {ct_path} has {sizes[1]}: give the mask made on "
            "this CT's grid (files pair in sorted order)."
        )
    affine = np.eye(4)
    affine[:3, :3] = image.direction * np.asarray(image.spacing)
    affine[:3, 3] = image.origin
    corners = np.array(
        [(i, j, k, 1) for k in (0, ct.shape[0]) for j in (0, ct.shape[1]) for i in (0, ct.shape[2])]
    )
    apart = float(np.linalg.norm(corners @ (affine - ct.affine).T, axis=1).max())
    if apart > 0.1 * min(ct.spacing):
        raise InputError(
            f"{mask} and {ct_path} lie on different grids (up to {apart:.3g} mm apart): give the "
            "mask made on this CT's grid (files pair in sorted order)."
        )


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
    if case.lung is not None:
        row |= score_lungs(result.lungs, read_labels(case.lung, ct), ct.affine)
    return row | {
        "lung_method": result.provenance["lungs"]["method"],
        "seconds": round(sum(result.provenance["seconds"].values()), 3),
        "warnings": list(result.warnings),
    }


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Counts and metrics with intervals over the volumes."""
    counts = intervals.resample_counts(len(rows))
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
