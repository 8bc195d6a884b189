"""Flawed DICOM folders: chosen, mended or refused, and always said."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from dicom_writer import make_hu, save, write_multiframe, write_series
from pydicom import dcmread
from pydicom.uid import RLELossless

from CovidLesionSegLogic.ct import CTVolume, list_series, read_ct
from CovidLesionSegLogic.errors import InputError

HU = make_hu()


def refused(path: Path, *words: str, **options: object) -> str:
    """The sentence ``path`` is refused with; it names a path and holds all ``words``."""
    with pytest.raises(InputError) as caught:
        read_ct(path, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert str(path) in message or str(path.parent) in message
    for word in words:
        assert word in message, message
    return message


def warned(ct: CTVolume, *words: str) -> None:
    assert any(all(word in message for word in words) for message in ct.warnings), ct.warnings


def test_axial_ct_with_most_slices_is_chosen(tmp_path: Path) -> None:
    write_series(tmp_path / "a", HU[:4], description="short")
    write_series(tmp_path / "a" / "deep" / "er", HU, description="long", prefix="X")
    write_series(tmp_path / "c", HU, orientation=(1, 0, 0, 0, 0, -1), description="coronal")
    write_series(tmp_path / "m", make_hu((9, 40, 36)), modality="MR", description="brain")
    write_series(
        tmp_path / "s", make_hu((8, 40, 36)), image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"),
        description="scout",
    )  # fmt: skip
    write_series(
        tmp_path / "d", make_hu((9, 40, 36)), image_type=("DERIVED", "SECONDARY", "MPR"),
        description="mpr",
    )  # fmt: skip
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.array, HU)
    warned(ct, "6 series", "'long'", "'short'")
    infos = list_series(tmp_path)
    assert len(infos) == 6
    assert [info.description for info in infos if info.chosen] == ["long"]
    assert infos[0].chosen
    assert infos[0].spacing == pytest.approx((0.75, 0.8, 2.0))
    assert "MR" in next(info.why for info in infos if info.description == "brain")
    assert "localiser" in next(info.why for info in infos if info.description == "scout")
    short = next(info for info in infos if info.description == "short")
    assert read_ct(tmp_path, series_uid=short.uid).shape[0] == 4
    brain = next(info for info in infos if info.modality == "MR")
    refused(tmp_path, "MR", series_uid=brain.uid)
    refused(tmp_path, "1.2.3", short.uid, series_uid="1.2.3")


def test_a_longer_derived_series_loses_but_a_fragment_does_not_win(tmp_path: Path) -> None:
    write_series(tmp_path / "d", make_hu((16, 40, 36)), image_type=("DERIVED", "PRIMARY", "AXIAL"))
    write_series(
        tmp_path / "bolus", make_hu((12, 40, 36)), heights=[0.0] * 12, description="timing"
    )
    ct = read_ct(tmp_path)
    assert ct.shape[0] == 16
    warned(ct, "derived")


def test_mr_only_is_refused_naming_the_modality(tmp_path: Path) -> None:
    write_series(tmp_path, HU, modality="MR")
    refused(tmp_path, "MR", "CT")


def test_only_a_localiser_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path, HU, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))
    refused(tmp_path, "localiser")


def test_localiser_within_the_series_is_left_out(tmp_path: Path) -> None:
    def change(dataset, k):
        if k == 5:
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
            dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]

    write_series(tmp_path, HU, change=change)
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.array, HU[:5])
    warned(ct, "1 localiser")


def test_other_files_are_counted(tmp_path: Path) -> None:
    write_series(tmp_path, HU)
    (tmp_path / "readme.txt").write_text("hello " * 100)
    (tmp_path / "empty").touch()
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / ".hidden").write_text("x")
    ct = read_ct(tmp_path)
    warned(ct, "2 file(s)", "readme.txt")


def test_missing_slices_are_refused_or_filled(tmp_path: Path) -> None:
    files = write_series(tmp_path, HU, skip=(2, 3), shuffle=False)
    refused(tmp_path, "2 slice(s) are missing", "2 between", files[1].name, "--allow-missing")
    ct = read_ct(tmp_path, allow_missing_slices=True)
    warned(ct, "2 missing")
    assert ct.shape == HU.shape
    assert ct.spacing[2] == pytest.approx(2.0)
    for kept in (0, 1, 4, 5):
        np.testing.assert_array_equal(ct.array[kept], HU[kept])
    expected = HU[1] * (2 / 3) + HU[4] * (1 / 3)
    np.testing.assert_allclose(ct.array[2], expected, atol=0.51)


def test_slightly_uneven_slices_are_resampled(tmp_path: Path) -> None:
    ramp = np.repeat(np.linspace(-1000, 1000, 6).astype(np.int16)[:, None], 40 * 36, 1)
    heights = [0, 2.0, 4.4, 6.0, 8.0, 10.0]
    ramp = ramp * 0 + (np.array(heights) * 200 - 1000).astype(np.int16)[:, None]
    write_series(tmp_path, ramp.reshape(6, 40, 36), heights=heights)
    ct = read_ct(tmp_path)
    warned(ct, "unevenly")
    assert ct.spacing[2] == pytest.approx(2.0)
    np.testing.assert_allclose(ct.array[:, 0, 0], np.arange(6) * 400 - 1000, atol=1)


def test_very_uneven_slices_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path, HU, heights=[0, 2.0, 5.3, 6.0, 8.0, 10.0])
    refused(tmp_path, "unevenly spaced", "3.3")


def test_rounded_positions_are_even(tmp_path: Path) -> None:
    write_series(tmp_path, HU, heights=[0, 0.62, 1.25, 1.88, 2.5, 3.12])
    ct = read_ct(tmp_path)
    assert ct.warnings == ()
    np.testing.assert_array_equal(ct.array, HU)


def test_identical_duplicates_are_dropped(tmp_path: Path) -> None:
    uid = "1.2.826.0.1.3680043.8.498.1"
    write_series(tmp_path / "one", HU, series_uid=uid)
    write_series(tmp_path / "two", HU, series_uid=uid, transfer_syntax=RLELossless, seed=1)
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.array, HU)
    warned(ct, "6 duplicate")


def test_two_acquisitions_in_a_series_are_told_apart(tmp_path: Path) -> None:
    uid = "1.2.826.0.1.3680043.8.498.2"
    write_series(tmp_path, make_hu(seed=5)[:5], series_uid=uid, acquisition=1, prefix="A")
    write_series(tmp_path, HU, series_uid=uid, acquisition=2, prefix="B")
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.array, HU)
    warned(ct, "AcquisitionNumber", "2: 6")


def test_two_volumes_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    uid = "1.2.826.0.1.3680043.8.498.3"
    write_series(tmp_path, make_hu(seed=5), series_uid=uid, prefix="A")
    write_series(tmp_path, HU, series_uid=uid, prefix="B")
    refused(tmp_path, "same place", "separate")


@pytest.mark.parametrize("degrees", [-20.0, 8.0])
def test_gantry_tilt_is_straightened(tmp_path: Path, degrees: float) -> None:
    """A field that is linear in the patient comes out linear on the straight grid."""
    shape, spacing = (8, 60, 40), (0.75, 0.8, 2.0)
    k, j, _ = np.indices(shape)
    tangent = np.tan(np.radians(degrees))
    y = j * spacing[1] + tangent * k * spacing[2]  # mm along the column direction
    hu = np.rint(20 * y + 30 * k - 700).astype(np.int16)
    assert hu.min() > -1024
    write_series(tmp_path, hu, spacing=spacing, tilt_degrees=degrees, intercept=-2048)
    ct = read_ct(tmp_path)
    warned(ct, f"{abs(degrees):.1f} degrees")
    assert ct.spacing == pytest.approx(spacing, abs=1e-3)
    assert ct.shape[1] > shape[1]
    k, j, _ = np.indices(ct.shape)
    y = j * spacing[1] + ct.origin[1] + 20.0
    expected = 20 * y + 30 * k - 700
    start, stop = tangent * k * spacing[2], tangent * k * spacing[2] + 59 * spacing[1]
    inside = (y > start + 1e-3) & (y < stop - 1e-3)
    np.testing.assert_allclose(ct.array[inside], expected[inside], atol=1.1)
    outside = (y < start - spacing[1]) | (y > stop + spacing[1])
    assert outside.any()
    assert (ct.array[outside] == -1024).all()


def test_mixed_sizes_and_spacings_are_refused(tmp_path: Path) -> None:
    uid = "1.2.826.0.1.3680043.8.498.4"
    write_series(tmp_path / "a", HU, series_uid=uid)
    other = {"series_uid": uid, "origin": (-10, -20, -88), "prefix": "Z"}
    write_series(tmp_path / "a", make_hu((3, 32, 36)), **other)
    refused(tmp_path / "a", "Rows and Columns", "36x32")
    write_series(tmp_path / "b", HU, series_uid=uid)
    write_series(tmp_path / "b", HU, spacing=(0.9, 0.9, 2.0), **other)
    refused(tmp_path / "b", "PixelSpacing", "0.9")


def test_a_second_orientation_in_a_series_is_left_out(tmp_path: Path) -> None:
    uid = "1.2.826.0.1.3680043.8.498.5"
    write_series(tmp_path, HU, series_uid=uid)
    write_series(
        tmp_path, make_hu((9, 40, 36)), series_uid=uid, orientation=(1, 0, 0, 0, 0, -1), prefix="C"
    )
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.array, HU)
    warned(ct, "orientations", "9 other")


def test_slices_in_all_directions_are_refused(tmp_path: Path) -> None:
    def change(dataset, k):
        angle = 0.3 * k
        dataset.ImageOrientationPatient = [np.cos(angle), np.sin(angle), 0, 0, 0, -1]

    write_series(tmp_path, HU, change=change)
    refused(tmp_path, "ImageOrientationPatient", "directions")


@pytest.mark.parametrize(
    "keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"]
)
def test_missing_geometry_is_refused_by_name(tmp_path: Path, keyword: str) -> None:
    write_series(tmp_path, HU, change=lambda dataset, k: delattr(dataset, keyword))
    refused(tmp_path, keyword)


@pytest.mark.parametrize("keyword", ["RescaleIntercept", "RescaleSlope"])
def test_missing_rescale_of_unsigned_values_is_refused(tmp_path: Path, keyword: str) -> None:
    write_series(tmp_path, HU, change=lambda dataset, k: delattr(dataset, keyword))
    refused(tmp_path, keyword)


def test_missing_rescale_of_signed_values_is_said(tmp_path: Path) -> None:
    def change(dataset, k):
        del dataset.RescaleIntercept, dataset.RescaleSlope

    write_series(tmp_path, HU, signed=True, intercept=0, change=change)
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.array, HU)
    warned(ct, "RescaleSlope")


@pytest.mark.parametrize(
    ("attributes", "word"),
    [
        ({"PixelSpacing": [0, 0]}, "voxel size"),
        ({"PixelSpacing": [750, 750]}, "voxel size"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "ImageOrientationPatient"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "ImageOrientationPatient"),
        ({"RescaleSlope": 0}, "RescaleSlope"),
        ({"RescaleIntercept": 0}, "offset"),
        ({"RescaleType": "ED"}, "RescaleType ED"),
        ({"ImagePositionPatient": [0, 0, 0]}, "same place"),
    ],
)
def test_absurd_attributes_are_refused(tmp_path: Path, attributes: dict, word: str) -> None:
    def change(dataset, k):
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)

    write_series(tmp_path, HU, change=change)
    refused(tmp_path, word)


def test_colour_is_refused(tmp_path: Path) -> None:
    def change(dataset, k):
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"
        dataset.PlanarConfiguration, dataset.BitsAllocated = 0, 8
        dataset.BitsStored, dataset.HighBit = 8, 7
        dataset.PixelData = bytes(dataset.Rows * dataset.Columns * 3)

    write_series(tmp_path, HU, change=change)
    refused(tmp_path, "colour", "RGB")


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", RLELossless])
@pytest.mark.parametrize("share", [0.5, 0.98])
def test_cut_off_file_is_refused_by_name(tmp_path: Path, syntax: str, share: float) -> None:
    files = write_series(tmp_path, HU, transfer_syntax=syntax)
    data = files[2].read_bytes()
    files[2].write_bytes(data[: int(len(data) * share)])
    refused(tmp_path, files[2].name, "cut short")


def test_file_cut_off_in_its_header_is_said(tmp_path: Path) -> None:
    files = write_series(tmp_path, HU)
    files[5].write_bytes(files[5].read_bytes()[:300])
    ct = read_ct(tmp_path)
    assert ct.shape[0] == 5
    assert any(files[5].name in message for message in ct.warnings)


def test_damaged_compressed_pixels_are_refused_by_name(tmp_path: Path) -> None:
    files = write_series(tmp_path, HU, transfer_syntax="1.2.840.10008.1.2.4.80")
    data = bytearray(files[1].read_bytes())
    start = data.index(b"\xff\xd8\xff")
    data[start + 2 : start + 60] = bytes(58)
    files[1].write_bytes(data)
    refused(tmp_path, files[1].name, "cannot be decoded", "JPEG-LS")


def test_a_single_slice_is_refused_with_the_way_out(tmp_path: Path) -> None:
    files = write_series(tmp_path / "series", HU)
    refused(files[0], "single slice", "folder", str(tmp_path / "series"))
    one = tmp_path / "one"
    one.mkdir()
    files[0].rename(one / "slice")
    refused(one, "1 slice", "whole series")
    refused(one / "slice", "single slice")


def test_empty_folders_and_wrong_paths(tmp_path: Path) -> None:
    refused(tmp_path, "no files")
    refused(tmp_path / "nowhere", "does not exist")
    (tmp_path / "a.txt").write_text("text")
    refused(tmp_path, "None of the 1 files", "DICOM")
    (tmp_path / "ct.nii.gz").write_text("text")
    refused(tmp_path, "ct.nii.gz")
    with pytest.raises(InputError, match="does not exist"):
        list_series(tmp_path / "nowhere")


def test_objects_without_image_are_no_ct(tmp_path: Path) -> None:
    files = write_series(tmp_path, HU)
    for file in files:
        dataset = dcmread(file)
        del dataset.PixelData, dataset.Rows, dataset.Columns
        dataset.save_as(file)
    refused(tmp_path, "DICOM")


def test_multiframe_without_frame_positions_is_refused(tmp_path: Path) -> None:
    path = write_multiframe(tmp_path / "m.dcm", HU)
    dataset = dcmread(path)
    del dataset.PerFrameFunctionalGroupsSequence
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.decompress() if dataset.file_meta.TransferSyntaxUID.is_compressed else None
    save(dataset, path)
    refused(path, "PerFrameFunctionalGroupsSequence")


def test_files_without_preamble_are_read(tmp_path: Path) -> None:
    for file in write_series(tmp_path, HU, transfer_syntax="1.2.840.10008.1.2"):
        dataset = dcmread(file)
        dataset.save_as(file, implicit_vr=True, little_endian=True)
        data = file.read_bytes()
        start = re.search(rb"\x08\x00\x08\x00", data)
        assert start is not None
        file.write_bytes(data[start.start() :])
    np.testing.assert_array_equal(read_ct(tmp_path).array, HU)


def test_lossy_compression_is_said(tmp_path: Path) -> None:
    write_series(
        tmp_path, HU, change=lambda dataset, k: setattr(dataset, "LossyImageCompression", "01")
    )
    warned(read_ct(tmp_path), "compressed with loss")
