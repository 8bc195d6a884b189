"""What is to be segmented among files, folders, patterns and tables of cases."""

from __future__ import annotations

import glob
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from CovidLesionSegLogic.batch.case_table import expanded, read_cases
from CovidLesionSegLogic.batch.study import LeftOut, Study
from CovidLesionSegLogic.ct.dicom_file import looks_like_dicom
from CovidLesionSegLogic.ct.dicom_index import IndexedStudy, TreeIndex, index_tree, patient_words
from CovidLesionSegLogic.ct.dicom_series import SeriesInfo
from CovidLesionSegLogic.ct.formats import READABLE, SUFFIXES, study_name, suffix_of
from CovidLesionSegLogic.errors import RequestError

OWN_ENDINGS = (".seg.nrrd", "_labels.nii.gz", "_lungs.nii.gz", "_probability.nii.gz")
"""Of this program's own files, which a folder of CTs may hold too."""

Progress = Callable[[str, int, int], None]


@dataclass
class Found:
    """Studies in the order of their names, what was left out, words of all patients' names."""

    studies: list[Study] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    name_words: frozenset[str] = frozenset()


def find_studies(
    inputs: Sequence[str], *, exclude: Path | None = None, progress: Progress | None = None
) -> Found:
    """The studies that the inputs name.

    A volume file is a study. Every DICOM file below a folder is looked at once; each study found
    gives one CT of the chest (:func:`~CovidLesionSegLogic.ct.dicom_index.index_tree`), and each
    volume file below the folder is a study too, but for masks and maps that this program wrote. A
    ``.csv`` file is a table of cases.

    Parameters
    ----------
    inputs
        Paths, or patterns such as ``data/*.nii.gz`` and ``data/**/CT``.
    exclude
        A folder whose files are not looked at: the results.

    Raises
    ------
    RequestError
        An input names nothing, or there is nothing to segment.
    InputError
        A folder or table cannot be opened.
    """
    found, named = Found(), {os.path.normpath(expanded(text).absolute()) for text in inputs}
    cases: list[Study] = []
    for path in _expanded(inputs):
        if os.path.isdir(path):
            _add_folder(found, path, exclude, progress)
        elif path.name.lower().endswith(".csv"):
            cases += read_cases(path)
        else:
            _add_file(found, path, named=str(path) in named)
    found.studies = _without_repeats(
        [*map(_with_name_words, cases), *found.studies], found.left_out
    )
    if not found.studies:
        raise RequestError(
            "There is nothing to segment among the inputs"
            + "".join(f"; {one.what}: {one.why}" for one in found.left_out[:3])
            + f". Give {READABLE}, folders or patterns of them, or a .csv table of cases."
        )
    return found


def _expanded(inputs: Sequence[str]) -> list[Path]:
    paths: dict[Path, None] = {}  # a set that keeps the order
    for text in inputs:
        own = Path(os.path.normpath(expanded(text).absolute()))
        # A name may itself hold brackets.
        there = [own] if os.path.exists(own) else map(Path, glob.glob(str(own), recursive=True))
        matched = sorted(there)
        if not matched:
            raise RequestError(f"The input '{text}' names no file or folder: correct it.")
        paths.update(dict.fromkeys(matched))
    return list(paths)


def _add_file(found: Found, path: Path, *, named: bool) -> None:
    if not named and suffix_of(path) not in SUFFIXES and not _is_dicom(path):
        found.left_out.append(LeftOut("file", str(path), "no format this program reads"))
    elif not named and _own(path):
        found.left_out.append(LeftOut("file", str(path), "a mask or map that this program wrote"))
    else:  # what is wrong with a file that was named shows when it is read
        found.studies.append(_with_name_words(Study(name=study_name(path), path=path)))


def _with_name_words(study: Study) -> Study:
    """A DICOM folder or file that was named: the patient's name may stand in its path."""
    if suffix_of(study.path) in SUFFIXES:
        return study
    return replace(study, name_words=patient_words(study.path))


