"""Mutations of DICOM data elements: tag, value representation, length, value (PS3.5 7.1)."""

from __future__ import annotations

import random
import struct
import zlib
from dataclasses import dataclass

from mutate_bytes import HOSTILE_TEXT, NUMBERS

LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
VRS = (b"AE", b"CS", b"DA", b"DS", b"IS", b"LO", b"OB", b"OW", b"PN", b"SQ", b"SS", b"UI", b"UL",
       b"UN", b"US", b"UT", b"XX", b"\0\0")  # fmt: skip
ENDLESS = 0xFFFFFFFF
DEFLATED = b"1.2.840.10008.1.2.1.99"
SYNTAXES = (
    b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.2", DEFLATED,
    b"1.2.840.10008.1.2.5", b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.4.51",
    b"1.2.840.10008.1.2.4.57", b"1.2.840.10008.1.2.4.70", b"1.2.840.10008.1.2.4.80",
    b"1.2.840.10008.1.2.4.81", b"1.2.840.10008.1.2.4.90", b"1.2.840.10008.1.2.4.92",
    b"1.2.840.10008.1.2.4.100", b"1.2.840.10008.1.2.4.110", b"1.2.840.10008.1.2.4.201", b"9.9",
)  # fmt: skip
NUMERIC = (b"DS", b"IS")
REALS = (
    "0",
    "-1",
    "1e308",
    "1e-320",
    "1e9",
    "1e16",
    "-1e5",
    "nan",
    "inf",
    "0.5",
    "1e400",
    "9" * 400,
)
TAGS = (0x00080008, 0x00080016, 0x0008103E, 0x00100010, 0x00180088, 0x00200032, 0x00200037,
        0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00280030, 0x00280100, 0x00280101,
        0x00280102, 0x00280103, 0x00280120, 0x00281052, 0x00281053, 0x7FE00010)  # fmt: skip


@dataclass(frozen=True)
class Element:
    """Where a data element lies in the file: its start, its value's start and its end."""

    tag: int
    vr: bytes
    start: int
    value: int
    end: int


def elements(data: bytes) -> list[Element]:
    """Elements of a little endian file, those in sequences too, as far as they can be followed."""
    found: list[Element] = []
    at = 132 if data[128:132] == b"DICM" else 0
    explicit = True
    while at + 8 <= len(data):
        group, number = struct.unpack_from("<HH", data, at)
        if group > 2 and found and found[-1].tag >> 16 == 2:
            explicit = data[at + 4 : at + 6].isalpha() and data[at + 4 : at + 6].isupper()
        vr = data[at + 4 : at + 6] if explicit and group != 0xFFFE else b""
        if vr in LONG:
            value, length = at + 12, int.from_bytes(data[at + 8 : at + 12], "little")
        elif vr:
            value, length = at + 8, int.from_bytes(data[at + 6 : at + 8], "little")
        else:
            value, length = at + 8, int.from_bytes(data[at + 4 : at + 8], "little")
        inside = length == ENDLESS or vr == b"SQ" or group == 0xFFFE
        tag = group << 16 | number
        end = value if inside else min(value + length, len(data))
        found.append(Element(tag, vr, at, value, end))
        if tag == 0x7FE00010:
            found[-1] = Element(tag, vr, at, value, len(data))
            break
        at = end
    return found


def mutate(data: bytes, chance: random.Random) -> bytes:
    """The file with one element changed, taken out, doubled, moved or added."""
    if DEFLATED in data[:400] and chance.random() < 0.7:
        return _below_deflation(data, chance)
    known = elements(data)
    if not known:
        return data
    one = chance.choice(known)
    whole = data[one.start : one.end]
    kind = chance.randrange(9)
    if kind <= 3:
        return _replaced(data, one, _value(one, data, chance))
    if kind == 4:  # the length alone
        size = 2 if one.vr and one.vr not in LONG else 4
        said = chance.choice((*NUMBERS, one.end - one.value + chance.choice((-2, -1, 1, 2))))
        packed = (said & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        return data[: one.value - size] + packed + data[one.value :]
    if kind == 5 and one.vr:
        return data[: one.start + 4] + chance.choice(VRS) + data[one.start + 6 :]
    if kind == 6:
        tag = chance.choice((*TAGS, chance.choice(known).tag, chance.getrandbits(32)))
        packed = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
        return data[: one.start] + packed + data[one.start + 4 :]
    if kind == 7:
        return data[: one.start] + data[one.end :]
    at = chance.choice(known).start
    return data[:at] + whole * chance.choice((1, 1, 3, 300)) + data[at:]


def _value(one: Element, data: bytes, chance: random.Random) -> bytes:
    if one.tag == 0x00020010:
        value = chance.choice(SYNTAXES)
        return value + b"\0" * (len(value) % 2)
    if one.vr in (b"US", b"SS", b"UL", b"SL") or (not one.vr and one.end - one.value in (2, 4)):
        size = one.end - one.value
        return (chance.choice(NUMBERS) & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    if one.vr in NUMERIC and chance.random() < 0.6:
        words = data[one.value : one.end].decode("latin-1").split("\\")
        words[chance.randrange(len(words))] = chance.choice(REALS)
        value = "\\".join(words).encode("latin-1")
    else:
        value = chance.choice(HOSTILE_TEXT).encode("utf-8")
    return value + b" " * (len(value) % 2)


def _replaced(data: bytes, one: Element, value: bytes) -> bytes:
    size = 2 if one.vr and one.vr not in LONG else 4
    value = value[: (1 << 8 * size) - 2]
    said = len(value).to_bytes(size, "little")
    return data[: one.value - size] + said + value + data[one.end :]


def _below_deflation(data: bytes, chance: random.Random) -> bytes:
    meta = [e for e in elements(data) if e.tag >> 16 == 2]
    end = meta[-1].end if meta else 0
    try:
        plain = zlib.decompress(data[end:], -zlib.MAX_WBITS)
    except zlib.error:
        return data
    changed = mutate(plain, chance)
    if chance.random() < 0.1:
        changed += bytes(100_000_000)
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return data[:end] + packer.compress(changed) + packer.flush()
