"""Hostile input: every reader reads it or refuses it in one sentence, within the file's means."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_writer import make_hu, write_multiframe, write_series
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from sentences import UNCLEAN, checked

from CovidLesionSegLogic.batch.find import find_studies
from CovidLesionSegLogic.batch.naming import named
from CovidLesionSegLogic.batch.study import LeftOut
from CovidLesionSegLogic.batch.summary_page import summary_html
from CovidLesionSegLogic.ct import CTVolume, list_series, read_ct, read_labels, write_image
from CovidLesionSegLogic.ct.dicom_header import read_headers
from CovidLesionSegLogic.ct.dicom_open import open_dicom
from CovidLesionSegLogic.ct.label_names import read_label_names
from CovidLesionSegLogic.errors import InputError, RequestError, one_line
from CovidLesionSegLogic.outputs.names import file_stem
from CovidLesionSegLogic.quantify.regions import parse_region_names, read_regions

HU = make_hu((4, 40, 36))
BOMB = bytes(100_000_000)
MEGABYTE = 1 << 20
HOSTILE = "<script>alert(1)</script>\x1b[31m\r\nerror: forged \u202egnp=../../etc/passwd"
quick = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@contextlib.contextmanager
def frugal() -> Iterator[None]:
    """What stands within must not take more than 64 MiB."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * MEGABYTE


def read_or_refused(path: Path, **options: Any) -> str:
    """ "" where a CT was read, the sentence where it was refused; nothing else may happen."""
    try:
        with frugal():
            ct = read_ct(path, **options)
    except InputError as error:
        return checked(error)
    assert np.isfinite(ct.array).all()
    assert np.isfinite(ct.affine).all()
    assert UNCLEAN.search("".join(ct.warnings)) is None
    return ""


def volume(array: np.ndarray = HU) -> CTVolume:
    return CTVolume(array, (-120.5, 30.25, 7.0), (0.7, 0.8, 2.5))


def patch(path: Path, at: int, data: bytes) -> Path:
    """A file, packed or not, with bytes in it replaced."""
    packed = path.suffix == ".gz"
    old = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    new = old[:at] + data + old[at + len(data) :]
    path.write_bytes(gzip.compress(new, 1) if packed else new)
    return path


# --- bombs -------------------------------------------------------------------------------------


def deflated(tmp_path: Path, change: Callable[[bytes], bytes]) -> Path:
    """A series in the deflated syntax, what lies below the compression changed."""
    for file in write_series(tmp_path / "s", HU, transfer_syntax=DeflatedExplicitVRLittleEndian):
        data = file.read_bytes()
        length = 144 + int.from_bytes(data[140:144], "little")  # PS3.10 7.1: the group's length
        plain = change(zlib.decompress(data[length:], -zlib.MAX_WBITS))
        pack = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
        file.write_bytes(data[:length] + pack.compress(plain) + pack.flush())
    return tmp_path / "s"


def test_deflated_dicom_that_holds_more_than_it_states(tmp_path: Path) -> None:
    folder = deflated(tmp_path, lambda plain: plain + BOMB)
    assert "unpacks to far more" in read_or_refused(folder)
    (one, *_) = sorted(folder.iterdir())
    with frugal(), pytest.raises(ValueError, match="far more"):
        open_dicom(one)


def test_deflated_dicom_with_a_header_of_gigabytes(tmp_path: Path) -> None:
    element = b"\x09\0\x10\x10OB\0\0" + len(BOMB).to_bytes(4, "little") + BOMB
    message = read_or_refused(deflated(tmp_path, lambda plain: element + plain))
    assert message


def test_deflated_dicom_that_ends_early(tmp_path: Path) -> None:
    assert "cut short" in read_or_refused(deflated(tmp_path, lambda plain: plain[:-500]))


def test_deflated_dicom_with_a_little_behind_the_pixels_is_read(tmp_path: Path) -> None:
    padding = b"\xfc\xff\xfc\xffOB\0\0" + (64).to_bytes(4, "little") + bytes(64)
    assert read_or_refused(deflated(tmp_path, lambda plain: plain + padding)) == ""


def bomb_nifti(folder: Path) -> Path:
    path = write_image(HU, volume(), folder / "a.nii")
    packed = folder / "a.nii.gz"
    packed.write_bytes(gzip.compress(path.read_bytes() + BOMB, 1))
    return packed


