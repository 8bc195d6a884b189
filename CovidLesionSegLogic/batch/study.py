"""One study of a batch: where its CT lies, what it is called, and how it is known again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from CovidLesionSegLogic.errors import one_line


@dataclass(frozen=True)
class Remote:
    """Where a study lies in an image archive: its UID, its address, a checksum of its images.

    ``stamp`` changes when images come or go; "" where they could not be listed.
    """

    study_uid: str
    address: str
    stamp: str = ""


@dataclass(frozen=True)
class Study:
    """What is to be segmented, on its way to whoever does it.

    Parameters
    ----------
    name
        Name of its folder and files among the results.
    path
        A volume file, or a DICOM folder or file.
    files
        The DICOM files of the series; empty: all of the folder, or ``path`` itself.
    series_uid
        The DICOM series; None: the reader chooses.
    study_uid
        Its study, where several studies of the tree have a series of that UID.
    lungs, regions
        Maps on the CT's grid, as in :class:`~CovidLesionSegLogic.pipeline.SegmentOptions`.
    region_names
        As given on a command line.
    name_words
        Words of the patient's name, to be kept out of texts; they are never written.
    remote
        Its place in an image archive; ``path`` is the folder that it is fetched into.
    about
        What a person tells the series by: its description and slice spacing.
    code
        Stands for the identity where that must not show.
    """

    name: str
    path: Path
    files: tuple[Path, ...] = ()
    series_uid: str | None = None
    lungs: Path | None = None
    regions: Path | None = None
    region_names: str | None = None
    name_words: frozenset[str] = frozenset()
    remote: Remote | None = None
    about: str = ""
    code: str = ""
    study_uid: str = ""

    @property
    def identity(self) -> str:
        """What tells this study from others: the series, or else where it lies."""
        if self.remote is not None:
            return f"study {self.remote.study_uid}"
        if self.series_uid:
            of = f" of study {self.study_uid}" if self.study_uid else ""
            return f"series {self.series_uid}{of}"
        return f"file {os.path.realpath(self.path)}"

    @property
    def key(self) -> str:
        """The code, or else a SHA-256 of the identity, hexadecimal."""
        # File names need not be UTF-8.
        identity = self.identity.encode("utf-8", "surrogateescape")
        return self.code or hashlib.sha256(identity).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        data = asdict(self)
        for name in ("path", "lungs", "regions"):
            data[name] = None if data[name] is None else str(data[name])
        data["files"] = [str(file) for file in self.files]
        data["name_words"] = sorted(self.name_words)
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Study:
        """What :meth:`to_dict` wrote; KeyError, TypeError or ValueError where it did not."""
        for name in ("name", "about", "code", "study_uid"):
            _text(data[name])
        for name in ("series_uid", "region_names"):
            _text(data[name] or "")
        return cls(
            **{
                **data,
                "path": path_from(data["path"]),
                "files": tuple(map(path_from, data["files"])),
                "lungs": None if data["lungs"] is None else path_from(data["lungs"]),
                "regions": None if data["regions"] is None else path_from(data["regions"]),
                "name_words": frozenset(map(_text, data["name_words"])),
                "remote": None if data["remote"] is None else _remote(data["remote"]),
            }
        )


def _remote(told: Mapping[str, Any]) -> Remote:
    return Remote(**{name: _text(value) for name, value in told.items()})


def path_from(told: Any) -> Path:
    """The path that a message names; TypeError or ValueError where no file can be called so."""
    if b"\0" in os.fsencode(_text(told)):
        raise ValueError("a path with a zero byte")
    return Path(told)


def _text(told: Any) -> str:
    if not isinstance(told, str):
        raise TypeError(f"a text is needed, not {type(told).__name__}")
    return told


@dataclass(frozen=True)
class LeftOut:
    """Something among the inputs that is not segmented: "file", "series" or "study", and why."""

    kind: str
    what: str
    why: str

    def __post_init__(self) -> None:
        for name in ("what", "why"):
            object.__setattr__(self, name, one_line(getattr(self, name)))
