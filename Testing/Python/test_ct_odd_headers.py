"""Volume files that are seldom written so, but are valid: read as ITK reads them."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from CovidLesionSegLogic.ct.image_file import read_image_file
from CovidLesionSegLogic.errors import InputError

VOXELS = np.arange(60, dtype="<i2").reshape(3, 4, 5) * 7 - 100
RAW = VOXELS.tobytes()
PACKED = gzip.compress(RAW)
NRRD = {
    "type": "short", "dimension": "3", "space": "right-anterior-superior", "sizes": "5 4 3",
    "space directions": "(0.7,0,0) (0,0.8,0) (0,0,1.5)", "kinds": "domain domain domain",
    "endian": "little", "encoding": "raw", "space origin": "(-10,-20,30.5)",
}  # fmt: skip
PLAIN = {"space": None, "space directions": None, "space origin": None}
META = {
    "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False", "TransformMatrix": "0 1 0 -1 0 0 0 0 1", "Offset": "-10 -20 30.5",
    "ElementSpacing": "0.7 0.8 1.5", "DimSize": "5 4 3", "ElementType": "MET_SHORT",
    "ElementDataFile": "LOCAL",
}  # fmt: skip


def nrrd(changes: dict[str, str | None]) -> bytes:
    lines = [f"{name}: {value}\n" for name, value in (NRRD | changes).items() if value is not None]
    return ("NRRD0005\n" + "".join(lines)).encode()


def meta(changes: dict[str, str | None]) -> bytes:
    fields = {name: value for name, value in (META | changes).items() if value is not None}
    fields["ElementDataFile"] = fields.pop("ElementDataFile")
    return "".join(f"{name} = {value}\n" for name, value in fields.items()).encode()


def same_as_itk(path: Path, kind: str) -> None:
    ours = read_image_file(path, kind)
    theirs = sitk.ReadImage(str(path))
    assert np.array_equal(ours.array, VOXELS)
    assert np.array_equal(sitk.GetArrayFromImage(theirs), VOXELS)
    assert ours.origin == pytest.approx(theirs.GetOrigin())
    assert ours.spacing == pytest.approx(theirs.GetSpacing())
    assert ours.direction.ravel() == pytest.approx(np.array(theirs.GetDirection()))


@pytest.mark.parametrize(
    ("changes", "data"),
    [
        ({"space origin": None, "spaceorigin": "(1,2,3)"}, RAW),
        ({"space directions": None, "spacedirections": "(0,.7,0) (.8,0,0) (0,0,1.5)"}, RAW),
        ({**PLAIN, "spacings": "0.7 0.8 1.5", "axismins": "1 2 3", "centerings": "node " * 3}, RAW),
        (
            {**PLAIN, "dimension": "4", "sizes": "1 5 4 3", "kinds": "list" + " domain" * 3,
             "spacings": "9 0.7 0.8 1.5", "axis mins": "7 1 2 3",
             "centers": "node cell cell cell"},
            RAW,
        ),
        ({"encoding": "gzip", "byte skip": "-1"}, gzip.compress(b"before" + RAW)),
        ({"encoding": "gzip", "byte skip": "6"}, gzip.compress(b"before" + RAW)),
        ({"encoding": "raw", "byte skip": "-1"}, b"before" + RAW),
        ({"space units": '"mm" "mm" "mm"', "measurement frame": "(1,0,0) (0,1,0) (0,0,1)",
          "thicknesses": "nan nan 1.5", "labels": '"x" "y" "z"', "old min": "0"}, RAW),
    ],
)  # fmt: skip
def test_nrrd_fields_in_any_spelling_and_place(tmp_path, changes, data):
    path = tmp_path / "ct.nrrd"
    path.write_bytes(nrrd(changes) + b"\n" + data)
    same_as_itk(path, "nrrd")


def test_voxels_in_the_packed_end_of_a_file_are_counted_not_kept(tmp_path):
    path = tmp_path / "ct.nrrd"
    path.write_bytes(
        nrrd({"encoding": "gzip", "byte skip": "-1"}) + b"\n" + gzip.compress(bytes(1 << 25))
    )
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="skips more than any header needs"):
            read_image_file(path, "nrrd")
        assert tracemalloc.get_traced_memory()[1] < 1 << 23
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "changes",
    [
        {"ElementSpacing": "0.7 0.8 -1.5"},
        {"TransformMatrix": None, "Offset": None, "Orientation": "0 1 0 -1 0 0 0 0 1",
         "Position": "1 2 3", "CenterOfRotation": "0 0 0", "AnatomicalOrientation": "RAI"},
        {"NDims": "4", "DimSize": "5 4 3 1", "ElementSpacing": "0.7 0.8 1.5 1",
         "Offset": "1 2 3 0", "TransformMatrix": "0 1 0 0 -1 0 0 0 0 0 1 0 0 0 0 1"},
    ],
)  # fmt: skip
def test_metaimage_geometry(tmp_path, changes):
    path = tmp_path / "ct.mha"
    path.write_bytes(meta(changes) + RAW)
    if "NDims" not in changes:
        same_as_itk(path, "metaimage")
        return
    image = read_image_file(path, "metaimage")
    assert np.array_equal(image.array, VOXELS)
    assert (image.origin, image.spacing) == ((1, 2, 3), pytest.approx((0.7, 0.8, 1.5)))
    assert image.direction.tolist() == [[0, -1, 0], [1, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize("name", ["listed.raw", "List of CTs.raw", "LISTED.raw", "sub/50%.raw"])
@pytest.mark.parametrize("kind", ["nrrd", "metaimage"])
def test_a_data_file_may_be_called_anything(tmp_path, kind, name):
    data = tmp_path / name
    data.parent.mkdir(exist_ok=True)
    data.write_bytes(RAW)
    path = tmp_path / ("ct.nhdr" if kind == "nrrd" else "ct.mhd")
    path.write_bytes(
        nrrd({"data file": name}) if kind == "nrrd" else meta({"ElementDataFile": name})
    )
    assert np.array_equal(read_image_file(path, kind).array, VOXELS)


@pytest.mark.parametrize("name", ["LIST", "LIST 2", "slice%03d.raw 1 3 1"])
def test_voxels_in_several_files_are_refused_as_such(tmp_path, name):
    path = tmp_path / "ct.nhdr"
    path.write_bytes(nrrd({"data file": name}))
    with pytest.raises(InputError, match="spreads its voxels over several files"):
        read_image_file(path, "nrrd")