def bomb_nrrd(folder: Path) -> Path:
    path = write_image(HU, volume(), folder / "a.nrrd")
    head = path.read_bytes().split(b"\n\n")[0]
    path.write_bytes(head + b"\n\n" + gzip.compress(HU.tobytes() + BOMB, 1))
    return path


@pytest.mark.parametrize("bomb", [bomb_nifti, bomb_nrrd])
def test_gzip_that_unpacks_to_more_than_its_header_states(
    tmp_path: Path, bomb: Callable[[Path], Path]
) -> None:
    bomb(tmp_path)
    path = next(p for p in tmp_path.iterdir() if p.suffix != ".nii")
    assert "far more than its header states" in read_or_refused(path)


def test_packed_voxels_behind_those_stated_are_not_unpacked(tmp_path: Path) -> None:
    path = write_image(HU, volume(), tmp_path / "a.mha")
    head = path.read_bytes().split(b"LOCAL\n")[0]
    head = re.sub(rb"CompressedDataSize = \d+", b"CompressedDataSize = 99999999", head)
    path.write_bytes(head + b"LOCAL\n" + zlib.compress(HU.tobytes() + BOMB, 1))
    with frugal():
        ct = read_ct(path)
    np.testing.assert_array_equal(ct.array, HU)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_header_that_states_more_than_the_file_can_hold(tmp_path: Path, suffix: str) -> None:
    path = write_image(HU, volume(), tmp_path / f"a{suffix}")
    if "nii" in suffix:
        patch(path, 40, np.array([3, 32767, 32767, 32767], "<i2").tobytes())
    else:
        data = path.read_bytes()
        assert b"36 40 4" in data
        path.write_bytes(data.replace(b"36 40 4", b"65535 65535 65535"))
    assert "more than it holds" in read_or_refused(path)


def test_nifti_2_whose_sizes_overflow(tmp_path: Path) -> None:
    head = bytearray(544)
    head[:12] = struct.pack("<i8s", 540, b"n+2\0\r\n\x1a\n")
    head[12:16] = struct.pack("<hh", 4, 16)
    for sizes in (
        (1 << 62, 1 << 62, 1 << 62),
        (1 << 32, 1 << 32, 3),
        (-(1 << 62), 3, 3),
        (0, 3, 3),
    ):
        head[16:80] = struct.pack("<8q", 3, *sizes, 1, 1, 1, 1)
        (tmp_path / "a.nii").write_bytes(bytes(head) + bytes(5000))
        assert read_or_refused(tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("syntax", "mark", "places"),
    [(JPEG2000Lossless, b"\xff\x4f\xff\x51", (8, 12)), (JPEGLSLossless, b"\xff\xf7", (5, 7))],
)
def test_a_compressed_image_of_another_size_than_its_header_says(
    tmp_path: Path, syntax: str, mark: bytes, places: tuple[int, int]
) -> None:
    """OpenJPEG and CharLS would make room for it."""
    size = 4 if syntax == JPEG2000Lossless else 2
    for file in write_series(tmp_path, HU, transfer_syntax=syntax):
        at = file.read_bytes().index(mark)
        for place in places:
            patch(file, at + place, (20000).to_bytes(size, "big"))
    assert "20000 x 20000" in read_or_refused(tmp_path)


def test_a_length_beyond_the_end_of_the_file_takes_no_memory(tmp_path: Path) -> None:
    for file in write_series(tmp_path, HU):
        data = file.read_bytes()
        at = data.index(b"\x08\0\x60\0CS")  # Modality becomes a text of 4 GB
        file.write_bytes(data[:at] + b"\x08\0\x60\0UT\0\0\xfe\xff\xff\xff" + data[at + 8 :])
    assert read_or_refused(tmp_path)


def test_a_matrix_larger_than_any_ct(tmp_path: Path) -> None:
    def change(dataset: Any, k: int) -> None:
        dataset.Rows = dataset.Columns = 65535

    files = write_series(tmp_path, HU[:3], transfer_syntax=RLELossless)
    for file in files:
        dataset = dcmread(file)
        change(dataset, 0)
        dataset.save_as(file)
    assert "more than any CT has" in read_or_refused(tmp_path)


