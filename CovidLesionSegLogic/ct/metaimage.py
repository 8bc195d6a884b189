"""MetaImage volumes (.mha, .mhd): header and voxels."""

from __future__ import annotations

import io
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
    Inflated,
    StoredImage,
    check_promise,
    read_planes,
    read_text,
    three_sizes,
)
from CovidLesionSegLogic.errors import InputError

TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip

Fields = dict[str, str]


def read_metaimage(path: Path) -> StoredImage:
    """Read a scalar MetaImage (itk.org, "MetaIO/Documentation").

    Voxels in the file itself or in one beside it, raw, packed or as text.

    Raises
    ------
    InputError
        When the file is damaged, not 3-D, spread over several files, or states no voxel size.
    """
    try:
        with path.open("rb") as stream:
            fields = read_fields(stream)
            local = fields.get("elementdatafile", "").upper() == "LOCAL"
            if local:
                array = _voxels(path, fields, stream, path)
            else:
                file = data_file(path, fields.get("elementdatafile", ""))
                with file.open("rb") as data:
                    array = _voxels(path, fields, data, file)
        affine, stated = _affine(path, fields)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(
            f"{path} cannot be read ({error}), it is damaged or cut short: copy or export it again."
        ) from error
    return StoredImage(array, affine, () if stated else (no_orientation(),))


def read_fields(stream: BinaryIO) -> Fields:
    """By name in small letters, to the line after which the voxels begin."""
    fields: Fields = {}
    left = MOST_BYTES
    while left > 0 and (line := stream.readline(left)):
        left -= len(line)
        name, _, value = line.decode("latin-1").partition("=")
        fields[name.strip().lower()] = value.strip()
        if name.strip().lower() == "elementdatafile":
            return fields
    raise EOFError("it names no voxels (ElementDataFile)")


def _first(fields: Fields, *names: str) -> list[float]:
    """The numbers of the first of these fields that is there; none where no one is."""
    return next((real_numbers(fields[name]) for name in names if name in fields), [])


def _true(fields: Fields, name: str, default: bool = False) -> bool:
    return fields[name][:1].upper() in ("T", "1") if name in fields else default


def _voxels(path: Path, fields: Fields, stream: BinaryIO, file: Path) -> NDArray[Any]:
    shape = _shape(path, fields)
    kind = TYPES.get(fields.get("elementtype", "").upper())
    if kind is None:
        raise ValueError("its ElementType is unknown")
    channels = whole_numbers(fields.get("elementnumberofchannels") or "1")
    if channels != [1]:
        raise several_values(path, channels[0] if channels else 0)
    order = (
        ">"
        if _true(fields, "binarydatabyteordermsb", _true(fields, "elementbyteordermsb"))
        else "<"
    )
    dtype = np.dtype(order + kind)
    packed = _true(fields, "compresseddata")
    text = not _true(fields, "binarydata", True)
    size = file.stat().st_size
    (skip,) = whole_numbers(fields.get("headersize") or "0")
    if skip == -1 and not packed and not text:
        stream.seek(max(0, size - int(np.prod(shape, dtype=object)) * dtype.itemsize))
    elif skip > 0:
        stream.seek(min(skip, size))
    storage = "packed" if packed else "text" if text else "raw"
    check_promise(path, shape, dtype.itemsize, size - stream.tell(), storage)
    if packed:
        return read_planes(io.BufferedReader(Inflated(stream)), shape, dtype)
    return read_text(stream, shape) if text else read_planes(stream, shape, dtype)


def _shape(path: Path, fields: Fields) -> tuple[int, int, int]:
    sizes = whole_numbers(fields.get("dimsize", ""))
    if whole_numbers(fields.get("ndims", "")) != [len(sizes)] or min(sizes, default=0) < 1:
        raise ValueError("its NDims and DimSize state no size")
    return three_sizes(sizes, path)


def _affine(path: Path, fields: Fields) -> tuple[NDArray[np.float64], bool]:
    """Index to LPS mm, and whether the file says how its axes lie in the patient."""
    count = len(whole_numbers(fields["dimsize"]))
    spacing = _first(fields, "elementspacing", "elementsize")
    if len(spacing) != count or not positive([abs(value) for value in spacing[:3]]):
        raise no_voxel_size(path)  # a negative one turns its axis round, as ITK reads it
    rows = _first(fields, "transformmatrix", "orientation", "rotation")
    origin = _first(fields, "offset", "origin", "position") or [0.0] * count
    if len(rows) not in (0, count * count) or len(origin) != count:
        raise ValueError("its TransformMatrix or Offset does not fit its dimensions")
    matrix = np.reshape(rows, (count, count)) if rows else np.eye(count)
    affine = np.eye(4)
    with np.errstate(over="ignore", invalid="ignore"):  # beyond all measure: refused later on
        affine[:3, :3] = matrix[:3, :3].T * spacing[:3]  # a row of the file is an axis
    affine[:3, 3] = origin[:3]
    return affine, bool(rows)
