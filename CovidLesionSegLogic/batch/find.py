"""What is to be segmented among files, folders, patterns and tables of cases."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from CovidLesionSegLogic.batch.case_table import read_cases
from CovidLesionSegLogic.batch.study import LeftOut, Study
from CovidLesionSegLogic.ct.dicom_file import looks_like_dicom
from CovidLesionSegLogic.ct.dicom_index import IndexedStudy, TreeIndex, index_tree
from CovidLesionSegLogic.ct.formats import READABLE, SUFFIXES, study_name, suffix_of
from CovidLesionSegLogic.errors import RequestError

OWN_ENDINGS = (".seg.nrrd", "_labels.nii.gz", "_lungs.nii.gz", "_probability.nii.gz")
"""Of this program's own files, which a folder of CTs may hold too."""

Progress = Callable[[str, int, int], None]


@dataclass
class Found:
    """Studies in the order of their names, and what was left out."""

    studies: list[Study] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


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
    found, named = Found(), {str(Path(text).expanduser().absolute()) for text in inputs}
    for path in _expanded(inputs):
        if path.is_dir():
            _add_folder(found, path, exclude, progress)
        elif path.name.lower().endswith(".csv"):
            found.studies += read_cases(path)
        else:
            _add_file(found, path, named=str(path) in named)
    found.studies = _without_repeats(found.studies)
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
        own = Path(text).expanduser().absolute()
        # A name may itself hold brackets.
        there = [own] if own.exists() else map(Path, glob.glob(str(own), recursive=True))
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
        found.studies.append(Study(name=study_name(path), path=path))


def _add_folder(found: Found, root: Path, exclude: Path | None, progress: Progress | None) -> None:
    index = index_tree(root, progress, exclude=exclude)
    names = frozenset().union(*(study.name_words for study in index.studies))
    for study in index.studies:
        if study.files:
            found.studies.append(_dicom_study(study, root, names, alone=len(index.studies) == 1))
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
            found.studies.append(Study(name=_below(root, path), path=path))
    _add_broken(found, root, index)
    if index.others:
        found.left_out.append(
            LeftOut("file", f"{index.others} below {root}", "neither DICOM nor a volume")
        )


def _add_broken(found: Found, root: Path, index: TreeIndex) -> None:
    """Damaged files; a folder of nothing else is a study, which will fail and be heard of."""
    sound = {file.parent for study in index.studies for file in study.files}
    damaged = {path.parent for path, _ in index.broken} - sound
    found.studies += [Study(name=_below(root, folder), path=folder) for folder in damaged]
    found.left_out += [
        LeftOut("file", str(path), f"damaged DICOM: {why}")
        for path, why in index.broken
        if path.parent not in damaged
    ]


def _dicom_study(study: IndexedStudy, root: Path, names: frozenset[str], *, alone: bool) -> Study:
    """``names`` are words of all patients' names: another one's may stand in this one's path."""
    in_path = frozenset(re.findall(r"[^\W\d_]+", str(study.folder).casefold()))
    name = study_name(root) if study.folder == root and alone else _below(root, study.folder)
    return Study(
        name=name,
        path=study.folder,
        files=study.files,
        series_uid=study.series[0].uid,
        name_words=study.name_words | (names & in_path),
    )


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


def _without_repeats(studies: Iterable[Study]) -> list[Study]:
    """One of each identity; a table's row outdoes what was found, as it says more."""
    kept: dict[str, Study] = {}
    for study in studies:
        kept.setdefault(study.identity, study)
    return sorted(kept.values(), key=lambda s: (s.name.casefold(), s.identity))