# --- crashes of ITK's readers --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"kinds: domain domain domain", b"kinds: domain " + b"a" * 70000 + b" domain"),
        (b"dimension: 3", b"dimension: " + b"9" * 5000),
        (b"sizes: 36 40 4", b"sizes: 36 40 4\nsizes: 1 1 1"),
        (b"encoding: gzip", b"encoding: bzip2"),
        (b"encoding: gzip", b"encoding: gzip\ndata file: /dev/zero"),
        (b"encoding: gzip", b"encoding: gzip\ndata file: -"),
        (b"encoding: gzip", b"encoding: gzip\ndata file: x%03d.raw 1 99999999 1"),
        (b"encoding: gzip", b"encoding: gzip\nbyte skip: 99999999999"),
        (b"space directions: (", b"space directions: (nan"),
    ],
)
def test_nrrd_headers_that_are_no_ct(tmp_path: Path, old: bytes, new: bytes) -> None:
    path = write_image(HU, volume(), tmp_path / "a.nrrd")
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    message = read_or_refused(path)
    assert message or b"kinds" in old  # an unknown kind of axis matters to nobody
    assert len(message) < 2100


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"ElementDataFile = LOCAL", b"ElementDataFile = %s%s%n.raw 1 99999999 1"),
        (b"ElementDataFile = LOCAL", b"ElementDataFile = LIST\n/dev/zero"),
        (b"ElementDataFile = LOCAL", b"ElementDataFile = /dev/zero"),
        (b"ElementDataFile = LOCAL", b"ElementDataFile = \0"),
        (b"ElementDataFile = LOCAL", b"ElementDataFile = " + b"a" * 70000),
        (b"NDims = 3", b"NDims = 99"),
        (b"DimSize = 36 40 4", "DimSize = 36 40 ²".encode("latin-1")),
        (b"DimSize = 36 40 4", b"DimSize = 36 40 " + b"9" * 5000),
        (b"DimSize = 36 40 4", b"DimSize = -36 -40 4"),
        (b"ElementType = MET_SHORT", b"ElementType = MET_SHORT\nElementNumberOfChannels = x"),
        (b"ElementType = MET_SHORT", b"ElementType = " + b"MET_" * 20000),
        (b"ElementSpacing = ", b"ElementSpacing = 1e-9 "),
        (b"ElementSpacing = ", b"ElementSpacing = 0 0 0 "),
    ],
)
def test_metaimage_headers_that_are_no_ct(tmp_path: Path, old: bytes, new: bytes) -> None:
    path = write_image(HU, volume(), tmp_path / "a.mha")
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    assert read_or_refused(path)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("text", [b" ", b"a", b"a ", b"<Label ", b"(", b"=", b"1 "])
def test_a_header_of_one_letter_over_and_over_is_judged_at_once(
    tmp_path: Path, suffix: str, text: bytes
) -> None:
    path = write_image(HU, volume(), tmp_path / f"a{suffix}")
    data = path.read_bytes()
    at = data.index(b"sizes:" if suffix == ".nrrd" else b"DimSize")
    path.write_bytes(data[:at] + text * 100_000 + data[at:])
    read_or_refused(path)


def write_pixels(path: Path, head: str, array: np.ndarray, order: str = "<") -> Path:
    path.write_bytes(head.encode() + array.astype(f"{order}i2").tobytes())
    return path


def test_nrrd_layouts(tmp_path: Path) -> None:
    """Big endian, skipped lines and bytes, text, voxels at the end: as the format describes."""
    head = "NRRD0004\ntype: int16\ndimension: 3\nsizes: 36 40 4\nspacings: 0.7 0.8 2.5\n"
    big = write_pixels(tmp_path / "big.nrrd", head + "encoding: raw\nendian: big\n\n", HU, ">")
    np.testing.assert_array_equal(read_ct(big).array, HU)
    skipped = head + "encoding: raw\nendian: little\nline skip: 1\nbyte skip: 3\n\na line\nabc"
    np.testing.assert_array_equal(
        read_ct(write_pixels(tmp_path / "skipped.nrrd", skipped, HU)).array, HU
    )
    last = head + "encoding: raw\nendian: little\nbyte skip: -1\n\nanything"
    np.testing.assert_array_equal(read_ct(write_pixels(tmp_path / "l.nrrd", last, HU)).array, HU)
    words = " ".join(map(str, HU.ravel().tolist()))
    (tmp_path / "text.nrrd").write_text(f"{head}encoding: ascii\n\n{words}")
    np.testing.assert_array_equal(read_ct(tmp_path / "text.nrrd").array, HU)
    (tmp_path / "text.nrrd").write_text(f"{head}encoding: ascii\n\n{words[:-4]} one")
    assert "damaged" in read_or_refused(tmp_path / "text.nrrd")


