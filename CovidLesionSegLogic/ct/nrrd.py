"""NRRD volumes (.nrrd, .nhdr): header and voxels."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.header_text import (
    MOST_BYTES,
    data_file,
    no_orientation,
    no_voxel_size,
    positive,
    real_numbers,
    several_values,
    whole_numbers,
)
from CovidLesionSegLogic.ct.voxels import (
    SPARE_BYTES,
    StoredImage,
    check_promise,
    finish,
    read_planes,
    read_text,
    three_sizes,
)
from CovidLesionSegLogic.errors import InputError

_NAMES = {
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, "
    "int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
}
TYPES = {name: kind for kind, names in _NAMES.items() for name in names.split(", ")}
STORAGE = {"raw": "raw", "gzip": "packed", "gz": "packed", "text": "text", "txt": "text",
           "ascii": "text"}  # fmt: skip
_TO_LPS = {
    "right-anterior-superior": (-1.0, -1.0, 1.0), "ras": (-1.0, -1.0, 1.0),
    "left-anterior-superior": (1.0, -1.0, 1.0), "las": (1.0, -1.0, 1.0),
    "left-posterior-superior": (1.0, 1.0, 1.0), "lps": (1.0, 1.0, 1.0),
}  # fmt: skip
"""NRRD spaces that say where the patient's left, front and head are; others ("scanner-xyz",
"3D-right-handed", a bare "space dimension") only say how the axes lie to one another."""
SPACES = {name + time: to for name, to in _TO_LPS.items() for time in ("", "-time", "t")}
PLACES = ("domain", "space", "time", "???", "none")
"""Kinds of axes along which the values lie in space, or that are not said to be any other."""
_SPELLINGS = {name.replace(" ", ""): name for name in (
    "axis mins", "byte skip", "data file", "line skip", "space directions", "space origin",
)} | {"centerings": "centers"}  # fmt: skip
"""Of field names, as teem takes them."""
_VECTOR = re.compile(r"\(([^()]*)\)|none", re.IGNORECASE)

Fields = dict[str, str]
Vector = list[float] | None


def read_nrrd(path: Path) -> StoredImage:
    """Read a scalar NRRD (teem.sourceforge.net/nrrd/format.html).

    Voxels in the file itself or in one beside it, raw, packed by gzip or as text.

    Raises
    ------
    InputError
        When the file is damaged, not 3-D, spread over several files, in another encoding, or states
        no voxel size.
    """
    try:
        with path.open("rb") as stream:
            fields = read_fields(stream)
            sizes, axes, vectors = _axes(path, fields)
            shape = three_sizes([sizes[axis] for axis in axes], path)
            affine, warnings = _affine(path, fields, axes[:3], vectors)
            name = fields.get("data file")
            if name is None:
                array = _voxels(path, fields, shape, stream, path)
            else:
                file = data_file(path, name)
                with file.open("rb") as data:
                    array = _voxels(path, fields, shape, data, file)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(
            f"{path} cannot be read ({error}), it is damaged or cut short: copy or export it again."
        ) from error
    return StoredImage(array, affine, warnings)


def read_fields(stream: BinaryIO) -> Fields:
    """By teem's name, to the empty line; without keys of the writer's own (":=")."""
    fields: Fields = {}
    left = MOST_BYTES
    while left > 0 and (line := stream.readline(left)).strip(b"\r\n"):
        left -= len(line)
        name, found, value = line.decode("latin-1").partition(":")
        name = name.strip().lower()
        if not found or value.startswith("=") or name.startswith("#"):
            continue
        name = _SPELLINGS.get(name, name)
        if name in fields:
            raise ValueError(f"it states '{name[:40]}' twice")
        fields[name] = value.strip()
    if left <= 0:
        raise ValueError("its header does not end")
    return fields


def _axes(path: Path, fields: Fields) -> tuple[list[int], list[int], list[Vector]]:
    """Sizes, the axes that lie in space, and these axes' directions (empty where not stated)."""
    sizes = whole_numbers(fields.get("sizes", ""))
    if whole_numbers(fields.get("dimension", "")) != [len(sizes)] or min(sizes, default=0) < 1:
        raise ValueError("its dimension and sizes state no size")
    found = list(_VECTOR.finditer(fields.get("space directions", "")))[: len(sizes) + 1]
    vectors: list[Vector] = [None if m[1] is None else real_numbers(m[1]) for m in found]
    if vectors and len(vectors) != len(sizes):
        raise ValueError("its space directions do not fit its dimension")
    kinds = fields.get("kinds", "").lower().split()
    values = [
        (bool(vectors) and vectors[axis] is None)
        or (len(kinds) == len(sizes) and kinds[axis] not in PLACES)
        for axis in range(len(sizes))
    ]
    within = math.prod(size for size, value in zip(sizes, values, strict=True) if value)
    if within > 1 and not all(values):
        raise several_values(path, within)
    kept = [axis for axis, value in enumerate(values) if not value]
    return sizes, kept, [vectors[axis] for axis in kept] if vectors else []


