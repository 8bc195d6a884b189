"""Which series of a folder is the CT to read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.dicom_header import CT_CLASSES, FrameHeader
from CovidLesionSegLogic.ct.dicom_scan import FolderScan, scan
from CovidLesionSegLogic.errors import InputError

AXIAL_COSINE = float(np.cos(np.pi / 4))
CHEST_WORDS = ("CHEST", "THORA", "LUNG", "PULMO", "BODY", "TRUNK", "TORSO", "CAP", "HEART", "CARDI")


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
    return [info for _, info in _judge(list(scan(path).series.values()), _obstacle)]


def judge_study(series: list[list[FrameHeader]]) -> list[tuple[list[FrameHeader], SeriesInfo]]:
    """The series of one study, best first; one that is a CT of the chest is chosen and first."""
    judged = _judge(series, lambda frames: _obstacle(frames) or _no_chest(frames))
    return sorted(judged, key=lambda one: not one[1].chosen)


def _judge(
    series: list[list[FrameHeader]], obstacle_of: Callable[[list[FrameHeader]], str | None]
) -> list[tuple[list[FrameHeader], SeriesInfo]]:
    judged: list[tuple[list[FrameHeader], SeriesInfo]] = []
    for frames in sorted(series, key=_rank):
        obstacle = obstacle_of(frames)
        chosen = obstacle is None and not any(info.chosen for _, info in judged)
        judged.append((frames, _info(frames, chosen, obstacle or _virtue(frames, chosen))))
    return judged


def choose_series(
    found: FolderScan, series_uid: str | None
) -> tuple[list[FrameHeader], tuple[str, ...]]:
    """The image planes of the series to read, and the warnings about what was left out.

    Raises
    ------
    InputError
        When the asked UID is not there, or no series is a CT volume (naming the modalities).
    """
    warnings = found.skipped()
    if series_uid is not None:
        frames = found.series.get(series_uid)
        if frames is None:
            known = ", ".join(sorted(found.series))
            raise InputError(f"{found.root} holds no series {series_uid}: choose one of {known}.")
        obstacle = _obstacle(frames)
        if obstacle is not None:
            raise InputError(
                f"Series {series_uid} in {found.root} is not a CT volume ({obstacle}): "
                "choose a CT series."
            )
        return _usable(frames), warnings + _notes(frames)
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
            f"out: {'; '.join(f'{_describe(fs)}, UID {fs[0].series_uid}' for fs in ranked[1:6])}"
            f"{' ...' if len(ranked) > 6 else ''}. Ask for another by its UID (--series UID).",
        )
    if others and len({fs[0].study_uid for fs in [frames, *others]}) > 1:
        warnings += (
            "The CT series in this folder belong to different studies, perhaps of different "
            "patients: check which one was read, or give the folder of one study.",
        )
    return usable, warnings + _notes(frames)


def _notes(frames: list[FrameHeader]) -> tuple[str, ...]:
    """What a reader should know about the planes taken from a series."""
    usable = _usable(frames)
    notes: list[str] = []
    if len(usable) < len(frames):
        notes.append(
            f"{len(frames) - len(usable)} localiser, derived or captured image(s) within the "
            "series were left out."
        )
    if part := _other_body_part(usable):
        notes.append(
            f"The header says that the series shows another part of the body ({part}): check that "
            "it is a chest CT."
        )
    if usable[0].is_derived:
        notes.append("The series is marked as derived (reformatted or post-processed).")
    if not _is_axial(usable):
        notes.append("The series is not axial; it was read as it is.")
    return tuple(notes)


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


def _other_body_part(frames: list[FrameHeader]) -> str:
    """The part of the body where the header says one that has no lungs; "" else.

    BodyPartExamined (PS3.3 C.7.3.1) is often that of the protocol's first scan, so a description
    that names the chest outweighs it.
    """
    first = frames[0]
    part, described = first.body_part, first.description.upper()
    if not part or any(word in part or word in described for word in CHEST_WORDS):
        return ""
    return part


def _no_chest(frames: list[FrameHeader]) -> str | None:
    part = _other_body_part(_usable(frames) or frames)
    return f"its header says that it shows another part of the body ({part})" if part else None


def _is_axial(frames: list[FrameHeader]) -> bool:
    normals = [f.normal for f in frames]
    axial = [n for n in normals if n is not None and abs(n[2]) > AXIAL_COSINE]
    return 2 * len(axial) > len(frames)


def _places(frames: list[FrameHeader]) -> NDArray[np.float64]:
    """The different places along the normal, mm: repeated images of one slice count once."""
    normal = frames[0].normal
    if normal is None:
        return np.zeros(0)
    return np.unique(np.round([float(np.dot(f.position, normal)) for f in frames if f.position], 2))


def _rank(frames: list[FrameHeader]) -> tuple[object, ...]:
    """Sort key: usable first, then by the number of slices, ties to the thinner, then by number.

    A reformat (derived, or not axial), or a series said to be of another part of the body, wins
    only over a fragment, such as the few images taken to time the contrast.
    """
    usable = _usable(frames) or frames
    weight = (0.25 if usable[0].is_derived else 1.0) * (1.0 if _is_axial(usable) else 0.01)
    weight *= 0.1 if _other_body_part(usable) else 1.0
    thickness = usable[0].thickness
    number = usable[0].series_number
    return (
        _obstacle(frames) is not None,
        -len(_places(usable)) * weight,
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
    places = _places(usable)
    spacing = None
    if first.spacing is not None and len(places) > 1:
        spacing = (first.spacing[1], first.spacing[0], float(np.median(np.diff(places))))
    return SeriesInfo(
        uid=first.series_uid,
        description=first.description,
        modality=first.modality,
        slices=len(usable),
        spacing=spacing,
        chosen=chosen,
        why=why,
    )