@pytest.mark.parametrize("space", ["left-anterior-superior", "right-anterior-superior", "LPS"])
def test_nrrd_geometry_is_that_of_itk(tmp_path: Path, space: str) -> None:
    import SimpleITK as sitk

    path = tmp_path / "a.nrrd"
    head = (
        f"NRRD0005\ntype: short\ndimension: 3\nspace: {space}\nsizes: 36 40 4\nspace directions: "
        "(0.6,0.8,0) (-0.8,0.6,0) (0,0,2.5)\nkinds: domain domain domain\nendian: little\n"
        "encoding: raw\nspace origin: (-10,20,-30.5)\n\n"
    )
    write_pixels(path, head, HU)
    image = sitk.ReadImage(str(path))
    ct = read_ct(path)
    corner = image.TransformIndexToPhysicalPoint((35, 0, 3))
    np.testing.assert_allclose((ct.affine @ (35, 0, 3, 1))[:3], corner, atol=1e-9)


def test_metaimage_layouts(tmp_path: Path) -> None:
    head = "NDims = 3\nDimSize = 36 40 4\nElementType = MET_SHORT\nElementSpacing = 0.7 0.8 2.5\n"
    text = head + "BinaryData = False\nElementDataFile = LOCAL\n"
    words = " ".join(map(str, HU.ravel().tolist()))
    (tmp_path / "text.mha").write_text(text + words)
    np.testing.assert_array_equal(read_ct(tmp_path / "text.mha").array, HU)
    big = head + "BinaryDataByteOrderMSB = True\nElementDataFile = LOCAL\n"
    np.testing.assert_array_equal(
        read_ct(write_pixels(tmp_path / "big.mha", big, HU, ">")).array, HU
    )
    (tmp_path / "a.raw").write_bytes(b"a header" + HU.astype("<i2").tobytes())
    for skip in ("8", "-1"):
        (tmp_path / "a.mhd").write_text(head + f"HeaderSize = {skip}\nElementDataFile = a.raw\n")
        np.testing.assert_array_equal(read_ct(tmp_path / "a.mhd").array, HU)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    for name in ("a.dcm", "a.csv", "a.json", "a.raw"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "a.nhdr").write_text(
        "NRRD0004\ntype: short\ndimension: 3\nsizes: 36 40 4\nspacings: 1 1 1\nencoding: raw\n"
        "endian: little\ndata file: a.raw\n\n"
    )
    assert "missing" in read_or_refused(tmp_path / "a.nhdr")
    for name in ("a.dcm", "a.c*"):
        with pytest.raises((RequestError, InputError)):
            find_studies([str(tmp_path / name) + "*"])
    with pytest.raises(RequestError, match="no file"):
        parse_region_names(str(tmp_path / "a.json"))


# --- NIfTI fields --------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, 1e9])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_voxels_at_no_place(tmp_path: Path, value: float, suffix: str) -> None:
    path = write_image(HU, volume(), tmp_path / f"a{suffix}")
    assert read_or_refused(patch(path, 108, np.array([value], "<f4").tobytes()))


@pytest.mark.parametrize("value", [0, np.nan, np.inf, 1e30, 1e-30])
def test_nifti_without_a_size_of_voxels(tmp_path: Path, value: float) -> None:
    path = write_image(HU, volume(), tmp_path / "a.nii")
    patch(path, 252, np.array([0, 0], "<i2").tobytes())  # neither qform nor sform
    assert "voxel size" in read_or_refused(patch(path, 80, np.array([value], "<f4").tobytes()))


def test_nifti_scaled_beyond_all_numbers(tmp_path: Path) -> None:
    path = write_image(HU.astype(np.float32), volume(), tmp_path / "a.nii")
    patch(path, 112, np.array([3e38, 0], "<f4").tobytes())
    assert read_or_refused(path)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("at", [76, 80, 112, 116, 256, 280, 352])
def test_signalling_nan_is_refused_without_a_remark(tmp_path: Path, at: int) -> None:
    """In the header, and at 352 in the voxels."""
    array = np.where(np.arange(HU.size).reshape(HU.shape) == 0, -900, HU).astype(np.float32)
    path = patch(write_image(array, volume(), tmp_path / "a.nii"), at, b"\x01\0\xa0\x7f")
    read_or_refused(path)
    with pytest.raises(InputError):
        read_labels(path, volume())


