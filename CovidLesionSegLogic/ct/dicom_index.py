"""The studies in a tree of DICOM files, however mixed, and which series of each is its chest CT."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from CovidLesionSegLogic.ct.dicom_file import looks_like_dicom
from CovidLesionSegLogic.ct.dicom_header import FrameHeader, read_headers
from CovidLesionSegLogic.ct.dicom_scan import Progress, find_dicom, quiet_pydicom
from CovidLesionSegLogic.ct.dicom_series import SeriesInfo, judge_study
from CovidLesionSegLogic.ct.formats import SUFFIXES, suffix_of

MOST_LOOKED_AT = 20
"""Files of a folder, for one that is DICOM."""


@dataclass(frozen=True)
class IndexedStudy:
    """A study (PS3.3 C.7.2): its series, best first, and the files of the chosen one.

    ``folder`` is the deepest one that holds all of them; ``files`` is empty where no series is a
    chest CT, and then ``series[0].why`` says why the best is none; ``name_words`` are words of the
    patient's name, to be kept out of every text.
    """

    uid: str
    series: tuple[SeriesInfo, ...]
    folder: Path
    files: tuple[Path, ...]
    name_words: frozenset[str]


@dataclass(frozen=True)
class TreeIndex:
    """What lies below a folder: DICOM studies, volume files, and damaged DICOM with the reason.

    ``others`` is the number of files that are none of these.
    """

    studies: tuple[IndexedStudy, ...]
    volumes: tuple[Path, ...]
    broken: tuple[tuple[Path, str], ...]
    others: int


def index_tree(
    root: Path, progress: Progress | None = None, *, exclude: Path | None = None
) -> TreeIndex:
    """Look once at every file below ``root``; no pixels are read.

    A study's CT is the series that :func:`~CovidLesionSegLogic.ct.read_ct` would take among those
    of the study, unless the header says that it shows another part of the body.

    Raises
    ------
    InputError
        The folder cannot be opened.
    """
    found = find_dicom(root, progress, exclude=exclude)
    # By study first: software that takes names out may give one series UID to several patients.
    studies: dict[str, dict[str, list[FrameHeader]]] = defaultdict(lambda: defaultdict(list))
    for frames in found.series.values():
        for frame in frames:
            studies[frame.study_uid or frame.series_uid][frame.series_uid].append(frame)
    grouped = {uid: list(series.values()) for uid, series in studies.items()}
    volumes = tuple(file for file in found.foreign if suffix_of(file) in SUFFIXES)
    return TreeIndex(
        studies=tuple(_study(uid, grouped[uid]) for uid in sorted(grouped)),
        volumes=volumes,
        broken=tuple(found.broken),
        others=len(found.foreign) - len(volumes),
    )


def patient_words(path: Path) -> frozenset[str]:
    """Words of the patients' names in a DICOM file, or in one file of each folder below."""
    words: frozenset[str] = frozenset()
    with quiet_pydicom():
        if not os.path.isdir(path):
            return _words_of(path) or words
        for root, folders, names in os.walk(path):
            folders.sort()
            files = (Path(root, name) for name in sorted(names)[:MOST_LOOKED_AT])
            words |= next((w for file in files if (w := _words_of(file)) is not None), frozenset())
    return words


def _words_of(file: Path) -> frozenset[str] | None:
    """None for a file that is not DICOM."""
    try:
        if not file.is_file() or not looks_like_dicom(file):
            return None
        return read_headers(file)[0].name_words
    except (OSError, ValueError, IndexError):
        return None


def _study(uid: str, several: list[list[FrameHeader]]) -> IndexedStudy:
    judged = judge_study(several)
    chosen, info = judged[0]
    files = tuple(sorted({f.path for f in chosen})) if info.chosen else ()
    held = files or tuple(sorted({f.path for f, *_ in several}))
    words: frozenset[str] = frozenset().union(*(f.name_words for fs in several for f in fs))
    return IndexedStudy(
        uid=uid,
        series=tuple(one for _, one in judged),
        folder=Path(os.path.commonpath([file.parent for file in held])),
        files=files,
        name_words=words,
    )
