"""NIfTI, NRRD and MetaImage: round trips and refusals."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_writer import make_hu

from CovidLesionSegLogic.ct import CTVolume, read_ct, write_image
from CovidLesionSegLogic.ct.nifti import read_nifti
from CovidLesionSegLogic.ct.values import clean_hounsfield
from CovidLesionSegLogic.errors import InputError, RequestError

HU = make_hu()
OBLIQUE = np.array(
    sitk.VersorTransform((0.3, 0.5, 0.8), 0.7).GetMatrix(), dtype=np.float64
).reshape(3, 3)
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")


def volume(array: np.ndarray = HU, direction: np.ndarray | None = None) -> CTVolume:
    direction = np.eye(3) if direction is None else direction
    return CTVolume(array, (-120.5, 30.25, 7.0), (0.7, 0.8, 2.5), direction)


def refused(path: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_ct(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert str(path) in message
    for word in words:
        assert word in message, message


def write_raw(array: np.ndarray, path: Path, **geometry: object) -> Path:
    image = sitk.GetImageFromArray(array, isVector=False)
    for key, value in geometry.items():
        getattr(image, f"Set{key}")(value)
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("handedness", [1.0, -1.0])
def test_round_trip(tmp_path: Path, suffix: str, dtype: type, handedness: float) -> None:
    array = HU.astype(dtype) if dtype == np.int16 else HU + np.float32(0.25)
    ct = volume(array, OBLIQUE * [1.0, 1.0, handedness])
    path = write_image(ct.array, ct, tmp_path / f"some ct{suffix}")
    back = read_ct(path)
    assert back.array.dtype == dtype
    np.testing.assert_array_equal(back.array, array)
    np.testing.assert_allclose(back.affine, ct.affine, atol=1e-4)
    assert back.name == "some_ct"
    assert back.warnings == ()
    assert back.array.flags.writeable
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_several_maps_become_a_fourth_axis(tmp_path: Path, suffix: str) -> None:
    maps = np.stack([HU == 3, HU > 0]).astype(np.float16)
    path = write_image(maps, volume(), tmp_path / f"p{suffix}")
    back = sitk.ReadImage(str(path))
    assert back.GetSize() == (*HU.shape[::-1], 2)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), maps)


def test_unknown_suffix_and_wrong_shape(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"\.nii\.gz"):
        write_image(HU, volume(), tmp_path / "ct.png")
    with pytest.raises(ValueError, match="shape"):
        write_image(HU[1:], volume(), tmp_path / "ct.nrrd")


def test_nifti_voxels_and_affine_agree_with_itk(tmp_path: Path) -> None:
    ct = volume(HU, OBLIQUE)
    path = write_image(HU, ct, tmp_path / "ct.nii.gz")
    image = sitk.ReadImage(str(path))
    own = read_nifti(path)
    np.testing.assert_array_equal(own.array, sitk.GetArrayFromImage(image))
    for index in [(0, 0, 0), (35, 0, 0), (0, 39, 5), (35, 39, 5)]:
        expected = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose((own.affine @ [*index, 1])[:3], expected, atol=1e-4)


def edit(path: Path, offset: int, values: object, kind: str) -> Path:
    """Overwrite header fields of an uncompressed NIfTI-1 file."""
    data = bytearray(path.read_bytes())
    raw = np.asarray(values, kind).tobytes()
    data[offset : offset + len(raw)] = raw
    path.write_bytes(data)
    return path


def test_nifti_by_quaternion_alone(tmp_path: Path) -> None:
    ct = volume(HU, OBLIQUE * [1.0, 1.0, -1.0])
    path = edit(write_image(HU, ct, tmp_path / "q.nii"), 254, 0, "<i2")
    np.testing.assert_allclose(read_ct(path).affine, ct.affine, atol=1e-4)


def test_nifti_with_a_useless_sform_falls_back_to_the_qform(tmp_path: Path) -> None:
    path = edit(write_image(HU, volume(), tmp_path / "q.nii"), 280, np.zeros(12), "<f4")
    np.testing.assert_allclose(read_ct(path).affine, volume().affine, atol=1e-4)


def test_nifti_without_orientation_is_read_and_said(tmp_path: Path) -> None:
    path = edit(write_image(HU, volume(), tmp_path / "none.nii"), 252, [0, 0], "<i2")
    ct = read_ct(path)
    assert any("no orientation" in message for message in ct.warnings)
    assert ct.spacing == pytest.approx((0.7, 0.8, 2.5))


def test_nifti_with_two_different_orientations_is_said(tmp_path: Path) -> None:
    path = edit(write_image(HU, volume(), tmp_path / "two.nii"), 268, 500.0, "<f4")
    ct = read_ct(path)
    assert any("sform was used" in message for message in ct.warnings)
    np.testing.assert_allclose(ct.affine, volume().affine, atol=1e-4)


def test_nifti_in_metres(tmp_path: Path) -> None:
    ct = CTVolume(HU, (-0.1, 0.03, 0.007), (0.0007, 0.0008, 0.0025))
    path = edit(write_image(HU, ct, tmp_path / "m.nii"), 123, 1, "u1")
    assert read_ct(path).spacing == pytest.approx((0.7, 0.8, 2.5))


@pytest.mark.parametrize(
    ("slope", "intercept", "dtype"),
    [(1, -1024, np.int16), (2, 0, np.int16), (0.7, -3.5, np.float32), (0, 0, np.int16)],
)
def test_nifti_scaling(tmp_path: Path, slope: float, intercept: float, dtype: type) -> None:
    path = write_image(HU.astype(np.int32), volume(), tmp_path / "s.nii")
    edit(path, 112, [slope, intercept], "<f4")
    ct = read_ct(path)
    expected = np.maximum(HU * (slope or 1.0) + intercept, -1024)
    assert ct.array.dtype == dtype
    np.testing.assert_allclose(ct.array, expected, rtol=1e-5, atol=1e-4)


def test_big_endian_nifti(tmp_path: Path) -> None:
    path = write_image(HU, volume(), tmp_path / "b.nii")
    data = path.read_bytes()
    fields = [(0, 4, 1), (40, 2, 8), (70, 2, 2), (76, 4, 8), (108, 4, 3), (252, 2, 2), (256, 4, 18)]
    swapped = bytearray(data)
    for offset, size, count in fields:
        part = np.frombuffer(data, f"<u{size}", count, offset)
        swapped[offset : offset + size * count] = part.astype(f">u{size}").tobytes()
    swapped[352:] = HU.astype(">i2").tobytes()
    path.write_bytes(swapped)
    ct = read_ct(path)
    np.testing.assert_array_equal(ct.array, HU)
    np.testing.assert_allclose(ct.affine, volume().affine, atol=1e-4)


def test_nifti_2(tmp_path: Path) -> None:
    header = bytearray(544)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume().affine
    for offset, value, kind in [
        (0, 540, "<i4"), (12, [4, 16], "<i2"), (16, [3, *HU.shape[::-1], 1, 1, 1, 1], "<i8"),
        (104, [1, 0.7, 0.8, 2.5, 0, 0, 0, 0], "<f8"), (168, 544, "<i8"), (176, [1, 0], "<f8"),
        (344, [0, 1], "<i4"), (400, affine[:3].ravel(), "<f8"), (500, 2, "<i4"),
    ]:  # fmt: skip
        raw = np.asarray(value, kind).tobytes()
        header[offset : offset + len(raw)] = raw
    path = tmp_path / "two.nii"
    path.write_bytes(bytes(header) + HU.astype("<i2").tobytes())
    ct = read_ct(path)
    np.testing.assert_array_equal(ct.array, HU)
    np.testing.assert_allclose(ct.affine, volume().affine)


def shear(path: Path, degrees: float) -> Path:
    rows = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume().affine
    rows[1, 2] = np.tan(np.radians(degrees)) * rows[2, 2]
    return edit(write_image(HU, volume(), path), 280, rows[:3].ravel(), "<f4")


def test_sheared_nifti(tmp_path: Path) -> None:
    refused(shear(tmp_path / "large.nii", 15), "sheared", "degrees")
    slight = read_ct(shear(tmp_path / "small.nii", 2))
    assert any("perpendicular" in message for message in slight.warnings)
    np.testing.assert_allclose(slight.direction.T @ slight.direction, np.eye(3), atol=1e-9)
    assert not any("perpendicular" in m for m in read_ct(shear(tmp_path / "0.nii", 0.1)).warnings)


def test_sheared_nrrd(tmp_path: Path) -> None:
    path = write_image(HU, volume(), tmp_path / "a.nrrd")
    data = path.read_bytes()
    assert b"(0,0,2.5)" in data
    path.write_bytes(data.replace(b"(0,0,2.5)", b"(0,1.2,2.5)"))
    refused(path, "sheared")


@pytest.mark.parametrize(("size", "outcome"), [(16, "silent"), (160, "warned"), (640, "refused")])
def test_shear_is_judged_by_how_far_the_corners_move(
    tmp_path: Path, size: int, outcome: str
) -> None:
    """The same 0.1 degrees matter more the larger the volume is."""
    array = np.full((3, size, size), -1000, np.int16)
    array[:, :, size // 2 :] = 40
    path = write_image(array, CTVolume(array), tmp_path / "a.nii")
    rows = np.diag([-1.0, -1.0, 1.0, 1.0])
    rows[0, 1] = np.tan(np.radians(0.1))
    edit(path, 280, rows[:3].ravel(), "<f4")
    if outcome == "refused":
        refused(path, "sheared", "0.1 degrees", "Resample Scalar Volume")
        return
    ct = read_ct(path)
    assert [("perpendicular" in message) for message in ct.warnings] == [True] * (
        outcome == "warned"
    )
    corner = np.array([size - 1, size - 1, 2, 1.0])
    true = np.diag([-1.0, -1.0, 1.0, 1.0]) @ rows @ corner
    assert np.abs(ct.affine @ corner - true).max() <= (0.1 if outcome == "silent" else 0.5)


@pytest.mark.parametrize(
    "space", ["space: scanner-xyz", "space: 3D-right-handed", "space dimension: 3"]
)
def test_nrrd_in_no_anatomical_space_is_said(tmp_path: Path, space: str) -> None:
    path = write_image(HU, volume(), tmp_path / "a.nrrd")
    data = path.read_bytes()
    assert read_ct(path).warnings == ()
    path.write_bytes(data.replace(b"space: left-posterior-superior", space.encode()))
    assert any("no orientation" in message for message in read_ct(path).warnings)


@pytest.mark.parametrize("space", ["LPS", "Left-Posterior-Superior"])
def test_nrrd_space_by_its_short_name(tmp_path: Path, space: str) -> None:
    path = write_image(HU, volume(), tmp_path / "a.nrrd")
    path.write_bytes(path.read_bytes().replace(b"left-posterior-superior", space.encode()))
    ct = read_ct(path)
    assert ct.warnings == ()
    np.testing.assert_allclose(ct.affine, volume().affine, atol=1e-9)


def test_nrrd_in_ras_space(tmp_path: Path) -> None:
    path = write_image(HU, volume(), tmp_path / "a.nrrd")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"left-posterior-superior", b"right-anterior-superior"))
    flipped = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume().affine
    np.testing.assert_allclose(read_ct(path).affine, flipped, atol=1e-9)


def test_missing_geometry_is_refused_or_said(tmp_path: Path) -> None:
    head = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 36 40 6\nencoding: raw\nendian: little\n"
    voxels = HU.astype("<i2").tobytes()
    (tmp_path / "bare.nrrd").write_bytes(head + b"\n" + voxels)
    refused(tmp_path / "bare.nrrd", "no voxel size")
    (tmp_path / "sized.nrrd").write_bytes(head + b"spacings: 0.7 0.8 2.5\n\n" + voxels)
    ct = read_ct(tmp_path / "sized.nrrd")
    assert any("no orientation" in message for message in ct.warnings)
    np.testing.assert_array_equal(ct.array, HU)
    head = b"ObjectType = Image\nNDims = 3\nDimSize = 36 40 6\nElementType = MET_SHORT\n"
    tail = b"ElementDataFile = LOCAL\n"
    (tmp_path / "bare.mha").write_bytes(head + tail + voxels)
    refused(tmp_path / "bare.mha", "no voxel size")
    (tmp_path / "sized.mha").write_bytes(head + b"ElementSpacing = 0.7 0.8 2.5\n" + tail + voxels)
    assert any("no orientation" in message for message in read_ct(tmp_path / "sized.mha").warnings)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_cut_off_files_are_refused(tmp_path: Path, suffix: str) -> None:
    path = write_image(HU, volume(), tmp_path / f"ct{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    refused(path, "damaged or cut short")


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".nhdr", ".mhd"])
def test_text_in_disguise_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"notes{suffix}"
    path.write_text("these are notes, not voxels\n" * 30)
    refused(path, "does not hold one")
    path.write_bytes(b"")
    refused(path, "empty")


def test_compressed_text_named_nifti_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.nii.gz"
    path.write_bytes(gzip.compress(b"these are notes" * 99))
    refused(path, "does not hold one")


def test_damaged_compression_is_refused(tmp_path: Path) -> None:
    path = write_image(HU, volume(), tmp_path / "ct.nii.gz")
    data = path.read_bytes()
    path.write_bytes(data[:10] + bytes([0xFF] * 40) + data[50:])  # a deflate block of no type
    refused(path, "damaged or cut short")
    path.write_bytes(data[: len(data) // 2] + bytes(64) + data[len(data) // 2 + 64 :])
    refused(path, "damaged or cut short")


def test_a_wrong_checksum_is_noticed(tmp_path: Path) -> None:
    path = write_image(HU, volume(), tmp_path / "ct.nii.gz")
    data = bytearray(path.read_bytes())
    data[-8] ^= 1  # the CRC-32 (RFC 1952); the voxels unpack all the same
    path.write_bytes(data)
    refused(path, "CRC", "damaged or cut short")


def test_paths_the_system_refuses_to_look_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(tmp_path / ("x" * 300 + ".nii"), "cannot be opened")
    refused(tmp_path / "absent.nii", "does not exist")
    (tmp_path / "notes").write_text("x")
    refused(tmp_path / "notes" / "ct.nii", "does not exist")
    mhd = write_raw(HU, tmp_path / "a.mhd", Spacing=(0.7, 0.8, 2.5))
    mhd.write_text(mhd.read_text().replace("a.raw", "y" * 300 + ".raw"))
    refused(mhd, "missing")

    def deny(self: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "stat", deny)
    refused(tmp_path / "a.nii", "cannot be opened (Permission denied)", "access rights")


def test_a_folder_that_may_not_be_listed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", deny)
    refused(tmp_path, "cannot be opened (Permission denied)", "access rights")


def test_voxels_are_cleaned_without_a_second_copy() -> None:
    whole = HU.astype(np.float32)
    whole[0, 0, 0] = -3000
    kept = clean_hounsfield(HU, "ct")
    assert kept.array is HU or np.shares_memory(kept.array, HU)
    float_ct = whole + np.float32(0.5)
    in_place = clean_hounsfield(float_ct, "ct").array
    assert np.shares_memory(in_place, float_ct)
    assert in_place.min() == -1024
    large = np.repeat(whole, 40, axis=0)
    large.flags.writeable = False
    tracemalloc.start()
    cleaned = clean_hounsfield(large, "ct").array
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert cleaned.dtype == np.int16
    assert large.min() == -3000
    assert peak < 1.3 * cleaned.nbytes


def test_detached_data_files(tmp_path: Path) -> None:
    write_raw(HU, tmp_path / "a.mhd", Spacing=(0.7, 0.8, 2.5))
    np.testing.assert_array_equal(read_ct(tmp_path / "a.mhd").array, HU)
    next(tmp_path.glob("a.*raw")).unlink()
    refused(tmp_path / "a.mhd", "cannot be read")
    write_raw(HU, tmp_path / "b.nhdr", Spacing=(0.7, 0.8, 2.5))
    np.testing.assert_array_equal(read_ct(tmp_path / "b.nhdr").array, HU)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_four_dimensions_colours_and_single_slices(tmp_path: Path, suffix: str) -> None:
    refused(write_raw(np.stack([HU, HU]), tmp_path / f"four{suffix}"), "dimensions")
    single = write_raw(HU[None], tmp_path / f"five{suffix}")
    np.testing.assert_array_equal(read_ct(single).array, HU)
    colours = sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    sitk.WriteImage(colours, str(tmp_path / f"rgb{suffix}"))
    refused(tmp_path / f"rgb{suffix}", "colour" if "nii" not in suffix else "")
    refused(write_raw(HU[:1], tmp_path / f"one{suffix}"), "1 slice", "whole series")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (((HU + 1000) / 10).astype(np.uint8), ("8-bit",)),
        (((HU + 1000) / 2500).astype(np.float32), ("0..1",)),
        ((HU + 1024).astype(np.uint16), ("offset", "subtract")),
        (np.where(HU < -990, -2000, HU + 1024).astype(np.int16), ("offset",)),
        ((HU / 500).astype(np.float32), ("lung air",)),
        (np.full_like(HU, -1000), ("the same everywhere",)),
        (HU.astype(np.float64) * 1e6, ("far outside",)),
        (np.clip(HU, -160, 240), ("lung air",)),
    ],
)
def test_values_that_are_not_hounsfield_units(
    tmp_path: Path, array: np.ndarray, words: tuple[str]
) -> None:
    refused(write_raw(array, tmp_path / "ct.nrrd", Spacing=(0.7, 0.8, 2.5)), "holds values", *words)


@pytest.mark.parametrize("suffix", [".nii", ".nrrd"])
def test_not_a_number(tmp_path: Path, suffix: str) -> None:
    array = HU.astype(np.float32)
    array[:, :3] = np.nan
    ct = read_ct(write_raw(array, tmp_path / f"background{suffix}"))
    assert (ct.array[:, :3] == -1024).all()
    assert ct.array.dtype == np.int16
    assert any("NaN" in message for message in ct.warnings)
    array[3, 20, 20] = np.nan
    refused(write_raw(array, tmp_path / f"inside{suffix}"), "NaN", "slice 3")
    array = HU.astype(np.float32)
    array[2, 0, 0] = np.inf
    refused(write_raw(array, tmp_path / f"inf{suffix}"), "infinity", "slice 2")


def test_values_outside_the_range_are_clipped(tmp_path: Path) -> None:
    array = HU.astype(np.int32)
    array[0, 0, :2] = -3024, 40000
    ct = read_ct(write_raw(array, tmp_path / "metal.nrrd"))
    assert ct.array[0, 0, :2].tolist() == [-1024, 32767]
    assert any("32767" in message for message in ct.warnings)


@pytest.mark.parametrize("size", [0.001, 400.0])
def test_absurd_spacing(tmp_path: Path, size: float) -> None:
    refused(write_raw(HU, tmp_path / "a.mha", Spacing=(0.7, 0.8, size)), "voxel size")


def test_zero_and_invalid_affines(tmp_path: Path) -> None:
    zero = edit(write_image(HU, volume(), tmp_path / "z.nii"), 76, np.zeros(8), "<f4")
    refused(edit(zero, 252, [1, 0], "<i2"), "voxel size")
    nan = edit(write_image(HU, volume(), tmp_path / "n.nii"), 252, [1, 0], "<i2")
    refused(edit(nan, 268, np.nan, "<f4"), "not a number")


def test_other_files(tmp_path: Path) -> None:
    for name, word in [("a.png", "picture"), ("a.zip", "unpack"), ("a.xyz", "no format")]:
        path = tmp_path / name
        path.write_bytes(b"something else" * 30)
        refused(path, word)
    with pytest.raises(InputError, match="not DICOM"):
        read_ct(write_image(HU, volume(), tmp_path / "a.nrrd"), series_uid="1.2.3")


def test_nothing_leaks_onto_standard_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = shear(tmp_path / "a.nii", 2)
    nrrd = write_image(HU, volume(), tmp_path / "b.nrrd")
    nrrd.write_bytes(nrrd.read_bytes().replace(b"(0,0,2.5)", b"(0,0.1,2.5)"))
    broken = write_image(HU, volume(), tmp_path / "c.mha")
    broken.write_bytes(broken.read_bytes()[:-50])
    capfd.readouterr()
    read_ct(path)
    read_ct(nrrd)
    refused(broken)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