def test_left_handed_nifti_keeps_its_sides(tmp_path: Path) -> None:
    flipped = CTVolume(HU, (0.0, 0.0, 0.0), (0.7, 0.8, 2.5), np.diag([-1.0, 1.0, 1.0]))
    ct = read_ct(write_image(HU, flipped, tmp_path / "a.nii"))
    assert np.linalg.det(ct.direction) == pytest.approx(-1)
    np.testing.assert_allclose(ct.affine, flipped.affine, atol=1e-6)


# --- masks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["1e-160", "1e-30", "1e30", "1e300", "nan", "0", "1e-320"])
@pytest.mark.parametrize("origin", ["0", "1e308", "nan"])
def test_masks_on_grids_beyond_all_measure(tmp_path: Path, size: str, origin: str) -> None:
    head = (
        "NRRD0004\ntype: uchar\ndimension: 3\nspace: left-posterior-superior\nsizes: 36 40 4\n"
        f"space directions: ({size},0,0) (0,{size},0) (0,0,{size})\nencoding: raw\n"
        f"space origin: ({origin},0,0)\n\n"
    )
    (tmp_path / "m.nrrd").write_bytes(head.encode() + bytes(36 * 40 * 4))
    with pytest.raises(InputError, match=r"voxel size|singular"):
        read_labels(tmp_path / "m.nrrd", volume())


@pytest.mark.parametrize(
    "table",
    [
        "<Label " * 200_000,
        '<Label Key="1"><![CDATA[' * 100_000,
        '<Label Key="1">' + " " * 1_000_000,
        f'<Label Key="{"9" * 5000}">x</Label>',
        f'<Label Key="1">{"x" * 100_000}</Label>',
    ],
)
def test_tables_of_names_that_never_end(tmp_path: Path, table: str) -> None:
    """Patterns that look ahead took time by the square of the length."""
    path = write_image(np.ones(HU.shape, np.uint8), volume(), tmp_path / "m.nii")
    data = path.read_bytes()
    offset = 352 + len(table) + (-len(table)) % 16
    head = data[:108] + np.array([offset], "<f4").tobytes() + data[112:352]
    path.write_bytes(head + table.encode().ljust(offset - 352) + data[352:])
    assert read_label_names(path) == {}


def test_names_of_labels_are_one_line(tmp_path: Path) -> None:
    path = write_image(np.ones(HU.shape, np.uint8), volume(), tmp_path / "m.nrrd")
    head, _, voxels = path.read_bytes().partition(b"\n\n")
    names = f"\nSegment0_Name:={HOSTILE.splitlines()[0]}\nSegment0_LabelValue:=1\n"
    names += f"Segment1_Name:=x\nSegment1_LabelValue:={'9' * 5000}"
    path.write_bytes(head + names.encode() + b"\n\n" + voxels)
    (name,) = read_regions(path, volume()).names.values()
    assert UNCLEAN.search(name) is None
    assert "<script>" in name  # kept as it is; whoever shows it escapes it


# --- DICOM attributes ----------------------------------------------------------------------------