def _affine(
    path: Path, fields: Fields, axes: list[int], vectors: list[Vector]
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    affine = np.eye(4)
    space = fields.get("space", "")
    if not vectors:
        affine[:3, :3], affine[:3, 3] = _without_space(path, fields, axes)
        return affine, (_unplaced(space),)
    if any(vector is None or len(vector) < 3 for vector in vectors[:3]):
        raise ValueError("its space directions do not fit its dimension")
    affine[:3, :3] = np.array([vector[:3] for vector in vectors[:3] if vector is not None]).T
    origin = _VECTOR.fullmatch(fields.get("space origin", "(0,0,0)"))
    numbers = real_numbers(origin[1] or "") if origin is not None else []
    if len(numbers) < 3:
        raise ValueError("its space origin is no place")
    affine[:3, 3] = numbers[:3]
    to_lps = SPACES.get(space.lower())
    if to_lps is None:
        return affine, (_unplaced(space),)
    affine[:3] *= np.array(to_lps)[:, None]
    return affine, ()


def _unplaced(space: str) -> str:
    return no_orientation(f" in the patient (its space is '{space[:40]}')" if space else "")


def _without_space(
    path: Path, fields: Fields, axes: list[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Directions and origin of a file that has only the distances of its voxels, mm."""
    spacings = _of(axes, real_numbers(fields.get("spacings", "")))
    if len(spacings) < 3 or not positive(spacings):
        raise no_voxel_size(path)
    least = _of(axes, real_numbers(fields.get("axis mins", "")))
    if len(least) < 3 or not np.isfinite(least).all():
        return np.diag(spacings), np.zeros(3)
    centres = fields.get("centers", "").lower().split()
    # the least place of a cell is its edge
    inward = [0.0 if centres[axis : axis + 1] == ["node"] else 0.5 for axis in axes]
    return np.diag(spacings), np.array(least) + np.array(inward) * spacings


def _of(axes: list[int], values: list[float]) -> list[float]:
    return [values[axis] for axis in axes if axis < len(values)]


def _voxels(
    path: Path, fields: Fields, shape: tuple[int, int, int], stream: BinaryIO, file: Path
) -> NDArray[Any]:
    kind, encoding = TYPES.get(fields.get("type", "").lower()), fields.get("encoding", "").lower()
    if kind is None:
        raise ValueError("its type is unknown")
    storage = STORAGE.get(encoding)
    if storage is None:
        raise InputError(
            f"{path} has its voxels in the encoding '{encoding}': save it in the encoding gzip or "
            "raw."
        )
    endian = fields.get("endian", "").lower()
    if kind[1] != "1" and storage != "text" and endian not in ("little", "big"):
        raise ValueError("it states no byte order (endian)")
    dtype = np.dtype((">" if endian == "big" else "<") + kind)
    skip = _skip(fields, stream)
    size = file.stat().st_size
    if skip == -1 and storage == "raw":
        stream.seek(max(0, size - math.prod(shape) * dtype.itemsize))
    elif storage == "raw":
        stream.seek(min(stream.tell() + skip, size))
    check_promise(path, shape, dtype.itemsize, size - stream.tell(), storage)
    if storage == "text":
        return read_text(stream, shape)
    if storage == "raw":
        return read_planes(stream, shape, dtype)
    begin = stream.tell()
    with gzip.GzipFile(fileobj=stream) as unpacked:
        if skip == -1:  # counted first: what is skipped may be of any length
            skip = _before(unpacked, math.prod(shape) * dtype.itemsize)
            stream.seek(begin)
    with gzip.GzipFile(fileobj=stream) as unpacked:
        unpacked.read(skip)
        array = read_planes(unpacked, shape, dtype)  # type: ignore[arg-type]
        finish(unpacked, path)  # type: ignore[arg-type]
    return array


def _before(unpacked: gzip.GzipFile, wanted: int) -> int:
    """Bytes before the last ``wanted`` ones; ValueError where they are too many."""
    there = 0
    while there <= wanted + SPARE_BYTES and (part := unpacked.read(1 << 20)):
        there += len(part)
    if there > wanted + SPARE_BYTES:
        raise ValueError("it skips more than any header needs")
    return max(0, there - wanted)


def _skip(fields: Fields, stream: BinaryIO) -> int:
    """Bytes to skip, -1 where the voxels lie at the end; the lines are skipped here."""
    (lines,) = whole_numbers(fields.get("line skip", "0"))
    (skip,) = whole_numbers(fields.get("byte skip", "0"))
    if not 0 <= lines <= MOST_BYTES or not -1 <= skip <= SPARE_BYTES:
        raise ValueError("it skips more than any header needs")
    for _ in range(lines):
        if not stream.readline(MOST_BYTES):
            break
    return skip
