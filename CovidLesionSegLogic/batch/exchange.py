"""Volumes that two processes of one user exchange through files in a private folder.

A CT is ``ct.json`` (grid, dtype, identity) and ``ct.raw`` (voxels in C order); everything else
is a box of the CT's grid (:class:`~CovidLesionSegLogic.ct.box.Placed`) with a ``.raw`` file. They
are written block by block, so that a program with a window stays alive meanwhile, and read as
memory maps.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.atomic import atomic_path
from CovidLesionSegLogic.ct.box import Box, Placed
from CovidLesionSegLogic.ct.raw import RawVolume
from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.errors import InputError, RequestError, quoted

BLOCK_BYTES = 4 << 20
"""Written at a time: some milliseconds on any disk."""
CT_HEADER, CT_VOXELS = "ct.json", "ct.raw"
_DAMAGED = (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""What reading a message or a header raises when something else stands where a value should."""


def write_ct(raw: RawVolume, folder: Path) -> Iterator[tuple[int, int]]:
    """Write a CT; yields (bytes written, bytes in all) after each block.

    The header comes last: a folder with one holds a whole CT. RequestError where the disk is full
    or the folder cannot be written.
    """
    yield from write_voxels(raw.array, folder / CT_VOXELS)
    header = {
        "shape": list(raw.array.shape),
        "dtype": raw.array.dtype.str,
        "origin": list(raw.origin),
        "spacing": list(raw.spacing),
        "direction": np.asarray(raw.direction).tolist(),
        "name": raw.name,
        "where": raw.where,
        "source": raw.source,
        "warnings": list(raw.warnings),
    }
    with atomic_path(folder / CT_HEADER) as temporary:
        temporary.write_text(json.dumps(header), encoding="utf-8")


def write_voxels(array: NDArray[Any], path: Path) -> Iterator[tuple[int, int]]:
    """Write voxels in C order; yields (bytes written, bytes in all) after each block."""
    plane = max(1, array[:1].nbytes)
    step = max(1, BLOCK_BYTES // plane)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for start in range(0, len(array), step):
            file.write(np.ascontiguousarray(array[start : start + step]).data)
            yield min(len(array), start + step) * plane, array.nbytes


def open_ct(folder: Path) -> RawVolume:
    """The CT in ``folder``; its voxels are a read-only memory map.

    Raises
    ------
    InputError
        There is none, or it is damaged.
    """
    try:
        header = json.loads((folder / CT_HEADER).read_text(encoding="utf-8"))
        dtype = np.dtype(header["dtype"])
        if dtype.kind not in "iuf":
            raise ValueError(f"voxels of type {dtype}")
        array = open_voxels(folder / CT_VOXELS, _three(header["shape"]), dtype)
        raw = RawVolume(
            array=array,
            origin=tuple(header["origin"]),
            spacing=tuple(header["spacing"]),
            direction=np.asarray(header["direction"], np.float64),
            name=str(header["name"]),
            where=str(header["where"]),
            source=dict(header["source"]),
            warnings=tuple(map(str, header["warnings"])),
        )
        raw.grid()  # whether it is one
        return raw
    except _DAMAGED as error:
        raise InputError(
            f"The CT that was handed over cannot be read ({quoted(error)}): start the run again."
        ) from error


def open_voxels(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Voxels as a read-only memory map; ValueError where the file has another size."""
    expected = math.prod(shape) * dtype.itemsize
    if path.stat().st_size != expected or min(shape) < 1:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, not {expected}")
    return np.memmap(path, dtype, "r", shape=shape)


def write_placed(placed: Placed, path: Path) -> dict[str, Any]:
    """Write the voxels of a box; what a message says of them: file, start, stop, shape, dtype."""
    for _ in write_voxels(placed.array, path):
        pass
    return {
        "file": path.name,
        "start": list(placed.box.start),
        "stop": list(placed.box.stop),
        "shape": list(placed.shape),
        "dtype": placed.array.dtype.str,
    }


def write_label_map(labels: NDArray[Any], ct: CTVolume, folder: Path, name: str) -> str:
    """Write labels on the grid of ``ct`` as NRRD with a detached header; the header's file name."""
    for _ in write_voxels(labels, folder / f"{name}.raw"):
        pass
    kinds = {"u1": "uint8", "i1": "int8", "u2": "uint16", "i2": "int16"}
    z, y, x = ct.shape
    axes = (ct.direction * np.asarray(ct.spacing)).T

    def vector(values: Any) -> str:
        return f"({','.join(repr(float(v)) for v in values)})"

    lines = (
        "NRRD0004",
        f"type: {kinds[labels.dtype.str[1:]]}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {x} {y} {z}",
        f"space directions: {' '.join(map(vector, axes))}",
        "kinds: domain domain domain",
        f"endian: {sys.byteorder}",
        "encoding: raw",
        f"space origin: {vector(ct.origin)}",
        f"data file: {name}.raw",
    )
    with atomic_path(folder / f"{name}.nhdr") as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    return f"{name}.nhdr"


def open_placed(told: dict[str, Any], folder: Path) -> Placed:
    """The voxels that a message speaks of, as a read-only memory map.

    Raises
    ------
    InputError
        The message is wrong or the file damaged.
    """
    try:
        box = Box(_three(told["start"]), _three(told["stop"]))
        path = inside(folder, str(told["file"]))
        dtype = np.dtype(str(told["dtype"]))
        if dtype.kind not in "iuf":
            raise ValueError(f"voxels of type {dtype}")
        return Placed(open_voxels(path, box.shape, dtype), box, _three(told["shape"]))
    except _DAMAGED as error:
        raise InputError(
            f"Voxels that were handed over cannot be read ({quoted(error)}): start the run again."
        ) from error


def _three(values: Any) -> tuple[int, int, int]:
    z, y, x = map(int, values)
    return z, y, x


def inside(folder: Path, name: str) -> Path:
    """The file ``name`` of ``folder``; RequestError for a name that leads out of it."""
    if name in ("", "..") or "\0" in name or Path(name).name != name:
        raise RequestError(f"'{quoted(name)}' is not a file of the exchange folder.")
    return folder / name
