"""Voxels of a file into an array: never more memory than the file can fill.

Written here for the readers of NIfTI, NRRD and MetaImage. ITK's own readers of the last two trust
the text of a header (long words, patterns in file names) and can be made to crash the process.
"""

from __future__ import annotations

import io
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.errors import InputError, one_line

MOST_VOXELS = 1 << 33
"""2,000 slices of 2,048 x 2,048 pixels; what states more is no CT."""
SMALLEST_SHARE = {"raw": 1.0, "packed": 1 / 1032, "text": 2.0}
"""Bytes of the file for a byte (in text: for a voxel); deflate never packs closer (RFC 1951)."""
SPARE_BYTES = 1 << 24
"""So much may stand before or behind the voxels of a packed file."""
LONGEST_NUMBER = 60


@dataclass(frozen=True, eq=False)
class StoredImage:
    """A 3-D image: ``array`` (z, y, x), scaled; ``affine`` 4x4 from index to LPS mm."""

    array: NDArray[Any]
    affine: NDArray[np.float64]
    warnings: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "warnings", tuple(map(one_line, self.warnings)))


def three_sizes(sizes: list[int], path: Path) -> tuple[int, int, int]:
    """(z, y, x) of axes given as (x, y, z, 1, ...); InputError for any other number of axes."""
    if len(sizes) < 3 or any(size != 1 for size in sizes[3:]):
        text = " x ".join(map(str, sizes[:8]))
        raise InputError(
            f"{path} has {len(sizes)} dimensions ({text}), but a CT has three: save one volume of "
            "it, or give the whole series."
        )
    x, y, z = sizes[:3]
    return z, y, x


def check_promise(
    path: Path, shape: tuple[int, ...], item_bytes: int, present: int, storage: str = "raw"
) -> None:
    """Refuse, before any memory is taken, a file that cannot hold the voxels its header states.

    Parameters
    ----------
    shape, item_bytes
        As the header states them.
    present
        Bytes of the file that can be voxels.
    storage
        "raw", "packed" (deflate) or "text".

    Raises
    ------
    InputError
        When they cannot be there, or are more than any CT has.
    """
    voxels = math.prod(shape)
    wanted = voxels * (1 if storage == "text" else item_bytes)
    said = " x ".join(str(size) for size in reversed(shape))
    if wanted * SMALLEST_SHARE[storage] > present + 1:  # the last number needs no blank
        raise InputError(
            f"{path} states {said} voxels, more than it holds, so it is damaged or cut short: copy "
            "or export it again."
        )
    if voxels > MOST_VOXELS:
        raise InputError(
            f"{path} states {said} voxels, more than any CT has: give a single CT volume."
        )


def read_planes(
    stream: BinaryIO, shape: tuple[int, int, int], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """The next voxels of a stream, in the machine's byte order; EOFError where they end early."""
    array = np.empty(shape, dtype)
    for plane in array:
        if stream.readinto(plane.view(np.uint8).reshape(-1)) != plane.nbytes:  # type: ignore[attr-defined]
            raise EOFError("the voxels end early")
    if not dtype.isnative:
        array = array.byteswap(inplace=True).view(dtype.newbyteorder("="))
    return array


def read_text(stream: BinaryIO, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """Voxels written as text; ValueError for what is no number, EOFError where they end early."""
    words = stream.read().replace(b",", b" ").split()[: math.prod(shape)]
    if len(words) < math.prod(shape):
        raise EOFError("the voxels end early")
    if max(map(len, words)) > LONGEST_NUMBER:
        raise ValueError("a voxel is no number")
    return np.array(words).astype(np.float64).reshape(shape)


def finish(stream: BinaryIO, path: Path) -> None:
    """Read a packed stream to its end, where its checksum is compared.

    Raises
    ------
    InputError
        When far more follows than the header states: the file would only fill the memory.
    """
    left = SPARE_BYTES
    while left > 0 and (part := stream.read(1 << 20)):
        left -= len(part)
    if left <= 0:
        raise InputError(f"{path} unpacks to far more than its header states: export the CT again.")


class Inflated(io.RawIOBase):
    """Unpacks zlib or gzip data as they are asked for, never more at a time."""

    def __init__(self, packed: BinaryIO) -> None:
        self._packed = packed
        self._unpack = zlib.decompressobj(zlib.MAX_WBITS | 32)  # either of the two

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Some of the next bytes; 0 at the end."""
        while not self._unpack.eof:
            data = self._unpack.unconsumed_tail or self._packed.read(1 << 16)
            if not data:
                break
            part = self._unpack.decompress(data, len(buffer))
            if part:
                buffer[: len(part)] = part
                return len(part)
        return 0
