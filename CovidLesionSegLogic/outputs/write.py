"""Write what ``segment`` promises: label maps, numbers, overview, report."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

from CovidLesionSegLogic.ct import write_image
from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.outputs.folder import staged_folder
from CovidLesionSegLogic.outputs.names import file_stem
from CovidLesionSegLogic.pipeline import SegmentationResult
from CovidLesionSegLogic.quantify import write_csv, write_json

FORMATS = ("seg.nrrd", "nii.gz")
"""How lesions and lungs can be written; both unless the user chooses."""

_NEEDS = {"seg.nrrd": ("slicer", "slicer-core"), "report": ("matplotlib", "matplotlib")}


def _installed(what: str) -> bool:
    return importlib.util.find_spec(_NEEDS[what][0]) is not None


def check_formats(formats: Sequence[str] | None) -> tuple[str, ...]:
    """The formats to write; None: all that can be written here.

    Raises RequestError for an unknown format, none at all, or one whose library is missing.
    """
    if formats is None:
        return tuple(f for f in FORMATS if f not in _NEEDS or _installed(f))
    chosen = tuple(dict.fromkeys(formats))
    unknown = [f for f in chosen if f not in FORMATS]
    if unknown or not chosen:
        raise RequestError(
            f"The format '{', '.join(unknown)}' cannot be written; available: "
            f"{', '.join(FORMATS)} (several separated by commas)."
        )
    for name in chosen:
        if name in _NEEDS and not _installed(name):
            raise RequestError(
                f"The format {name} needs the Python package {_NEEDS[name][1]}, which is not "
                "installed; install it, or choose --format nii.gz."
            )
    return chosen


def write_outputs(
    result: SegmentationResult,
    directory: str | Path,
    formats: Sequence[str] | None = None,
    *,
    probability: bool = False,
    report: bool = True,
    name: str | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Path]:
    """Write the files of one result; they appear whole and together, or not at all.

    Parameters
    ----------
    result
        From :func:`CovidLesionSegLogic.pipeline.segment_ct`.
    directory
        Made if missing; files of an earlier run of the same study are replaced.
    formats
        Of :data:`FORMATS`; None: all that can be written here.
    probability
        Also write the probability maps; the result must hold them.
    report
        Also write the overview picture and the HTML report (left out when matplotlib is missing).
    name
        Beginning of the file names; None: the study's name.
    progress
        Called with ("write", files done, files in all).

    Returns
    -------
    dict
        What was written: "segmentation", "labels", "lungs", "probability", "quantification_json",
        "quantification_csv", "overview", "report" -> path.

    Raises
    ------
    RequestError
        The folder cannot be written or its disk is full, or a format is not available.
    """
    formats = check_formats(formats)
    stem = file_stem(name or result.ct.name)
    writers: dict[str, tuple[str, Callable[[Path], object]]] = {
        "quantification_json": (
            f"{stem}_quantification.json",
            lambda path: write_json(numbers(result), path),
        ),
        "quantification_csv": (
            f"{stem}_quantification.csv",
            lambda path: write_csv(result.quantification.rows(), path),
        ),
    }
    if "nii.gz" in formats:
        writers["labels"] = (
            f"{stem}_labels.nii.gz",
            lambda path: write_image(result.labels, result.ct, path),
        )
        writers["lungs"] = (
            f"{stem}_lungs.nii.gz",
            lambda path: write_image(result.lungs, result.ct, path),
        )
    if probability:
        if result.probability is None:
            raise ValueError("the result holds no probability maps")
        # One class: a 3-D map; several: a fourth axis in the order of the classes.
        maps = result.probability[0] if len(result.probability) == 1 else result.probability
        writers["probability"] = (
            f"{stem}_probability.nii.gz",
            lambda path: write_image(maps, result.ct, path),
        )
    if "seg.nrrd" in formats:
        writers["segmentation"] = (f"{stem}.seg.nrrd", lambda path: _write_seg(result, path))
    if report and _installed("report"):
        from CovidLesionSegLogic.report import write_overview, write_report

        writers["overview"] = (f"{stem}_overview.png", lambda path: write_overview(result, path))
        writers["report"] = (f"{stem}_report.html", lambda path: write_report(result, path))

    with staged_folder(directory) as staging:
        for done, (file, write) in enumerate(writers.values()):
            if progress is not None:
                progress("write", done, len(writers))
            write(staging / file)
    if progress is not None:
        progress("write", len(writers), len(writers))
    return {key: Path(directory).absolute() / file for key, (file, _) in writers.items()}


def numbers(result: SegmentationResult) -> dict[str, object]:
    """The quantification with the run's warnings and provenance, JSON-ready."""
    data = result.quantification.to_dict()
    data["warnings"] = list(result.warnings)
    data["provenance"] = result.provenance
    return data


def missing_notices(formats: Sequence[str], *, chosen: bool, report: bool) -> list[str]:
    """Sentences on files left out because a library is not installed."""
    notices = []
    if not chosen and "seg.nrrd" not in formats:
        notices.append("NAME.seg.nrrd is not written: the package slicer-core is not installed.")
    if report and not _installed("report"):
        notices.append(
            "Overview and report are not written: the package matplotlib is not installed."
        )
    return notices


def _write_seg(result: SegmentationResult, path: Path) -> None:
    from CovidLesionSegLogic.mrml import write_result

    write_result(result, path)