def written(folder: Path, **attributes: Any) -> Path:
    def change(dataset: Any, k: int) -> None:
        for keyword, value in attributes.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value(k) if callable(value) else value)

    write_series(folder, HU, bits_stored=12, change=change)
    return folder


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")
@pytest.mark.parametrize(
    ("attributes", "word"),
    [
        ({"RescaleSlope": "1e300"}, "same everywhere"),
        ({"RescaleIntercept": "-1e300"}, "same everywhere"),
        ({"RescaleSlope": "-1"}, "same everywhere"),
        ({"PixelSpacing": None}, "PixelSpacing"),
        ({"PixelSpacing": ["-1", "-1"]}, "voxel size"),
        ({"PixelSpacing": ["1e308", "1e308"]}, "voxel size"),
        ({"ImagePositionPatient": lambda k: [0, 0, 1e300 * k]}, "ImagePositionPatient"),
        ({"ImagePositionPatient": lambda k: [0, 0]}, "ImagePositionPatient"),
        ({"ImagePositionPatient": lambda k: [1e5 * k, 0, 2 * k]}, "beside each other"),
        ({"ImagePositionPatient": lambda k: [1e7 * (k == 3), 0, 2 * k]}, "beside each other"),
        ({"ImagePositionPatient": lambda k: [0, 0, 2 * k + 1e6 * (k == 3)]}, "more than the 4"),
        ({"ImageOrientationPatient": [1e200, 0, 0, 0, 1e200, 0]}, "ImageOrientationPatient"),
        ({"PixelRepresentation": 7}, "PixelRepresentation"),
        ({"BitsAllocated": 32}, "cut short"),
        ({"BitsStored": 8, "HighBit": 7}, "lung air"),
        ({"PhotometricInterpretation": None}, "PhotometricInterpretation"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR"),
        ({"NumberOfFrames": 2**31 - 1}, "multi-frame"),
        ({"Rows": 65535, "Columns": 65535}, "cut short"),
        ({"Rows": None}, "no DICOM image"),
        ({"Modality": None}, "modality"),
    ],
)
def test_absurd_attributes_are_refused(
    tmp_path: Path, attributes: dict[str, Any], word: str
) -> None:
    message = read_or_refused(written(tmp_path / "s", **attributes), allow_missing_slices=True)
    assert word in message or "None of the 4 files" in message


@pytest.mark.parametrize("place", [1e9, -1e9])
def test_positions_at_the_very_end_of_the_measure(tmp_path: Path, place: float) -> None:
    """What one check let by, another one took for a mistake of the program."""
    folder = written(tmp_path / "s", ImagePositionPatient=lambda k: [-10, place, 2 * k])
    assert read_or_refused(folder) == ""
    head = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 36 40 4\n"
        "space directions: (1,0,0) (0,1,0) (0,0,2)\nencoding: raw\nendian: little\n"
        f"space origin: ({place},0,0)\n\n"
    )
    (tmp_path / "a.nrrd").write_bytes(head.encode() + HU.tobytes())
    assert read_or_refused(tmp_path / "a.nrrd") == ""


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_metaimage_beyond_all_measure_is_refused_without_a_remark(tmp_path: Path) -> None:
    path = write_image(HU, volume(), tmp_path / "a.mha")
    data = path.read_bytes()
    for field in (b"TransformMatrix", b"ElementSpacing"):
        at = data.index(field)
        end = data.index(b"\n", at)
        count = len(data[at:end].split()) - 2
        data = data[:at] + field + b" = " + b" ".join([b"1e300"] * count) + data[end:]
    path.write_bytes(data)
    assert "no valid voxel size" in read_or_refused(path)


def test_a_dicom_file_that_ends_within_an_item_is_damaged(tmp_path: Path) -> None:
    """pydicom says so by an OSError, as if the file could not be read."""
    dataset = dcmread(write_multiframe(tmp_path / "a.dcm", HU))
    frame = dataset.PerFrameFunctionalGroupsSequence[0]
    del frame.PlanePositionSequence
    frame.add_new(0x00211001, "UN", b"\0\0")  # half a tag of an item
    dataset.save_as(tmp_path / "a.dcm")
    data = (tmp_path / "a.dcm").read_bytes()
    assert data.count(b"\x21\0\x01\x10UN") == 1
    (tmp_path / "a.dcm").write_bytes(data.replace(b"\x21\0\x01\x10UN", b"\x20\0\x13\x91UN"))
    with pytest.raises(ValueError, match="OSError: No tag"):
        read_headers(tmp_path / "a.dcm")


@pytest.mark.parametrize(
    "attributes",
    [{"BitsStored": None}, {"HighBit": None}, {"HighBit": 15}, {"PixelRepresentation": None},
     {"BitsStored": 16, "HighBit": 15}],
)  # fmt: skip
def test_bits_that_do_not_fit_change_no_value(tmp_path: Path, attributes: dict[str, Any]) -> None:
    np.testing.assert_array_equal(read_ct(written(tmp_path, **attributes)).array, HU)


@pytest.mark.parametrize("count", [3, 5, None])
def test_frames_without_a_place_are_not_left_out_in_silence(
    tmp_path: Path, count: int | None
) -> None:
    path = write_multiframe(tmp_path / "a.dcm", HU)
    dataset = dcmread(path)
    if count is None:
        del dataset.NumberOfFrames
    else:
        dataset.NumberOfFrames = count
        dataset.PixelData = (dataset.PixelData * 2)[: count * HU[0].size * 2]
    dataset.save_as(path)
    assert "describes 4 frames" in read_or_refused(tmp_path)


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.102", "9.9.9"])
def test_exotic_transfer_syntaxes_are_named(tmp_path: Path, uid: str) -> None:
    for file in write_series(tmp_path, HU, transfer_syntax=RLELossless):
        dataset = dcmread(file)
        dataset.file_meta.TransferSyntaxUID = UID(uid)
        dataset.save_as(file)
    assert "transfer syntax" in read_or_refused(tmp_path)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")
