"""NIfTI-1 and NIfTI-2 volumes, header and voxels, without losing an odd orientation.

Read here rather than through ITK, which refuses or silently replaces a sheared sform.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.voxels import (
    SPARE_BYTES,
    StoredImage,
    check_promise,
    finish,
    read_planes,
    three_sizes,
)
from CovidLesionSegLogic.errors import InputError

DATA_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8",
    256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_nifti(path: Path) -> StoredImage:
    """Read a single-file NIfTI-1 or NIfTI-2 image (.nii, .nii.gz).

    The affine is the sform where its code is set, else the qform; with neither, axes are taken as
    NIfTI "method 1" says (i towards the patient's right) and a warning is added.

    Raises
    ------
    InputError
        When the file is damaged, has more than three dimensions, colours or complex numbers.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            stream: BinaryIO = gzip.GzipFile(fileobj=file) if packed else file  # type: ignore[assignment]
            header = _header(stream.read(540), path)
            array = _voxels(stream, header, path, packed=packed)
            if packed:
                finish(stream, path)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} cannot be unpacked ({error}), it is damaged or cut short: copy or export it "
            "again."
        ) from error
    with np.errstate(all="ignore"):  # what is no number is judged with the whole affine
        affine, warnings = _affine(header)
        affine[:3] *= MM_PER_UNIT.get(header.units & 7, 1.0)
        affine = RAS_TO_LPS @ affine
    return StoredImage(array, affine, warnings)


@dataclass(frozen=True)
class _Header:
    order: str
    shape: tuple[int, int, int]
    datatype: int
    offset: int
    scale: tuple[float, float]
    units: int
    pixdim: NDArray[np.float64]
    qform: tuple[int, NDArray[np.float64]]
    sform: tuple[int, NDArray[np.float64]]


def _header(data: bytes, path: Path) -> _Header:
    """The fields that matter, at the byte offsets of nifti1.h and nifti2.h."""
    order, version = _layout(data, path)

    def get(kind: str, count: int, offset: int) -> NDArray[Any]:
        values = np.frombuffer(data, order + kind, count, offset)
        with np.errstate(invalid="ignore"):  # some kinds of NaN complain when they are converted
            return values.astype(np.float64 if kind[0] == "f" else np.int64)

    if version == 1:
        dims, (datatype,), pixdim = get("i2", 8, 40), get("i2", 1, 70), get("f4", 8, 76)
        offset, slope, intercept = get("f4", 3, 108)
        codes, quatern, srow = get("i2", 2, 252), get("f4", 6, 256), get("f4", 12, 280)
        units = data[123]
    else:
        dims, (datatype,), pixdim = get("i8", 8, 16), get("i2", 1, 12), get("f8", 8, 104)
        (offset,), (slope, intercept) = get("i8", 1, 168), get("f8", 2, 176)
        codes, quatern, srow = get("i4", 2, 344), get("f8", 6, 352), get("f8", 12, 400)
        units = int(get("i4", 1, 500)[0])
    scaled = np.isfinite([slope, intercept]).all() and slope != 0
    if not np.isfinite(offset):
        raise InputError(f"{path} has an invalid NIfTI header (vox_offset): export the CT again.")
    return _Header(
        order=order,
        shape=_shape(dims, path),
        datatype=int(datatype),
        offset=int(offset),
        scale=(float(slope), float(intercept)) if scaled else (1.0, 0.0),
        units=units,
        pixdim=pixdim,
        qform=(int(codes[0]), quatern),
        sform=(int(codes[1]), srow.reshape(3, 4)),
    )


def _layout(data: bytes, path: Path) -> tuple[str, int]:
    for order in "<>":
        for version, size in ((1, 348), (2, 540)):
            if data[:4] == np.array(size, f"{order}i4").tobytes() and len(data) >= size:
                return order, version
    raise InputError(f"{path} is not a NIfTI file (its header is missing): export the CT again.")


def _shape(dims: NDArray[Any], path: Path) -> tuple[int, int, int]:
    count = int(dims[0])
    sizes = [int(size) for size in dims[1 : count + 1]] if 1 <= count <= 7 else []
    if not sizes or min(sizes) < 1:
        raise InputError(f"{path} has an invalid NIfTI header (dim): export the CT again.")
    return three_sizes([*sizes, 1, 1][: max(3, count)], path)


def _voxels(stream: BinaryIO, header: _Header, path: Path, *, packed: bool) -> NDArray[Any]:
    """The scaled voxels: int16 where they fit, else as stored or float32; no second copy."""
    kind = DATA_TYPES.get(header.datatype)
    if kind is None:
        raise InputError(
            f"{path} holds voxels of NIfTI data type {header.datatype} (colour, complex or bits), "
            "not Hounsfield units: export the CT as 16-bit integers."
        )
    dtype = np.dtype(header.order + kind)
    size = path.stat().st_size
    offset = max(header.offset, 0)
    if offset > (SPARE_BYTES if packed else size):
        raise EOFError("the voxels begin behind its end")
    check_promise(
        path, header.shape, dtype.itemsize, size - (0 if packed else offset),
        "packed" if packed else "raw",
    )  # fmt: skip
    stream.seek(offset)
    array = read_planes(stream, header.shape, dtype)
    slope, intercept = header.scale
    if (slope, intercept) == (1.0, 0.0):
        return array
    ends = [float(array.min()) * slope + intercept, float(array.max()) * slope + intercept]
    whole = array.dtype.kind in "iu" and slope.is_integer() and intercept.is_integer()
    fits = whole and min(ends) >= -32768 and max(ends) <= 32767
    scaled = np.empty(header.shape, np.int16 if fits else np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # infinity is refused with the values
        for target, plane in zip(scaled, array, strict=True):
            target[...] = plane * np.float64(slope) + intercept
    return scaled


def _affine(header: _Header) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Index to RAS in the file's units; the sform where it is usable, else the qform."""
    (qcode, quatern), (scode, srow) = header.qform, header.sform
    qform = _quaternion_affine(quatern, header.pixdim)
    sform = np.vstack([srow, [0.0, 0.0, 0.0, 1.0]])
    usable = bool(np.isfinite(sform).all()) and abs(np.linalg.det(sform[:3, :3])) > 1e-9
    if scode > 0 and (usable or qcode <= 0):
        corner = np.array([*header.shape[::-1], 1.0])
        apart = np.abs((sform - qform) @ corner).max()
        if qcode > 0 and apart > max(1.0, *np.abs(header.pixdim[1:4])):
            return sform, (
                f"The file's two orientations (sform and qform) differ by up to {apart:.0f}; the "
                "sform was used.",
            )
        return sform, ()
    if qcode > 0:
        return qform, ()
    return np.diag([*header.pixdim[1:4], 1.0]), (
        "The file states no orientation (qform and sform codes are 0); left and right, front "
        "and back are a guess by the NIfTI default.",
    )


def _quaternion_affine(quatern: NDArray[Any], pixdim: NDArray[Any]) -> NDArray[np.float64]:
    """The qform (NIfTI-1 "method 2"): rotation from (b, c, d), qfac in pixdim[0], RAS."""
    b, c, d, *shift = (float(value) for value in quatern)
    a = np.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )
    sizes = np.array(pixdim[1:4], dtype=float)
    sizes[2] *= -1.0 if pixdim[0] < 0 else 1.0
    affine = np.eye(4)
    affine[:3, :3] = rotation * sizes
    affine[:3, 3] = shift
    return affine
