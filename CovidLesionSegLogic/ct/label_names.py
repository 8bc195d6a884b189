"""Names of labels that a label map file itself carries."""

from __future__ import annotations

import gzip
import html
import os
import re
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from CovidLesionSegLogic.ct.formats import detect_format
from CovidLesionSegLogic.ct.header_text import MOST_BYTES
from CovidLesionSegLogic.errors import InputError, one_line

LONGEST_NAME = 200
_SEGMENT = re.compile(r"(Segment\d+)_(Name|LabelValue):=(.*)")
_LABEL = re.compile(
    r"""(?=\s)[^<>]{0,300}?\bKey\s{0,9}=\s{0,9}["'](\d{1,9})["'][^<>]{0,300}>\s{0,99}"""
    r"""(?:<!\[CDATA\[(.{0,999}?)\]\]>|([^<]{0,999}))\s{0,99}</Label>""",
    re.DOTALL,
)


def read_label_names(path: str | os.PathLike[str]) -> dict[int, str]:
    """Names by label value, as far as the file states them; empty where it does not.

    Read are the segments of a Slicer segmentation (``.seg.nrrd``: ``SegmentN_Name`` and
    ``SegmentN_LabelValue``) and the label table in the extended header of a NIfTI file
    (``CaretExtension``), where TotalSegmentator's multi-label output has its class names.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    path = Path(path).expanduser()
    kind = detect_format(path)
    try:
        if kind == "nrrd":
            return _segments(_nrrd_header(path))
        if kind == "nifti":
            return _label_table(_nifti_extensions(path))
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} cannot be read ({error}), it is damaged or cut short: copy or export it again."
        ) from error
    return {}


def _nrrd_header(path: Path) -> str:
    lines = []
    left = MOST_BYTES
    with path.open("rb") as stream:
        while left > 0 and (line := stream.readline(left)).strip():
            left -= len(line)
            lines.append(line)
    return b"".join(lines).decode("utf-8", errors="replace")


def _segments(header: str) -> dict[int, str]:
    found: dict[str, dict[str, str]] = {}
    for line in header.splitlines():
        match = _SEGMENT.match(line)
        if match is not None:
            found.setdefault(match[1], {})[match[2]] = match[3].strip()
    return {
        int(segment["LabelValue"]): one_line(segment["Name"], LONGEST_NAME)
        for segment in found.values()
        if segment.get("Name") and re.fullmatch("[0-9]{1,9}", segment.get("LabelValue", ""))
    }


def _nifti_extensions(path: Path) -> str:
    """Everything between the header and the voxels (nifti1.h: vox_offset, extension list)."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream: BinaryIO = gzip.GzipFile(fileobj=file) if packed else file  # type: ignore[assignment]
        head = stream.read(540)
        order = "<" if head[:4] in (b"\x5c\x01\0\0", b"\x1c\x02\0\0") else ">"
        size = int(np.frombuffer(head, f"{order}i4", 1)[0])
        kind, at = ("f4", 108) if size == 348 else ("i8", 168)
        if len(head) < at + 8:
            raise EOFError("the header ends early")
        offset = float(np.frombuffer(head, order + kind, 1, at)[0])
        if not size < offset <= MOST_BYTES:
            return ""
        stream.seek(size)
        return stream.read(int(offset) - size).decode("utf-8", errors="replace")


def _label_table(text: str) -> dict[int, str]:
    # By pattern, not by an XML reader: what a stranger's file declares is not expanded.
    names = {}
    for part in text.split("<Label")[1:]:  # no pattern may look further than to the next label
        match = _LABEL.match(part)
        name = "" if match is None else one_line(match[2] or html.unescape(match[3] or ""), 200)
        if match is not None and name and int(match[1]) > 0:
            names[int(match[1])] = name
    return names