def test_texts_of_dicom_files_reach_nobody_unclean(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plain = HOSTILE.replace("\u202e", "")
    texts = dict.fromkeys(
        ("SeriesDescription", "PatientName", "Manufacturer", "StudyInstanceUID",
         "ConvolutionKernel", "AcquisitionTime", "ManufacturerModelName"), plain,
    ) | {"SpecificCharacterSet": "ISO_IR 192", "ManufacturerModelName": HOSTILE}  # fmt: skip
    folder = tmp_path / "s"
    written(folder, **texts)
    write_series(folder / "mr", HU[:3], modality=plain, description=plain, prefix="X")
    ct = read_ct(folder)
    shown = [*ct.warnings, *map(str, ct.source.values())]
    shown += [
        text for info in list_series(folder) for text in (info.uid, info.description, info.why)
    ]
    found = find_studies([str(folder)])
    shown += [text for one in found.left_out for text in (one.what, one.why)]
    shown += [study.about for study in found.studies]
    assert not any(UNCLEAN.search(text) for text in shown)
    for study in named(found.studies, lambda name: None):
        assert study.name == file_stem(study.name)
        assert not set(study.name) & set("/\\<>\n\x1b")
    page = summary_html([], found.left_out, []).lower()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert capfd.readouterr().err == ""


def test_a_long_text_of_a_dicom_file_is_cut(tmp_path: Path) -> None:
    def change(dataset: Any, k: int) -> None:
        dataset.add_new(0x0008103E, "UT", "x" * 1_000_000)
        dataset.add_new(0x00280004, "UT", "y" * 1_000_000)

    write_series(tmp_path, HU, change=change)
    assert len(read_or_refused(tmp_path)) < 2100
    assert len(list_series(tmp_path)[0].description) <= 256


def test_what_was_left_out_is_one_line_each() -> None:
    one = LeftOut("file", f"a{HOSTILE}", HOSTILE * 1000)
    assert UNCLEAN.search(one.what + one.why) is None
    assert len(one.why) <= 2000


# --- tables of cases -----------------------------------------------------------------------------


def test_paths_in_tables_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "x").symlink_to(tmp_path / "y")
    (tmp_path / "y").symlink_to(tmp_path / "x")
    rows = ["x", "a" * 5000, "a/" * 5000, "~nobody_of_that_name/x", "/dev/zero"]
    (tmp_path / "c.csv").write_text("\n".join(["input", *rows]) + "\n")
    studies = find_studies([str(tmp_path / "c.csv")]).studies
    assert len(studies) == len(rows)
    for study in studies:
        assert read_or_refused(study.path)
    for row in rows[:3]:
        with pytest.raises(RequestError):
            find_studies([f"{row}/"])


@quick
@given(st.text(max_size=200), st.booleans())
def test_any_table_of_cases(tmp_path: Path, text: str, headed: bool) -> None:
    data = f"input,name,series\n{text}" if headed else text
    (tmp_path / "c.csv").write_bytes(data.encode("utf-8", "surrogatepass"))
    try:
        studies = find_studies([str(tmp_path / "c.csv")]).studies
    except (RequestError, InputError) as error:
        checked(error)
        return
    for study in studies:
        assert study.name == file_stem(study.name)
        assert len(study.key) == 64


@quick
@given(st.text(max_size=300))
def test_any_list_of_names(text: str) -> None:
    try:
        names = parse_region_names(text)
    except RequestError as error:
        checked(error)
        return
    assert all(1 <= label <= 255 and name for label, name in names.items())


@quick
@given(st.text(max_size=100), st.integers(10, 50))
def test_any_text_becomes_one_line(text: str, longest: int) -> None:
    line = one_line(text, longest)
    assert len(line) <= longest
    assert UNCLEAN.search(line) is None
    assert one_line(line, longest) == line.strip()


# --- any value in any field ----------------------------------------------------------------------

