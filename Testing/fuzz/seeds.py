"""Small valid inputs of every kind that the readers know: what the mutations start from."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path

import numpy as np
from dicom_writer import make_hu, write_multiframe, write_series
from numpy.typing import NDArray
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

SHAPE = (4, 40, 36)
SYNTAXES = {
    "implicit": ImplicitVRLittleEndian,
    "big": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "rle": RLELossless,
    "jpegls": JPEGLSLossless,
    "jpeg2000": JPEG2000Lossless,
}
NAMES_TABLE = (
    '<?xml version="1.0"?><CaretExtension><VolumeInformation><LabelTable>'
    '<Label Key="1"><![CDATA[right lung]]></Label><Label Key="2">left &amp; lung</Label>'
    "</LabelTable></VolumeInformation></CaretExtension>"
)


def write_seeds(root: Path) -> None:
    """One folder per seed, named KIND-WHAT; KIND is "dicom", "image", "mask" or "table"."""
    hu = make_hu(SHAPE)
    _dicom(root, hu)
    _images(root, hu, "image")
    _images(root, _mask(), "mask")
    _tables(root)


def _mask() -> NDArray[np.uint8]:
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:3, 3:9, 1:4] = 1
    mask[1:3, 3:9, 6:9] = 2
    return mask


def _dicom(root: Path, hu: NDArray[np.int16]) -> None:
    write_series(root / "dicom-explicit", hu, seed=1)
    write_series(root / "dicom-signed", hu, signed=True, intercept=0, bits_stored=12)
    write_series(root / "dicom-monochrome1", hu, monochrome1=True)
    write_series(root / "dicom-tilted", hu, tilt_degrees=15)
    for name, syntax in SYNTAXES.items():
        write_series(root / f"dicom-{name}", hu, transfer_syntax=syntax)
    program = shutil.which("dcmcjpeg")
    if program is not None:
        for name, option in (("lossless", "+e1"), ("lossy", "+ee")):
            files = write_series(root / f"dicom-jpeg-{name}", hu, bits_stored=12)
            for file in files:
                packed = file.with_suffix(".packed")
                run = subprocess.run([program, option, file, packed], capture_output=True)
                if run.returncode == 0:
                    packed.replace(file)
    (root / "dicom-enhanced").mkdir()
    write_multiframe(
        root / "dicom-enhanced" / "ct.dcm", hu, intercepts=[-1024.0, -1000.0, -1024.0, -1024.0]
    )


def _images(root: Path, array: NDArray[np.generic], kind: str) -> None:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.75, 0.8, 2.0))
    image.SetOrigin((-10.0, -20.0, -100.0))
    for what, name, packed in (
        ("nifti", "ct.nii", False),
        ("nifti-gz", "ct.nii.gz", True),
        ("nrrd-raw", "ct.nrrd", False),
        ("nrrd-gzip", "ct.nrrd", True),
        ("nhdr", "ct.nhdr", False),
        ("mha", "ct.mha", False),
        ("mha-zlib", "ct.mha", True),
        ("mhd", "ct.mhd", False),
    ):
        folder = root / f"{kind}-{what}"
        folder.mkdir()
        if kind == "mask" and "nrrd" in what:
            image.SetMetaData("Segment0_Name", "left lung")
            image.SetMetaData("Segment0_LabelValue", "2")
        sitk.WriteImage(image, str(folder / name), packed)
    _nrrd_as_text(root / f"{kind}-nrrd-text", array)
    _nifti(root / f"{kind}-nifti-scaled" / "ct.nii", array, slope=1.0, table=True)
    _nifti(root / f"{kind}-nifti2" / "ct.nii.gz", array, version=2, table=True)


def _nrrd_as_text(folder: Path, array: NDArray[np.generic]) -> None:
    folder.mkdir()
    z, y, x = array.shape
    head = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\n"
        f"sizes: {x} {y} {z}\nspace directions: (0.75,0,0) (0,0.8,0) (0,0,2)\nkinds: domain domain "
        "domain\nencoding: text\nspace origin: (-10,-20,-100)\n\n"
    )
    (folder / "ct.nrrd").write_text(head + " ".join(map(str, array.ravel().tolist())) + "\n")


def _nifti(
    path: Path,
    array: NDArray[np.generic],
    *,
    version: int = 1,
    slope: float = 0.0,
    table: bool = False,
) -> None:
    """Written field by field (nifti1.h, nifti2.h), for ITK writes neither NIfTI-2 nor tables."""
    path.parent.mkdir()
    code = {"int16": 4, "uint8": 2}[array.dtype.name]
    note = NAMES_TABLE.encode() if table else b""
    note += b"\0" * (-(len(note) + 8) % 16)
    size = 348 if version == 1 else 540
    offset = size + 4 + 8 + len(note)
    head = np.zeros(size, np.uint8)

    def put(kind: str, at: int, *values: float) -> None:
        head[at : at + np.dtype(kind).itemsize * len(values)] = np.array(values, kind).view("u1")

    dims, pixdim = (3, *array.shape[::-1], 1, 1, 1, 1), (1, 0.75, 0.8, 2.0, 0, 0, 0, 0)
    srow = (-0.75, 0, 0, 10.0, 0, -0.8, 0, 20.0, 0, 0, 2.0, -100.0)
    put("<i4", 0, size)
    if version == 1:
        put("<i2", 40, *dims)
        put("<i2", 70, code, array.dtype.itemsize * 8)
        put("<f4", 76, *pixdim)
        put("<f4", 108, offset, slope, 0.0)
        put("<u1", 123, 2)
        put("<i2", 252, 1, 1)
        put("<f4", 256, 0, 0, 1, 10.0, 20.0, -100.0)
        put("<f4", 280, *srow)
        head[344:348] = list(b"n+1\0")
    else:
        head[4:12] = list(b"n+2\0\r\n\x1a\n")
        put("<i2", 12, code, array.dtype.itemsize * 8)
        put("<i8", 16, *dims)
        put("<f8", 104, *pixdim)
        put("<i8", 168, offset)
        put("<f8", 176, slope, 0.0)
        put("<i4", 344, 1, 1)
        put("<f8", 352, 0, 0, 1, 10.0, 20.0, -100.0)
        put("<f8", 400, *srow)
        put("<i4", 500, 2)
    extension = b"\1\0\0\0" + np.array([8 + len(note), 30], "<i4").tobytes() + note
    data = head.tobytes() + extension + array.tobytes()
    path.write_bytes(gzip.compress(data, 1) if path.name.endswith(".gz") else data)


def _tables(root: Path) -> None:
    (root / "table-cases").mkdir()
    (root / "table-cases" / "cases.csv").write_text(
        "input,name,series,lungs,regions,region_names\n"
        'ct.nii.gz,Case 1,,lungs.nii.gz,lobes.nii.gz,"1=left upper lobe,2=left lower lobe"\n'
        "series,,1.2.3.4,,,\n"
    )
    (root / "table-names").mkdir()
    (root / "table-names" / "names.json").write_text('{"1": "left upper lobe", "2": "lingula"}\n')
