"""DICOM files as files: which ones are, and whether they are whole (PS3.5, PS3.10)."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from CovidLesionSegLogic.ct.dicom_codestream import stated_size

if TYPE_CHECKING:
    from pydicom import Dataset

ITEM = b"\xfe\xff\x00\xe0"
SEQUENCE_END = b"\xfe\xff\xdd\xe0"
FIRST_VRS = (b"UI", b"UL", b"CS", b"LO", b"SH", b"DA")


def looks_like_dicom(path: Path) -> bool:
    """Whether the file has the DICOM mark, or starts as old files without preamble do.

    Devices and pipes, which may never end, have not.

    Raises
    ------
    OSError
        When the file cannot be opened.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        return False
    with path.open("rb") as stream:
        head = stream.read(132)
    if len(head) < 132:
        return False
    if head[128:132] == b"DICM":
        return True
    # written before Part 10 existed: an element of group 0002 or 0008 comes first
    group = head[0] in (2, 8) and head[1] == 0 and head[3] == 0
    return group and (head[4:6] in FIRST_VRS or head[6:8] == b"\0\0")


class BoundedFile(io.BufferedReader):
    """A file that never makes room for more than it holds, whatever length an element states."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._length = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """At most what is left."""
        if size is not None and size > io.DEFAULT_BUFFER_SIZE:
            size = max(0, min(size, self._length - self.tell()))
        return super().read(size)


def native_length(dataset: Dataset) -> int:
    """Bytes of the pixels of a file that does not compress them (PS3.5 8.1.1)."""
    bits = int(dataset.get("BitsAllocated") or 16) * int(dataset.get("SamplesPerPixel") or 1)
    pixels = int(dataset.get("Rows") or 0) * int(dataset.get("Columns") or 0)
    return pixels * int(dataset.get("NumberOfFrames") or 1) * bits // 8


def pixels_complete(stream: BinaryIO, dataset: Dataset) -> bool:
    """Whether the pixel data at the stream's place is all there, judged by its stated lengths.

    Decoders fill what is missing with grey or zeros, so a cut file must be noticed before.

    Raises
    ------
    ValueError
        When a compressed image states another size than the header: the decoder would make room
        for it.
    """
    meta = getattr(dataset, "file_meta", None)
    syntax = meta.get("TransferSyntaxUID") if meta is not None else None
    start = stream.tell()
    size = os.fstat(stream.fileno()).st_size
    if start >= size:
        return False
    if syntax is None or not syntax.is_encapsulated:
        return start + 8 + native_length(dataset) <= size
    header = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    stream.seek(start + 12)  # tag, VR, reserved, undefined length
    while True:
        item = stream.read(8)
        if item[:4] == SEQUENCE_END:
            return True
        end = stream.tell() + int.from_bytes(item[4:], "little")
        if len(item) < 8 or item[:4] != ITEM or end > size:
            return False
        stated = stated_size(stream, end)
        if stated is not None and stated != header:
            raise ValueError(
                f"its compressed image states {stated[1]} x {stated[0]} pixels, its header "
                f"{header[1]} x {header[0]}"
            )
        stream.seek(end)
