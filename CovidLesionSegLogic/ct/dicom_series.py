"""Which series of a folder is the CT to read."""

from __future__ import annotations

import os
import warnings as python_warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from CovidLesionSegLogic.ct.dicom_header import (
    CT_CLASSES,
    FrameHeader,
    looks_like_dicom,
    read_headers,
)
from CovidLesionSegLogic.errors import InputError

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class SeriesInfo:
    """One series of a folder as a person chooses among them.

    ``slices`` counts image planes that could form a volume; ``spacing`` is (x, y, z) in mm, None
    where the header does not say; ``why`` is the reason for the choice.
    """

    uid: str
    description: str
    modality: str
    slices: int
    spacing: tuple[float, float, float] | None
    chosen: bool
    why: str


@dataclass
class FolderScan:
    """All DICOM images below a folder by series, and what was skipped."""

    root: Path
    series: dict[str, list[FrameHeader]] = field(default_factory=dict)
    foreign: list[Path] = field(default_factory=list)
    broken: list[tuple[Path, str]] = field(default_factory=list)


def scan(path: Path, progress: Progress | None = None) -> FolderScan:
    """Read the headers of a DICOM file, or of all files in a folder and its subfolders.

    Raises
    ------
    InputError
        When there is no DICOM image at all.
    """
    files = [path] if path.is_file() else _files_below(path)
    result = FolderScan(path)
    with python_warnings.catch_warnings():
        python_warnings.simplefilter("ignore")
        for number, file in enumerate(files, 1):
            if file.name.upper() == "DICOMDIR":
                continue
            if not looks_like_dicom(file):
                result.foreign.append(file)
            else:
                _add(result, file)
            if progress is not None and (number % 16 == 0 or number == len(files)):
                progress("scan", number, len(files))
    if not result.series:
        _refuse_empty(result, len(files))
    return result


def list_series(folder: str | os.PathLike[str]) -> list[SeriesInfo]:
    """The series in a folder (nested folders too), the one ``read_ct`` would take marked chosen.

    Raises
    ------
    InputError
        When the folder does not exist or holds no DICOM image.
    """
    path = Path(folder)
    if not path.exists():
        raise InputError(f"{path} does not exist: check the path.")
    found = scan(path)
    ranked = sorted(found.series.values(), key=_rank)
    infos: list[SeriesInfo] = []
    for frames in ranked:
        obstacle = _obstacle(frames)
        chosen = obstacle is None and not any(info.chosen for info in infos)
        why = obstacle or _virtue(frames, chosen)
        infos.append(_info(frames, chosen, why))
    return infos


def choose_series(
    found: FolderScan, series_uid: str | None
) -> tuple[list[FrameHeader], tuple[str, ...]]:
    """The image planes of the series to read, and the warnings about what was left out.

    Raises
    ------
    InputError
        When the asked UID is not there, or no series is a CT volume (naming the modalities).
    """
    warnings = _skipped(found)
    if series_uid is not None:
        frames = found.series.get(series_uid)
        if frames is None:
            known = ", ".join(sorted(found.series))
            raise InputError(
                f"{found.root} holds no series {series_uid}: choose one of {known}."
            )
        obstacle = _obstacle(frames)
        if obstacle is not None:
            raise InputError(
                f"Series {series_uid} in {found.root} is not a CT volume ({obstacle}): "
                "choose a CT series."
            )
        return _usable(frames), warnings
    ranked = sorted(found.series.values(), key=_rank)
    frames = ranked[0]
    obstacle = _obstacle(frames)
    if obstacle is not None:
        modalities = sorted({f.modality or "no modality" for fs in ranked for f in fs})
        raise InputError(
            f"{found.root} holds no CT volume (modality {', '.join(modalities)}; {obstacle}): "
            "give the folder of an axial CT series."
        )
    usable = _usable(frames)
    others = [fs for fs in ranked[1:] if _obstacle(fs) is None]
    if len(ranked) > 1:
        warnings += (
            f"{len(ranked)} series found; read {_describe(frames)}, {_virtue(frames, True)}; left "
            f"out: {'; '.join(_describe(fs) for fs in ranked[1:6])}"
            f"{' ...' if len(ranked) > 6 else ''}. Ask for another by its series UID.",
        )
    if others and len({fs[0].study_uid for fs in [frames, *others]}) > 1:
        warnings += ("The CT series in this folder belong to different studies.",)
    if usable[0].is_derived:
        warnings += ("Only a derived CT series was found (reformatted or post-processed).",)
    if not _is_axial(usable):
        warnings += ("No axial series was found; a reformatted (not axial) one was read.",)
    return usable, warnings


def _files_below(folder: Path) -> list[Path]:
    found: list[Path] = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(root, name) for name in sorted(names) if not name.startswith(".")]
    return [file for file in found if file.is_file()]


