"""Mutations of any file, and of gzip files below their compression."""

from __future__ import annotations

import gzip
import random
import zlib

NUMBERS = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
HOSTILE_TEXT = (
    "", " ", "0", "-1", "1e308", "-1e308", "1e-320", "nan", "inf", "99999999999999999999", "²",
    "9" * 5000, "1\\2", "../../../../etc/passwd", "/dev/zero", "-", "a" * 70000, "%s%n%d", "=1+1",
    "<script>alert(1)</script>", "\x1b[2J\x07\r\nerror: forged", "\u202egnp.exe", "\0", "65535",
    "NaN NaN NaN", "(nan,0,0) (0,inf,0) (0,0,0)", "2147483647 2147483647 2147483647",
    "1 2 3 4 5 6 7 8 9",
)  # fmt: skip


def any_bytes(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """One blind change: flips, runs, cuts, copies, pieces of another file."""
    out = bytearray(data)
    at = chance.randrange(len(out) + 1)
    length = min(len(out) - at, 1 << chance.randrange(10))
    kind = chance.randrange(8)
    if kind == 0:
        for _ in range(1 << chance.randrange(6)):
            if out:
                out[chance.randrange(len(out))] ^= 1 << chance.randrange(8)
    elif kind == 1:
        size = chance.choice((1, 2, 4, 8))
        value = chance.choice(NUMBERS) & ((1 << 8 * size) - 1)
        out[at : at + size] = value.to_bytes(size, chance.choice(("little", "big")))
    elif kind == 2:
        del out[at : at + length]
    elif kind == 3:
        out[at:at] = bytes(chance.randrange(256) for _ in range(length))
    elif kind == 4:
        del out[at:]
    elif kind == 5:
        out[at:at] = out[at : at + length] * chance.choice((1, 2, 50))
    elif kind == 6:
        out[at : at + length] = chance.choice((b"\0", b"\xff", b" ", b"9")) * length
    else:
        other = chance.choice(others)
        start = chance.randrange(len(other) + 1)
        out[at : at + length] = other[start : start + length]
    return bytes(out)


def unpacked(data: bytes) -> bytes | None:
    """What a small gzip file holds; None for anything else."""
    if data[:2] != b"\x1f\x8b":
        return None
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return None
