"""What a result was made from, as checksums: input files, options, weights."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from CovidLesionSegLogic.batch.study import Study
from CovidLesionSegLogic.errors import InputError

_DETACHED = (".nhdr", ".mhd")
_LONGEST_HEADER = 1 << 20


@dataclass(frozen=True)
class Inputs:
    """The files of a study: number, what the file system says of them, what they hold.

    ``stamp`` is a SHA-256 over sizes and times of change, quick to get; ``content`` one over what
    the files hold, whatever they are called.
    """

    count: int
    stamp: str
    content: str = ""


def input_files(study: Study) -> list[Path]:
    """Every file that the study's result depends on, in a fixed order: the CT's, then the maps'."""
    return [file for files in _by_role(study) for file in files]


def held(study: Study) -> str:
    """A checksum of what the study's files hold: those of the CT, of its lungs and of its regions.

    InputError where one cannot be read.
    """
    return checksum([content(files) for files in _by_role(study)])


def _by_role(study: Study) -> list[list[Path]]:
    ct: list[Path] = list(study.files)
    if not ct:
        folder = study.path.is_dir()
        ct = [f for f in study.path.rglob("*") if f.is_file()] if folder else [study.path]
    maps = [[] if path is None else [path] for path in (study.lungs, study.regions)]
    return [
        sorted({one for file in files for one in (file, *_voxels(file))}) for files in (ct, *maps)
    ]


def _voxels(header: Path) -> list[Path]:
    """The files with the voxels of a header: NRRD "data file:", MetaImage "ElementDataFile =".

    Those that it names, also line by line; all of its folder for a pattern of names.
    """
    if header.suffix.lower() not in _DETACHED:
        return []
    try:
        text = header.read_bytes()[:_LONGEST_HEADER].decode("utf-8", "surrogateescape")
        first = re.search(r"(?im)^(?:data ?file|ElementDataFile) *[:=](?! *LOCAL\b)", text)
        if first is None:  # in the same file
            return []
        names = [line.strip() for line in text[first.end() :].splitlines()]
        files = [header.parent / name for name in names if 0 < len(name) < 200 and "\0" not in name]
        there = [file for file in files if file.is_file()]
        return there or [file for file in header.parent.iterdir() if file.is_file()]
    except OSError:  # said when it is read
        return []


def stamp(files: Iterable[Path]) -> Inputs:
    """Without looking into the files; InputError where one cannot be reached."""
    digest, count = hashlib.sha256(), 0
    for file in files:
        try:
            told = file.stat()
        except FileNotFoundError as error:
            raise InputError(f"{file} does not exist: check the path.") from error
        except OSError as error:
            raise InputError(
                f"{file} cannot be opened ({error.strerror or error}): check the path and its "
                "access rights."
            ) from error
        # The time of the last change of the inode tells of a file put in place with an old date.
        digest.update(f"{told.st_size} {told.st_mtime_ns} {told.st_ctime_ns}\n".encode())
        count += 1
    return Inputs(count, digest.hexdigest())


def content(files: Iterable[Path]) -> str:
    """A checksum of what the files hold; InputError where one cannot be read."""
    digests = []
    for file in files:
        try:
            digest = hashlib.sha256()
            with file.open("rb") as stream:
                while piece := stream.read(1 << 20):
                    digest.update(piece)
            digests.append(digest.hexdigest())
        except OSError as error:
            raise InputError(
                f"{file} cannot be read ({error.strerror or error}): check its access rights."
            ) from error
    return checksum(sorted(digests))


def checksum(value: Any) -> str:
    """SHA-256 of a JSON-ready value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