def _add(result: FolderScan, file: Path) -> None:
    try:
        frames = read_headers(file)
    except ValueError as error:
        result.broken.append((file, str(error)))
        return
    if not frames or not frames[0].series_uid:
        result.broken.append((file, "SeriesInstanceUID is missing"))
    elif frames[0].rows == 0 or frames[0].columns == 0:
        result.foreign.append(file)  # a DICOM object without an image: report, presentation state
    else:
        result.series.setdefault(frames[0].series_uid, []).extend(frames)


def _refuse_empty(result: FolderScan, files: int) -> None:
    root = result.root
    if result.broken:
        file, why = result.broken[0]
        raise InputError(f"{file} cannot be read as DICOM ({why}): copy or export it again.")
    if root.is_file():
        raise InputError(f"{root} holds no DICOM image: give a CT image or its folder.")
    if files == 0:
        raise InputError(f"The folder {root} holds no files: give the folder of a CT series.")
    volumes = [f for f in result.foreign if f.name.lower().endswith((".nii", ".nii.gz", ".nrrd",
                                                                     ".mha", ".mhd", ".nhdr"))]
    hint = f"give the file itself, such as {volumes[0]}" if volumes else (
        "give the folder of a CT series"
    )
    raise InputError(f"None of the {files} files in {root} is a DICOM image: {hint}.")


def _skipped(found: FolderScan) -> tuple[str, ...]:
    messages: list[str] = []
    if found.foreign:
        names = ", ".join(file.name for file in found.foreign[:3])
        more = ", ..." if len(found.foreign) > 3 else ""
        messages.append(
            f"{len(found.foreign)} file(s) that are no DICOM images were skipped ({names}{more})."
        )
    if found.broken:
        names = ", ".join(f"{file.name}: {why}" for file, why in found.broken[:3])
        messages.append(
            f"{len(found.broken)} damaged DICOM file(s) were skipped ({names}); slices may be "
            "missing."
        )
    return tuple(messages)


def _usable(frames: list[FrameHeader]) -> list[FrameHeader]:
    """The planes that can be part of a CT volume; derived ones only if there are no others."""
    planes = [f for f in frames if not f.is_localizer and f.sop_class in CT_CLASSES]
    primary = [f for f in planes if not f.is_derived]
    return primary or planes


def _obstacle(frames: list[FrameHeader]) -> str | None:
    """Why a series cannot be a CT volume; None when it can."""
    modality = Counter(f.modality for f in frames).most_common(1)[0][0]
    if modality != "CT":
        return f"its modality is {modality or 'not stated'}, not CT"
    if all(f.is_localizer for f in frames):
        return "it is a localiser (scout view)"
    if not any(f.sop_class in CT_CLASSES for f in frames):
        return "it holds secondary captures, not CT images"
    return None


def _is_axial(frames: list[FrameHeader]) -> bool:
    normals = [f.normal for f in frames]
    axial = [n for n in normals if n is not None and abs(n[2]) > np.cos(np.pi / 4)]
    return 2 * len(axial) > len(frames)


def _rank(frames: list[FrameHeader]) -> tuple[object, ...]:
    """Sort key: usable, original, axial, most slices, thinnest, then the series number."""
    usable = _usable(frames) or frames
    enough = len(usable) >= 3
    thickness = usable[0].thickness
    number = usable[0].series_number
    return (
        _obstacle(frames) is not None,
        not enough,
        usable[0].is_derived,
        not _is_axial(usable),
        -len(usable),
        thickness if thickness is not None else np.inf,
        number if number is not None else np.inf,
        usable[0].series_uid,
    )


def _virtue(frames: list[FrameHeader], chosen: bool) -> str:
    usable = _usable(frames)
    kind = "axial" if _is_axial(usable) else "not axial"
    kind = f"derived, {kind}" if usable[0].is_derived else kind
    return f"the {kind} CT with most slices" if chosen else f"{kind}, {len(usable)} slices"


def _describe(frames: list[FrameHeader]) -> str:
    first = frames[0]
    label = first.description or first.series_uid
    return f"'{label}' ({first.modality or 'no modality'}, {len(frames)} images)"


def _info(frames: list[FrameHeader], chosen: bool, why: str) -> SeriesInfo:
    usable = _usable(frames) or frames
    first = usable[0]
    spacing = None
    if first.spacing is not None and first.normal is not None:
        places = np.unique(
            np.round([np.dot(f.position, first.normal) for f in usable if f.position], 2)
        )
        if len(places) > 1:
            gap = float(np.median(np.diff(places)))
            spacing = (first.spacing[1], first.spacing[0], gap)
    return SeriesInfo(
        uid=first.series_uid,
        description=first.description,
        modality=first.modality,
        slices=len(usable),
        spacing=spacing,
        chosen=chosen,
        why=why,
    )