NUMBERS = st.one_of(
    st.integers(-(2**31), 2**31 - 1),
    st.sampled_from([0, 1, 255, 32767, -32768, 65535, 2**31 - 1, -1]),
)
REALS = st.one_of(
    st.floats(width=32), st.sampled_from([0.0, -0.0, 1e-45, 3e38, float("nan"), float("inf")])
)
WORDS = st.one_of(
    NUMBERS.map(str),
    REALS.map(repr),
    st.text(st.characters(codec="latin-1"), max_size=30),
    st.sampled_from(
        ["9" * 5000, "²", "1e400", "-", "/dev/zero", "LIST", "%d %s", "(0,0,0)", "none"]
    ),
)


@quick
@given(st.sampled_from([".nii", ".nii.gz"]), st.integers(0, 86), NUMBERS | REALS)
def test_any_number_in_a_nifti_header(
    tmp_path: Path, suffix: str, place: int, value: float
) -> None:
    path = write_image(HU, volume(), tmp_path / f"a{suffix}")
    kind = "<i" if isinstance(value, int) else "<f"
    read_or_refused(patch(path, 4 * place, struct.pack(kind, value)))


@quick
@given(st.sampled_from([".nrrd", ".mha"]), st.integers(0, 20), st.lists(WORDS, max_size=4))
def test_any_words_in_a_text_header(
    tmp_path: Path, suffix: str, line: int, words: list[str]
) -> None:
    path = write_image(HU, volume(), tmp_path / f"a{suffix}")
    data = path.read_bytes()
    end = data.index(b"\n\n" if suffix == ".nrrd" else b"LOCAL\n") + 6
    lines = data[:end].split(b"\n")
    mark = b": " if suffix == ".nrrd" else b" = "
    at = line % len(lines)
    lines[at] = lines[at].split(mark)[0] + mark + " ".join(words).encode("utf-8", "replace")
    path.write_bytes(b"\n".join(lines) + data[end:])
    read_or_refused(path)


KEYWORDS = (
    "RescaleSlope", "RescaleIntercept", "PixelSpacing", "ImagePositionPatient", "NumberOfFrames",
    "ImageOrientationPatient", "SeriesDescription", "ImageType", "SeriesInstanceUID",
    "PhotometricInterpretation", "RescaleType", "PixelPaddingValue", "SeriesNumber",
    "SpecificCharacterSet", "SliceThickness", "Modality",
)  # fmt: skip
_TEXT_VRS = ("DS", "IS", "LO", "UT", "UN", "CS")


@settings(quick, max_examples=30)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")
@given(
    st.sampled_from(KEYWORDS), st.sampled_from(_TEXT_VRS), st.lists(WORDS, max_size=6),
    st.booleans(),
)  # fmt: skip
def test_any_words_in_a_dicom_attribute(
    tmp_path_factory: pytest.TempPathFactory, keyword: str, vr: str, words: list[str], every: bool
) -> None:
    from pydicom.datadict import tag_for_keyword

    folder = tmp_path_factory.mktemp("s")
    tag = struct.pack("<HH", *divmod(tag_for_keyword(keyword) or 0, 1 << 16))
    value = "\\".join(words).encode("utf-8", "replace")[:60000]
    value += b" " * (len(value) % 2)
    long = vr in ("UT", "UN")
    size = b"\0\0" + struct.pack("<I", len(value)) if long else struct.pack("<H", len(value))
    for file in write_series(folder, HU)[: None if every else 1]:
        data = file.read_bytes()
        at = data.find(tag, 300)
        old = int.from_bytes(data[at + 6 : at + 8], "little") if at > 0 else 0
        at, end = (at, at + 8 + old) if at > 0 else (data.index(b"\x28\0\x02\0US"),) * 2
        file.write_bytes(data[:at] + tag + vr.encode() + size + value + data[end:])
    read_or_refused(folder, allow_missing_slices=True)
    try:
        series = list_series(folder)
    except InputError as error:
        checked(error)
        return
    assert not any(UNCLEAN.search(info.description + info.why) for info in series)


def test_the_harness_of_the_fuzzer_runs(repository: Path, tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("the harness limits its processes by the means of Linux")
    run = subprocess.run(
        [sys.executable, "Testing/fuzz/readers.py", "--seconds", "2", "--only", "mask-nifti",
         "--keep", tmp_path / "found"],
        cwd=repository, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"[1-9]\d* executions, \d+ s of CPU", run.stdout)
