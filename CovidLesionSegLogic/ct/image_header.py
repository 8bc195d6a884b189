"""What ITK would fill in by a default, or complain about on standard error, found beforehand."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import numpy as np

from CovidLesionSegLogic.errors import InputError

HEADER_BYTES = 65536
ELEMENT_BYTES = {
    "MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4,
    "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4, "MET_DOUBLE": 8,
}  # fmt: skip
ANATOMICAL_SPACES = {
    name + time
    for name in (
        "right-anterior-superior", "ras", "left-anterior-superior", "las",
        "left-posterior-superior", "lps",
    )
    for time in ("", "-time", "t")
}  # fmt: skip
"""NRRD spaces that say where the patient's left, front and head are; others ("scanner-xyz",
"3D-right-handed", a bare "space dimension") only say how the axes lie to one another."""


def check_nrrd(path: Path) -> tuple[str, ...]:
    """Warnings about an NRRD header (teem.sourceforge.net/nrrd/format.html).

    Raises
    ------
    InputError
        When it states no voxel size.
    """
    head = _head(path)
    text = re.split(rb"\r?\n\r?\n", head, maxsplit=1)[0].decode("latin-1")
    lines = (line.partition(":") for line in text.splitlines() if ":" in line)
    fields = {name.strip().lower(): value.strip() for name, _, value in lines}
    space = fields.get("space", "")
    return _judge(
        path,
        size=_any(fields, "space directions", "spacings"),
        direction="space directions" in fields and space.lower() in ANATOMICAL_SPACES,
        space=space,
    )


def check_metaimage(path: Path) -> tuple[str, ...]:
    """Warnings about a MetaImage header.

    Raises
    ------
    InputError
        When it states no voxel size, or its data is absent or cut short.
    """
    head = _head(path)
    fields: dict[str, str] = {}
    end = 0
    for match in re.finditer(rb"[ \t]*(\w+)[ \t]*=[ \t]*([^\r\n]*)\r?\n?", head):
        fields[match[1].decode("latin-1").lower()] = match[2].decode("latin-1").strip()
        end = match.end()
        if match[1].lower() == b"elementdatafile":
            break
    _check_data(path, fields, end)
    return _judge(
        path,
        size=_any(fields, "elementspacing", "elementsize"),
        direction=_any(fields, "transformmatrix", "orientation", "rotation"),
    )


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(HEADER_BYTES)


def _any(fields: Collection[str], *names: str) -> bool:
    return any(name in fields for name in names)


def _judge(path: Path, *, size: bool, direction: bool, space: str = "") -> tuple[str, ...]:
    if not size:
        raise InputError(
            f"{path} states no voxel size, without which volumes cannot be measured: add the "
            "spacing (mm) to its header, or export the CT again."
        )
    if direction:
        return ()
    said = f" in the patient (its space is '{space}')" if space else ""
    return (
        f"The file states no orientation{said}; its axes were taken as patient left, posterior, "
        "superior.",
    )


def _check_data(path: Path, fields: dict[str, str], end: int) -> None:
    """Whether the voxels are all there; unusual layouts (LIST, patterns) are left to ITK."""
    name = fields.get("elementdatafile", "")
    local = name.upper() == "LOCAL"
    data = path if local else path.parent / name
    if not name or "%" in name or name.upper().startswith("LIST"):
        return
    try:
        present = data.is_file()
    except OSError:  # no right to look, a name too long
        present = False
    if not present:
        raise InputError(
            f"{path} cannot be read, its data file {name} is missing: copy both files together."
        )
    if fields.get("compresseddata", "").lower() == "true":
        needed = fields.get("compresseddatasize", "0")
        wanted = int(needed) if needed.isdigit() else 0
    else:
        sizes = [int(word) for word in fields.get("dimsize", "").split() if word.isdigit()]
        channels = fields.get("elementnumberofchannels", "1")
        each = ELEMENT_BYTES.get(fields.get("elementtype", ""), 0)
        wanted = int(np.prod(sizes, dtype=object)) * each * int(channels or 1) if sizes else 0
    if data.stat().st_size - (end if local else 0) < wanted:
        raise InputError(
            f"{path} cannot be read, it is damaged or cut short: copy or export it again."
        )
