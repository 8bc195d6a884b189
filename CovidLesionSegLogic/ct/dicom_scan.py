"""All DICOM images below a folder, by series."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings as python_warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from CovidLesionSegLogic.ct.dicom_file import looks_like_dicom
from CovidLesionSegLogic.ct.dicom_header import FrameHeader, read_headers
from CovidLesionSegLogic.ct.formats import SUFFIXES, suffix_of
from CovidLesionSegLogic.errors import InputError

Progress = Callable[[str, int, int], None]


@dataclass
class FolderScan:
    """All DICOM images below a folder by series, and what was skipped."""

    root: Path
    series: dict[str, list[FrameHeader]] = field(default_factory=dict)
    foreign: list[Path] = field(default_factory=list)
    broken: list[tuple[Path, str]] = field(default_factory=list)
    files: int = 0

    def skipped(self) -> tuple[str, ...]:
        """One sentence each on what was not read."""
        messages: list[str] = []
        if self.foreign:
            names = ", ".join(f"'{file.name}'" for file in self.foreign[:3])
            more = ", ..." if len(self.foreign) > 3 else ""
            messages.append(
                f"{len(self.foreign)} file(s) that are no DICOM images were skipped "
                f"({names}{more})."
            )
        if self.broken:
            names = ", ".join(f"'{file.name}': {why}" for file, why in self.broken[:3])
            messages.append(
                f"{len(self.broken)} damaged DICOM file(s) were skipped ({names}); slices may be "
                "missing."
            )
        return tuple(messages)


def scan(
    path: Path, progress: Progress | None = None, files: Sequence[Path] | None = None
) -> FolderScan:
    """Read the headers of a DICOM file, or of all files in a folder and its subfolders.

    ``files`` are the only ones to read, where they are known already.

    Raises
    ------
    InputError
        When there is no DICOM image at all.
    """
    result = find_dicom(path, progress, files)
    if not result.series:
        _refuse_empty(result)
    return result


def find_dicom(
    path: Path,
    progress: Progress | None = None,
    files: Sequence[Path] | None = None,
    *,
    exclude: Path | None = None,
) -> FolderScan:
    """As :func:`scan`, but there may be no DICOM image; the folder ``exclude`` is passed over."""
    result = FolderScan(path)
    if files is None:
        files = [path] if path.is_file() else _files_below(path, result.broken, exclude)
    with quiet_pydicom():
        for number, file in enumerate(files, 1):
            if file.name.upper() == "DICOMDIR":
                continue
            _add(result, file)
            if progress is not None and (number % 16 == 0 or number == len(files)):
                progress("scan", number, len(files))
    result.files = len(files)
    return result


@contextlib.contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom's remarks on odd headers, which our checks judge, off standard error."""
    log = logging.getLogger("pydicom")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with python_warnings.catch_warnings():
            python_warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _files_below(
    folder: Path, broken: list[tuple[Path, str]], exclude: Path | None = None
) -> list[Path]:
    """Files in name order, hidden ones left out; folders without access go to ``broken``."""
    found: list[Path] = []

    def refuse(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise InputError(
                f"The folder {folder} cannot be opened ({error.strerror}): check its access rights."
            ) from error
        broken.append((Path(error.filename), error.strerror or str(error)))

    left_out = None if exclude is None else exclude.resolve()
    for root, folders, names in os.walk(folder, onerror=refuse):
        here = Path(root).resolve()  # either may be named by way of ".." or of a link
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and here / name != left_out
        )
        found += [Path(root, name) for name in sorted(names) if not name.startswith(".")]
    return [file for file in found if _is_file(file, broken)]


def _is_file(file: Path, broken: list[tuple[Path, str]]) -> bool:
    try:
        return file.is_file()
    except OSError as error:
        broken.append((file, error.strerror or str(error)))
        return False


def _add(result: FolderScan, file: Path) -> None:
    try:
        if not looks_like_dicom(file):
            result.foreign.append(file)
            return
        frames = read_headers(file)
    except (OSError, ValueError) as error:
        result.broken.append((file, str(error)))
        return
    if not frames or not frames[0].series_uid:
        result.broken.append((file, "SeriesInstanceUID is missing"))
    elif frames[0].rows == 0 or frames[0].columns == 0:
        result.foreign.append(file)  # a DICOM object without an image: report, presentation state
    else:
        result.series.setdefault(frames[0].series_uid, []).extend(frames)


def _refuse_empty(result: FolderScan) -> None:
    root, files = result.root, result.files
    if result.broken:
        file, why = result.broken[0]
        raise InputError(f"{file} cannot be read as DICOM ({why}): copy or export it again.")
    if root.is_file():
        raise InputError(f"{root} holds no DICOM image: give a CT image or its folder.")
    if files == 0:
        raise InputError(f"The folder {root} holds no files: give the folder of a CT series.")
    volumes = [file for file in result.foreign if suffix_of(file) in SUFFIXES]
    hint = (
        f"give the file itself, such as {volumes[0]}"
        if volumes
        else "give the folder of a CT series"
    )
    raise InputError(f"None of the {files} files in {root} is a DICOM image: {hint}.")
