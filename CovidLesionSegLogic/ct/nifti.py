"""NIfTI-1 and NIfTI-2 volumes, header and voxels, without losing an odd orientation.

Read here rather than through ITK, which refuses or silently replaces a sheared sform.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.errors import InputError

DATA_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8",
    256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class NiftiImage:
    """A 3-D NIfTI image: ``array`` (z, y, x) in stored dtype or scaled, ``affine`` 4x4 to LPS mm."""

    array: NDArray[Any]
    affine: NDArray[np.float64]
    warnings: tuple[str, ...]


def read_nifti(path: Path) -> NiftiImage:
    """Read a single-file NIfTI-1 or NIfTI-2 image (.nii, .nii.gz).

    The affine is the sform where its code is set, else the qform; with neither, axes are taken as
    NIfTI "method 1" says (i towards the patient's right) and a warning is added.

    Raises
    ------
    InputError
        When the file is damaged, has more than three dimensions, colours or complex numbers.
    """
    data = _load(path)
    order, version = _layout(data, path)
    if version == 1:
        dims = np.frombuffer(data, f"{order}i2", 8, 40).astype(int)
        datatype, bits = np.frombuffer(data, f"{order}i2", 2, 70)
        pixdim = np.frombuffer(data, f"{order}f4", 8, 76).astype(float)
        offset, slope, intercept = np.frombuffer(data, f"{order}f4", 3, 108).astype(float)
        units = data[123]
        qcode, scode = np.frombuffer(data, f"{order}i2", 2, 252)
        quatern = np.frombuffer(data, f"{order}f4", 6, 256).astype(float)
        srow = np.frombuffer(data, f"{order}f4", 12, 280).astype(float).reshape(3, 4)
    else:
        dims = np.frombuffer(data, f"{order}i8", 8, 16).astype(int)
        datatype, bits = np.frombuffer(data, f"{order}i2", 2, 12)
        pixdim = np.frombuffer(data, f"{order}f8", 8, 104)
        offset = float(np.frombuffer(data, f"{order}i8", 1, 168)[0])
        slope, intercept = np.frombuffer(data, f"{order}f8", 2, 176)
        units = int(np.frombuffer(data, f"{order}i4", 1, 500)[0])
        qcode, scode = np.frombuffer(data, f"{order}i4", 2, 344)
        quatern = np.frombuffer(data, f"{order}f8", 6, 352)
        srow = np.frombuffer(data, f"{order}f8", 12, 400).reshape(3, 4)
    shape = _shape(dims, path)
    array = _voxels(data, shape, order, int(datatype), int(bits), int(offset), path)
    if np.isfinite(slope) and slope != 0 and (slope, intercept) != (1.0, 0.0):
        array = array * np.float64(slope) + np.float64(intercept)
    warnings: list[str] = []
    if scode > 0:
        affine = np.vstack([srow, [0.0, 0.0, 0.0, 1.0]])
    elif qcode > 0:
        affine = _quaternion_affine(quatern, pixdim)
    else:
        affine = np.diag([*pixdim[1:4], 1.0])
        warnings.append(
            "The file states no orientation (qform and sform codes are 0); left and right, front "
            "and back are a guess by the NIfTI default."
        )
    affine[:3] *= MM_PER_UNIT.get(int(units) & 7, 1.0)
    return NiftiImage(array, RAS_TO_LPS @ affine, tuple(warnings))


def _load(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} cannot be unpacked ({error}), it is damaged or cut short: copy or export it "
            "again."
        ) from error


def _layout(data: bytes, path: Path) -> tuple[str, int]:
    for order, name in (("<", "little"), (">", "big")):
        if data[:4] == (348).to_bytes(4, name) and len(data) >= 348:  # type: ignore[arg-type]
            return order, 1
        if data[:4] == (540).to_bytes(4, name) and len(data) >= 540:  # type: ignore[arg-type]
            return order, 2
    raise InputError(f"{path} is not a NIfTI file (its header is missing): export the CT again.")


def _shape(dims: NDArray[Any], path: Path) -> tuple[int, int, int]:
    count = int(dims[0])
    sizes = [int(size) for size in dims[1 : count + 1]] if 1 <= count <= 7 else []
    if not sizes or min(sizes) < 1:
        raise InputError(f"{path} has an invalid NIfTI header (dim): export the CT again.")
    if any(size > 1 for size in sizes[3:]):
        text = " x ".join(map(str, sizes))
        raise InputError(
            f"{path} has {count} dimensions ({text}), but a CT has three: save one volume of it."
        )
    sizes = (sizes + [1, 1, 1])[:3]
    return sizes[2], sizes[1], sizes[0]


def _voxels(
    data: bytes,
    shape: tuple[int, int, int],
    order: str,
    datatype: int,
    bits: int,
    offset: int,
    path: Path,
) -> NDArray[Any]:
    kind = DATA_TYPES.get(datatype)
    if kind is None:
        raise InputError(
            f"{path} holds voxels of NIfTI data type {datatype} ({bits} bits: colour or complex), "
            "not Hounsfield units: export the CT as 16-bit integers."
        )
    count = int(np.prod(shape))
    dtype = np.dtype(order + kind)
    if offset < 0 or offset + count * dtype.itemsize > len(data):
        raise InputError(
            f"{path} is cut short ({len(data)} bytes for {count} voxels): copy or export it again."
        )
    array = np.frombuffer(data, dtype, count, offset).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


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
