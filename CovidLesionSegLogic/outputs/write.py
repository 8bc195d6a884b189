"""Write what ``segment`` promises: label maps, numbers, overview, report."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from CovidLesionSegLogic.ct import CTVolume, write_image
from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.outputs.earlier import ENDINGS, check_same_study, outdated_files
from CovidLesionSegLogic.outputs.folder import staged_folder
from CovidLesionSegLogic.outputs.names import file_stem
from CovidLesionSegLogic.pipeline import SegmentationResult
from CovidLesionSegLogic.quantify import write_csv, write_json

FORMATS = ("seg.nrrd", "nii.gz", "dicom-seg")
"""How lesions and lungs can be written."""

USUAL_FORMATS = ("seg.nrrd", "nii.gz")
"""What is written unless the user chooses."""


def _missing(what: str) -> str:
    """Why "seg.nrrd", "dicom-seg" or "report" cannot be written here, "" when it can.

    The libraries are really imported: one may be there but lack a library of the system, and
    other packages bear the same name.
    """
    if what == "seg.nrrd":
        from CovidLesionSegLogic.mrml.host import import_slicer

        try:
            import_slicer()
        except RequestError as error:
            return str(error)
    elif what == "dicom-seg":
        try:
            import highdicom  # noqa: F401
        except ImportError as error:
            return (
                f"DICOM Segmentations need highdicom, which cannot be used ({error}); install it "
                "with: pip install 'covid-lesion-seg[dicom]'"
            )
    elif what == "report":
        try:
            import matplotlib  # noqa: F401
        except (ImportError, OSError) as error:  # it wants a folder to write into
            return f"matplotlib cannot be used ({error})"
    return ""


def check_formats(formats: Sequence[str] | None) -> tuple[str, ...]:
    """The formats to write; None: the usual ones that can be written here.

    Raises RequestError for an unknown format, none at all, or one whose library is missing.
    """
    if formats is None:
        return tuple(f for f in USUAL_FORMATS if not _missing(f))
    chosen = tuple(dict.fromkeys(formats))
    unknown = [f for f in chosen if f not in FORMATS]
    if unknown or not chosen:
        raise RequestError(
            f"The format '{', '.join(unknown)}' cannot be written; available: "
            f"{', '.join(FORMATS)} (several separated by commas)."
        )
    for name in chosen:
        if why := _missing(name):
            raise RequestError(why)
    return chosen


def check_source(ct: CTVolume, formats: Sequence[str] | None) -> None:
    """Refuse, before any computing, a CT from which a chosen format cannot be written.

    Raises
    ------
    RequestError
        "dicom-seg" was chosen and the CT does not come from DICOM.
    InputError
        It does, but its headers lack what a DICOM Segmentation must say.
    """
    if "dicom-seg" in check_formats(formats):
        from CovidLesionSegLogic.report.dicom_source import dicom_source

        dicom_source(ct)


def write_outputs(
    result: SegmentationResult,
    directory: str | Path,
    formats: Sequence[str] | None = None,
    *,
    probability: bool = False,
    report: bool = True,
    extra: Mapping[str, NDArray[Any]] | None = None,
    name: str | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Path]:
    """Write the files of one result; they appear whole and together, or not at all.

    Parameters
    ----------
    result
        From :func:`CovidLesionSegLogic.pipeline.segment_ct`.
    directory
        Made if missing. Files of an earlier run of the same study are replaced, and those that
        are not written this time removed.
    formats
        Of :data:`FORMATS`; None: those of :data:`USUAL_FORMATS` that can be written here.
    probability
        Also write the probability maps; the result must hold them.
    report
        Also write the overview picture and the HTML report (left out when matplotlib is missing).
    extra
        Further volumes on the CT's grid, written as ``NAME_KEY.nii.gz``.
    name
        Beginning of the file names; None: the study's name.
    progress
        Called with ("write", files done, files in all), the last time just before the files
        appear: what it raises leaves the folder as it was.

    Returns
    -------
    dict
        What was written: "segmentation", "dicom_seg", "labels", "lungs", "probability",
        "quantification_json", "quantification_csv", "overview", "report" and the keys of ``extra``
        -> path.

    Raises
    ------
    RequestError
        The folder cannot be written, its disk is full, it holds a result of that name of another
        study, or a format is not available, for this CT either.
    InputError
        The DICOM headers of the CT lack what a DICOM Segmentation must say.
    """
    formats = check_formats(formats)
    stem = file_stem(name or result.ct.name)
    writers: dict[str, Callable[[Path], object]] = {
        "quantification_json": lambda path: write_json(numbers(result), path),
        "quantification_csv": lambda path: write_csv(result.quantification.rows(), path),
    }
    if "nii.gz" in formats:
        writers["labels"] = lambda path: write_image(result.labels, result.ct, path)
        writers["lungs"] = lambda path: write_image(result.lungs, result.ct, path)
    if probability:
        if result.probability is None:
            raise ValueError("the result holds no probability maps")
        # One class: a 3-D map; several: a fourth axis in the order of the classes.
        maps = result.probability[0] if len(result.probability) == 1 else result.probability
        writers["probability"] = lambda path: write_image(maps, result.ct, path)
    if "seg.nrrd" in formats:
        writers["segmentation"] = lambda path: _write_seg(result, path)
    if "dicom-seg" in formats:
        writers["dicom_seg"] = lambda path: _write_dicom_seg(result, path)
    if report and not _missing("report"):
        writers |= _report_writers(result)
    for key, array in (extra or {}).items():
        writers[key] = functools.partial(write_image, array, result.ct)
    files = {key: stem + ENDINGS.get(key, f"_{key}.nii.gz") for key in writers}

    def outdated() -> frozenset[str]:
        if check_same_study(directory, stem, result.ct.source):
            return outdated_files(directory, stem, result.provenance)
        return frozenset()

    outdated()  # refused before anything is written, and once more when it takes its place
    tell = progress or (lambda stage, done, total: None)
    with staged_folder(directory, outdated) as staging:
        for done, (key, write) in enumerate(writers.items()):
            tell("write", done, len(writers))
            write(staging / files[key])
        tell("write", len(writers), len(writers))
    return {key: Path(directory).absolute() / file for key, file in files.items()}


def _report_writers(result: SegmentationResult) -> dict[str, Callable[[Path], object]]:
    from CovidLesionSegLogic.report import overview_png, write_report

    picture = functools.cache(lambda: overview_png(result))  # drawn once for both files
    return {
        "overview": lambda path: path.write_bytes(picture()),
        "report": lambda path: write_report(result, path, overview=picture()),
    }


def numbers(result: SegmentationResult) -> dict[str, object]:
    """The quantification with the run's gate, warnings and provenance, JSON-ready."""
    data = result.quantification.to_dict()
    data["gate"] = None if result.gate is None else result.gate.to_dict()
    data["warnings"] = list(result.warnings)
    data["provenance"] = result.provenance
    return data


def missing_notices(formats: Sequence[str], *, chosen: bool, report: bool) -> list[str]:
    """Sentences on files left out because a library cannot be used."""
    notices = []
    if not chosen and "seg.nrrd" not in formats:
        notices.append(f"NAME.seg.nrrd is not written: {_missing('seg.nrrd')}")
    if report and (why := _missing("report")):
        notices.append(f"Overview and report are not written: {why}.")
    return notices


def _write_dicom_seg(result: SegmentationResult, path: Path) -> None:
    from CovidLesionSegLogic.report.dicom_seg import write_dicom_seg

    write_dicom_seg(result, path)


def _write_seg(result: SegmentationResult, path: Path) -> None:
    from CovidLesionSegLogic.mrml import write_result

    write_result(result, path)
