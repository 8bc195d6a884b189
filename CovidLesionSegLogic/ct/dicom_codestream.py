"""The size that a compressed image itself states, which decoders believe more than the header."""

from __future__ import annotations

from typing import BinaryIO

JPEG_START = b"\xff\xd8"
JPEG2000_START = b"\xff\x4f\xff\x51"
_FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""SOF of JPEG (ISO/IEC 10918-1 B.1.1.3) and of JPEG-LS (ISO/IEC 14495-1 C.1.1)."""
MOST_SEGMENTS = 200


def stated_size(stream: BinaryIO, end: int) -> tuple[int, int] | None:
    """Rows and columns of the JPEG, JPEG-LS or JPEG 2000 image at the stream's place.

    None where none begins there, or where it states no size before ``end``.
    """
    start = stream.tell()
    head = stream.read(min(4096, max(0, end - start)))
    if head[:2] == JPEG_START:
        return _jpeg(stream, start + 2, end)
    boxed = head[4:8] == b"jP  "  # the file format around the image, which PS3.5 A.4.4 forbids
    at = head.find(JPEG2000_START) if boxed else 0
    if at < 0 or not head.startswith(JPEG2000_START, at) or len(head) < at + 24:
        return None
    # SIZ (ISO/IEC 15444-1 A.5.1): Lsiz, Rsiz, then the grid's size and the image's place in it
    width, height, left, top = (
        int.from_bytes(head[at + place : at + place + 4], "big") for place in (8, 12, 16, 20)
    )
    return height - top, width - left


def _jpeg(stream: BinaryIO, place: int, end: int) -> tuple[int, int] | None:
    for _ in range(MOST_SEGMENTS):
        if place + 9 > end:
            return None
        stream.seek(place)
        segment = stream.read(9)
        if len(segment) < 9 or segment[0] != 0xFF:
            return None
        if segment[1] == 0xFF:  # a fill byte
            place += 1
        elif segment[1] in _FRAME_MARKERS:
            return int.from_bytes(segment[5:7], "big"), int.from_bytes(segment[7:9], "big")
        else:
            place += 2 + int.from_bytes(segment[2:4], "big")
    return None
