"""A chest of boxes with five lobes whose volumes and lesions are known by heart."""

from __future__ import annotations

import gzip
import struct

import numpy as np

from CovidLesionSegLogic.ct.volume import CTVolume

# Lobe, label in TotalSegmentator's task "total", side, first slice and last + 1, lesion in voxels.
LOBES = (
    ("right upper lobe", 12, 1, 12, 20, 0),
    ("right middle lobe", 13, 1, 8, 12, 9),
    ("right lower lobe", 14, 1, 0, 8, 100),
    ("left upper lobe", 10, 2, 10, 20, 250),
    ("left lower lobe", 11, 2, 0, 10, 400),
)


def lobed_case():
    """CT of 20 x 10 x 12 voxels (1 mL each), labels (1 and 2), lungs, lobes as in TotalSegmentator.

    Right lobes have 400, 200 and 400 voxels, left ones 500 each. Shares in percent: 0, 4.5, 25, 50
    and 80; scores 0, 1, 2, 4 and 5; together 12 of 25. Odd voxels of lesion are consolidation.
    """
    shape = (20, 10, 12)
    lungs, lobes, labels = (np.zeros(shape, np.uint8) for _ in range(3))
    for _, label, side, low, high, lesion in LOBES:
        columns = slice(0, 5) if side == 1 else slice(7, 12)
        box = (slice(low, high), slice(0, 10), columns)
        lungs[box], lobes[box] = side, label
        inside = np.zeros(lobes[box].shape, np.uint8)
        inside.ravel()[:lesion] = 1 + np.arange(lesion) % 2
        labels[box] = inside
    ct = CTVolume(np.where(lungs > 0, -800, 40).astype(np.int16), spacing=(10.0, 10.0, 10.0))
    return ct, labels, lungs, lobes


def write_nifti(path, ct, array, names=None):
    """A label map as NIfTI-1; with ``names`` their table in the extended header.

    The table is laid out as TotalSegmentator writes it (``nifti_ext_header.py``, version 2).
    """
    extension = b""
    if names is not None:
        rows = "".join(
            f'<Label Key="{key}" Red="1.0" Green="0.0" Blue="0.0" Alpha="1">'
            f"<![CDATA[{name}]]></Label>\n"
            for key, name in names.items()
        )
        text = (
            '<?xml version="1.0" encoding="UTF-8"?> <CaretExtension>  <Date>'
            '<![CDATA[2013-07-14T05:45:09]]></Date>   <VolumeInformation Index="0">   '
            f"<LabelTable>\n{rows}\n  </LabelTable>  <VolumeType><![CDATA[Label]]></VolumeType>   "
            "</VolumeInformation></CaretExtension>"
        ).encode()
        size = -(-(len(text) + 8) // 16) * 16
        extension = struct.pack("<2i", size, 0) + text.ljust(size - 8, b"\0")
    header = bytearray(348)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *ct.shape[::-1], 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 2, 8)
    struct.pack_into("<8f", header, 76, 1, *ct.spacing, 1, 1, 1, 1)
    struct.pack_into("<3f", header, 108, 352 + len(extension), 1, 0)
    header[123] = 2
    struct.pack_into("<2h", header, 252, 0, 1)
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ ct.affine
    struct.pack_into("<12f", header, 280, *ras[:3].ravel())
    header[344:348] = b"n+1\0"
    start = bytes([1 if extension else 0, 0, 0, 0])
    data = bytes(header) + start + extension + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)


def write_seg_nrrd(path, ct, array, names):
    """A label map as Slicer's segmentation file, one layer."""
    nz, ny, nx = array.shape
    head = [
        "NRRD0004", "type: unsigned char", "dimension: 3", "space: left-posterior-superior",
        f"sizes: {nx} {ny} {nz}",
        "space directions: " + " ".join(
            f"({','.join(f'{v:g}' for v in ct.affine[:3, axis])})" for axis in range(3)
        ),
        "kinds: domain domain domain", "encoding: raw",
        f"space origin: ({','.join(f'{v:g}' for v in ct.origin)})",
    ]  # fmt: skip
    for n, (label, name) in enumerate(names.items()):
        head += [
            f"Segment{n}_ID:=Segment_{n}", f"Segment{n}_LabelValue:={label}",
            f"Segment{n}_Layer:=0", f"Segment{n}_Name:={name}",
        ]  # fmt: skip
    path.write_bytes("\n".join(head).encode() + b"\n\n" + array.astype(np.uint8).tobytes())
