"""Whether an image file that was just written is whole.

ITK's writers of NIfTI and NRRD look at no result of their writing: on a full disk they say that
all went well and leave a file that is cut short, or empty.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from CovidLesionSegLogic.ct import metaimage, nrrd
from CovidLesionSegLogic.ct.header_text import whole_numbers

_PIECE = 1 << 20


def is_whole(path: Path) -> bool:
    """Whether a file of our writers (.nii, .nii.gz, .nrrd or .mha) holds all of its voxels.

    They are unpacked, which compares checksums, and counted; no more than a piece is kept.
    """
    name = path.name.lower()
    try:
        with path.open("rb") as file:
            if name.endswith((".nii", ".nii.gz")):
                packed = name.endswith(".gz")
                return _nifti(gzip.GzipFile(fileobj=file) if packed else file)  # type: ignore[arg-type]
            return _nrrd(file) if name.endswith(".nrrd") else _metaimage(file)
    except (OSError, EOFError, zlib.error, ValueError, KeyError, IndexError):
        return False


def _nifti(stream: BinaryIO) -> bool:
    """NIfTI-1: ``dim`` at 40, ``bitpix`` at 72 and ``vox_offset`` at 108 of the header."""
    head = stream.read(348)
    dim = np.frombuffer(head[40:56], np.int16)
    (bits,) = np.frombuffer(head[72:74], np.int16)
    (offset,) = np.frombuffer(head[108:112], np.float32)
    voxels = math.prod(map(int, dim[1 : dim[0] + 1]))
    return len(head) + _count(_pieces(stream)) == int(offset) + voxels * int(bits) // 8


def _nrrd(file: BinaryIO) -> bool:
    fields = nrrd.read_fields(file)
    wanted = math.prod(whole_numbers(fields["sizes"])) * _bytes(nrrd.TYPES[fields["type"]])
    packed = nrrd.STORAGE[fields["encoding"]] == "packed"
    voxels = gzip.GzipFile(fileobj=file) if packed else file
    return _count(_pieces(voxels)) == wanted  # type: ignore[arg-type]


def _metaimage(file: BinaryIO) -> bool:
    fields = metaimage.read_fields(file)
    kind = metaimage.TYPES[fields["elementtype"]]
    wanted = math.prod(whole_numbers(fields["dimsize"])) * _bytes(kind)
    if fields.get("compresseddata") != "True":
        return _count(_pieces(file)) == wanted
    unpacker = zlib.decompressobj()
    found = _count(_unpacked(unpacker, file))
    return unpacker.eof and found == wanted


def _bytes(kind: str) -> int:
    return np.dtype(kind).itemsize


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    while piece := stream.read(_PIECE):
        yield piece


def _unpacked(unpacker: zlib._Decompress, file: BinaryIO) -> Iterator[bytes]:
    for piece in _pieces(file):
        rest = piece
        while rest and not unpacker.eof:
            yield unpacker.decompress(rest, _PIECE)
            rest = unpacker.unconsumed_tail
    yield unpacker.flush()


def _count(pieces: Iterator[bytes]) -> int:
    return sum(map(len, pieces))
