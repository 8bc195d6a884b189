"""What a result was made from, as checksums: input files, options, weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from CovidLesionSegLogic.batch.study import Study
from CovidLesionSegLogic.errors import InputError

_DETACHED = (".nhdr", ".mhd")


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
    """Every file that the study's result depends on, in a fixed order."""
    files: list[Path] = list(study.files)
    if not files:
        if study.path.is_dir():
            files = [f for f in study.path.rglob("*") if f.is_file()]
        else:
            files = [study.path]
            if study.path.suffix.lower() in _DETACHED:  # voxels in files beside the header
                stem = study.path.stem
                files = [f for f in study.path.parent.glob(f"{stem}.*") if f.is_file()]
    files += [path for path in (study.lungs, study.regions) if path is not None]
    return sorted(files)


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
