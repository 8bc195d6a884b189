"""DICOM files in the deflated transfer syntax (PS3.5 A.5), unpacked no further than they state.

A few kilobytes can unpack to gigabytes. pydicom and GDCM unpack all at once, so the length is
measured, piece by piece, before either of them sees the file.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pydicom.tag import BaseTag

DEFLATED = "1.2.840.10008.1.2.1.99"
MOST_HEADER_BYTES = 1 << 22
"""pydicom takes a second for some megabytes of senseless elements."""
SPARE_BYTES = 1 << 20
"""So much may follow the pixels: padding, signatures."""
_PLAIN = b"1.2.840.10008.1.2.1".ljust(len(DEFLATED), b"\0")


def packed_part(stream: BinaryIO) -> int | None:
    """Where the deflated data set begins; None where the file is in another transfer syntax.

    The stream is left at its start.
    """
    from pydicom.filereader import read_dataset, read_preamble

    def ends(tag: BaseTag, vr: str | None, length: int) -> bool:
        return tag.group != 2

    try:
        if DEFLATED.encode() not in stream.read(1 << 14):
            return None
        stream.seek(0)
        read_preamble(stream, force=True)
        meta = read_dataset(stream, False, True, stop_when=ends)
        deflated = str(meta.get("TransferSyntaxUID") or "").strip() == DEFLATED
        return stream.tell() if deflated else None
    finally:
        stream.seek(0)


def plain_header(stream: BinaryIO, start: int) -> BinaryIO:
    """The file as if it had not been deflated, without what lies behind its first 4 MiB."""
    meta = stream.read(start).replace(DEFLATED.encode(), _PLAIN)
    head = bytearray()
    for part in _unpacked(stream, start):
        head += part
        if len(head) >= MOST_HEADER_BYTES:
            break
    return io.BytesIO(meta + bytes(head))


def pixels_unpacked(stream: BinaryIO, start: int, before: int, promised: int) -> bool:
    """Whether the pixels are all there: ``promised`` bytes after the first ``before``.

    Raises
    ------
    ValueError
        When far more than that is there.
    """
    total = 0
    for part in _unpacked(stream, start):
        total += len(part)
        if total > before + promised + SPARE_BYTES:
            raise ValueError("it unpacks to far more than its header states")
    return total >= before + promised


def _unpacked(stream: BinaryIO, start: int) -> Iterator[bytes]:
    stream.seek(start)
    unpack = zlib.decompressobj(-zlib.MAX_WBITS)
    while not unpack.eof:
        data = unpack.unconsumed_tail or stream.read(1 << 16)
        if not data:
            return
        yield unpack.decompress(data, 1 << 20)