def _add_folder(found: Found, root: Path, exclude: Path | None, progress: Progress | None) -> None:
    index = index_tree(root, progress, exclude=exclude)
    names = frozenset().union(*(study.name_words for study in index.studies))
    found.name_words |= names
    uids = Counter(study.series[0].uid for study in index.studies if study.files)
    for study in index.studies:
        if study.files:
            one = _dicom_study(study, root, names, alone=len(index.studies) == 1)
            shared = uids[study.series[0].uid] > 1
            found.studies.append(replace(one, study_uid=study.uid) if shared else one)
        else:
            best = study.series[0]
            found.left_out.append(LeftOut("study", study.uid, f"no chest CT: {best.why}"))
        found.left_out += [
            LeftOut("series", f"{one.uid} ('{one.description}')", one.why)
            for one in study.series[1:]
            if study.files
        ]
    for path in index.volumes:
        if _own(path):
            found.left_out.append(
                LeftOut("file", str(path), "a mask or map that this program wrote")
            )
        else:
            words = _in_path(names, path)
            found.studies.append(Study(name=_below(root, path), path=path, name_words=words))
    _add_broken(found, root, index, names)
    if index.others:
        found.left_out.append(
            LeftOut("files", f"{index.others} below {root}", "neither DICOM nor a volume")
        )


def _add_broken(found: Found, root: Path, index: TreeIndex, names: frozenset[str]) -> None:
    """Damaged files; a folder of nothing else is a study, which will fail and be heard of.

    Its files are named, for below it may lie sound studies, which the reader would take.
    """
    sound = {file.parent for study in index.studies for file in study.files}
    damaged: dict[Path, list[Path]] = {}
    for path, why in index.broken:
        if path.parent in sound:
            found.left_out.append(LeftOut("file", str(path), f"damaged DICOM: {why}"))
        else:
            damaged.setdefault(path.parent, []).append(path)
    found.studies += [
        Study(
            name=_below(root, folder),
            path=folder,
            files=tuple(files),
            name_words=_in_path(names, folder).union(*map(patient_words, files)),
        )
        for folder, files in damaged.items()
    ]


def _dicom_study(study: IndexedStudy, root: Path, names: frozenset[str], *, alone: bool) -> Study:
    """``names`` are words of all patients' names: another one's may stand in this one's path."""
    name = study_name(root) if study.folder == root and alone else _below(root, study.folder)
    return Study(
        name=name,
        path=study.folder,
        files=study.files,
        series_uid=study.series[0].uid,
        about=_about(study.series[0]),
        name_words=study.name_words | _in_path(names, study.folder),
    )


def _about(series: SeriesInfo) -> str:
    apart = f", {series.spacing[2]:g} mm apart" if series.spacing is not None else ""
    return f"'{series.description}', {series.slices} slices{apart}"


def _in_path(names: frozenset[str], path: Path) -> frozenset[str]:
    folded = unicodedata.normalize("NFC", str(path).casefold())
    return names & frozenset(re.findall(r"[^\W\d_]+", folded))


def _below(root: Path, path: Path) -> str:
    """A study's name from its place below a root: the parts of the path, joined."""
    parts = path.relative_to(root).parts or (root.resolve().name,)
    return "_".join([*parts[:-1], study_name(path)]) if len(parts) > 1 else study_name(path)


def _own(path: Path) -> bool:
    return path.name.endswith(OWN_ENDINGS)


def _is_dicom(path: Path) -> bool:
    try:
        return looks_like_dicom(path)
    except OSError:
        return True  # shown as a failed study, with the reason


_NO_MAPS = (None, None, None)


def _own_maps(study: Study) -> tuple[Path | None, Path | None, str | None]:
    return study.lungs, study.regions, study.region_names


def _without_repeats(studies: Iterable[Study], left_out: list[LeftOut]) -> list[Study]:
    """One of each identity; a table's row outdoes what was found, as it says more."""
    kept: dict[str, Study] = {}
    for study in studies:
        first = kept.setdefault(study.identity, study)
        if _own_maps(study) not in (_own_maps(first), _NO_MAPS):
            why = "the same CT was named before with other maps; one of them is used"
            left_out.append(LeftOut("study", str(study.path), why))
    return sorted(kept.values(), key=lambda s: (s.name.casefold(), s.identity))
