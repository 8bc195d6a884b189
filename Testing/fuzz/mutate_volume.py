"""Mutations of volume files: the fields of a NIfTI header, the lines of NRRD and MetaImage ones."""

from __future__ import annotations

import gzip
import random
import struct

from mutate_bytes import HOSTILE_TEXT, NUMBERS, any_bytes, unpacked

NIFTI1 = {
    "sizeof_hdr": ("i", 0, 1), "dim": ("h", 40, 8), "datatype": ("h", 70, 2),
    "pixdim": ("f", 76, 8), "vox_offset": ("f", 108, 1), "scl": ("f", 112, 2),
    "units": ("B", 123, 1), "codes": ("h", 252, 2), "quatern": ("f", 256, 6),
    "srow": ("f", 280, 12), "magic": ("B", 344, 4), "extension": ("i", 348, 3),
}  # fmt: skip
NIFTI2 = {
    "sizeof_hdr": ("i", 0, 1), "datatype": ("h", 12, 2), "dim": ("q", 16, 8),
    "pixdim": ("d", 104, 8), "vox_offset": ("q", 168, 1), "scl": ("d", 176, 2),
    "codes": ("i", 344, 2), "quatern": ("d", 352, 6), "srow": ("d", 400, 12),
    "units": ("i", 500, 1), "extension": ("i", 540, 3),
}  # fmt: skip
REALS = (0.0, -0.0, -1.0, 0.5, 1e-45, 1e-30, 1e30, 3e38, 1e308, 1e-320, float("nan"), float("inf"),
         float("-inf"), 352.5, 2.0)  # fmt: skip
WHOLE = (*NUMBERS, -1, -2, 5, 7, 8, 16, 512, 30000, 1 << 40, (1 << 63) - 1, 1 << 62)
LINES = (
    b"data file: -", b"data file: /dev/zero", b"data file: LIST", b"data file: x%d.raw 0 999999 1",
    b"encoding: bz2", b"encoding: gzip", b"encoding: hex", b"line skip: 99999999", b"endian: big",
    b"byte skip: -1", b"byte skip: 99999999999", b"type: block\nblock size: 99999999",
    b"dimension: 16", b"sizes: 4294967296 4294967296 4294967296", b"spacings: nan 0 -1",
    b"space directions: none (1,0,0) (0,1,0)", b"measurement frame: (1,0,0) (0,1,0) (0,0,1)",
    b"Segment0_LabelValue:=" + b"9" * 5000, b"NDims = 10", b"DimSize = 65535 65535 65535",
    b"centers: cell cell cell", b"ElementNumberOfChannels = 100000", b"HeaderSize = -1",
    b"HeaderSize = 99999999", b"BinaryDataByteOrderMSB = True", b"CompressedData = True",
    b"CompressedDataSize = 99999999999", b"ElementDataFile = LIST\n/dev/zero\n",
    b"ElementDataFile = LOCAL", b"ElementType = MET_STRING", b"BinaryData = False",
    b"ElementDataFile = %s.raw 1 99999999 1", b"ElementSpacing = 1e-320 nan 0",
)  # fmt: skip


def mutate(data: bytes, name: str, chance: random.Random, others: list[bytes]) -> bytes:
    """One change to a header field; a gzip file is unpacked, changed and packed again."""
    if name.endswith((".nii", ".nii.gz")):
        plain = unpacked(data)
        if plain is None:
            return _nifti(data, chance)
        changed = (
            _nifti(plain, chance) if chance.random() < 0.8 else any_bytes(plain, chance, others)
        )
        if chance.random() < 0.02:
            changed += bytes(300_000_000)
        return gzip.compress(changed, 1)
    return _lines(data, chance)


def _nifti(data: bytes, chance: random.Random) -> bytes:
    fields = NIFTI2 if data[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else NIFTI1
    kind, at, count = fields[chance.choice(list(fields))]
    size = struct.calcsize(f"<{kind}")
    at += size * chance.randrange(count)
    if kind in "fd":
        value = chance.choice(REALS)
        packed = struct.pack("<d", value) if kind == "d" else _single(value)
    else:
        packed = (chance.choice(WHOLE) & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    if len(data) < at + size:
        return data
    return data[:at] + packed + data[at + size :]


def _single(value: float) -> bytes:
    try:
        return struct.pack("<f", value)
    except OverflowError:
        return struct.pack("<f", float("inf"))


def _lines(data: bytes, chance: random.Random) -> bytes:
    """The text before the voxels, line by line."""
    end = (
        data.find(b"\n\n") if data[:4] == b"NRRD" else data.find(b"\n", data.find(b"ElementDataF"))
    )
    end = end if end > 0 else len(data)
    lines = data[:end].split(b"\n")
    at = chance.randrange(len(lines))
    kind = chance.randrange(7)
    if kind <= 2:
        mark = b":" if b":" in lines[at] else b"="
        name, _, value = lines[at].partition(mark)
        words = value.split()
        if words and chance.random() < 0.7:
            words[chance.randrange(len(words))] = chance.choice(HOSTILE_TEXT).encode()
            lines[at] = name + mark + b" " + b" ".join(words)
        else:
            lines[at] = name + mark + b" " + chance.choice(HOSTILE_TEXT).encode()
    elif kind == 3:
        del lines[at]
    elif kind == 4:
        lines.insert(at, chance.choice(lines))
    elif kind == 5:
        lines.insert(at, chance.choice(LINES))
    else:
        line = chance.choice(LINES)
        mark = b":" if b":" in line else b"="
        name = line.split(mark)[0].strip()
        same = [i for i, old in enumerate(lines) if old.split(mark)[0].strip() == name]
        lines[same[0] if same else at] = line
    return b"\n".join(lines) + data[end:]
