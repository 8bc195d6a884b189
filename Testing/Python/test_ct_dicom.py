"""DICOM series to volumes: order, values, transfer syntaxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_writer import make_hu, write_multiframe, write_series
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from CovidLesionSegLogic.ct import read_ct, to_canonical
from CovidLesionSegLogic.errors import InputError

HU = make_hu()
SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
@pytest.mark.parametrize(
    ("signed", "bits", "intercept"), [(False, 12, -1024), (False, 16, -1024), (True, 16, 0),
                                      (True, 12, 0)]
)  # fmt: skip
def test_every_transfer_syntax_gives_the_same_voxels(
    tmp_path: Path, syntax: str, signed: bool, bits: int, intercept: float
) -> None:
    write_series(
        tmp_path / "study", HU, transfer_syntax=syntax, signed=signed, bits_stored=bits,
        intercept=intercept,
    )  # fmt: skip
    ct = read_ct(tmp_path / "study")
    assert ct.array.dtype == np.int16
    np.testing.assert_array_equal(ct.array, HU)
    assert ct.source["transfer_syntax"] == syntax.name  # type: ignore[attr-defined]
    assert ct.warnings == ()


def test_geometry_and_identity(tmp_path: Path) -> None:
    write_series(tmp_path / "Anna 2024-01", HU)
    ct = read_ct(tmp_path / "Anna 2024-01")
    assert ct.spacing == pytest.approx((0.75, 0.8, 2.0))
    assert ct.origin == pytest.approx((-10.0, -20.0, -100.0))
    np.testing.assert_allclose(ct.direction, np.eye(3))
    assert ct.name == "Anna_2024-01"
    assert ct.source["slices"] == 6
    assert ct.source["manufacturer"] == "Nobody"
    assert ct.source["kernel"] == "B70f"
    assert "Secret" not in repr(ct.source) + ct.name + repr(ct.warnings)


@pytest.mark.parametrize(
    "orientation",
    [
        (1, 0, 0, 0, 1, 0),
        (-1, 0, 0, 0, -1, 0),
        (1, 0, 0, 0, -1, 0),
        (0, 1, 0, 0, 0, -1),
        (0.96, 0.28, 0, -0.28, 0.96, 0),
    ],
)
def test_slices_are_ordered_along_the_normal(tmp_path: Path, orientation: tuple[float]) -> None:
    write_series(tmp_path, HU, orientation=orientation)
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.array, HU)
    expected = np.cross(orientation[:3], orientation[3:])
    np.testing.assert_allclose(ct.direction[:, 2], expected, atol=1e-6)


def test_slices_prone_feet_first_reach_canonical_axes(tmp_path: Path) -> None:
    write_series(tmp_path, HU, orientation=(-1, 0, 0, 0, -1, 0))
    canonical, _ = to_canonical(read_ct(tmp_path))
    np.testing.assert_allclose(canonical.direction, np.eye(3), atol=1e-9)
    np.testing.assert_array_equal(canonical.array, HU[:, ::-1, ::-1])


def test_rescale_differs_from_slice_to_slice(tmp_path: Path) -> None:
    write_series(tmp_path, HU, intercept=[-1024 - 10 * k for k in range(len(HU))])
    np.testing.assert_array_equal(read_ct(tmp_path).array, HU)


def test_fractional_rescale_gives_float32(tmp_path: Path) -> None:
    write_series(tmp_path, HU, slope=0.5, intercept=-1024.25)
    ct = read_ct(tmp_path)
    assert ct.array.dtype == np.float32
    np.testing.assert_allclose(ct.array, HU, atol=0.25)


def test_fractional_slope_with_whole_results_is_int16(tmp_path: Path) -> None:
    write_series(tmp_path, HU * 0 + np.where(HU < 0, -1000, 40), slope=0.5)
    assert read_ct(tmp_path).array.dtype == np.int16


def test_monochrome1_does_not_invert_hounsfield_units(tmp_path: Path) -> None:
    for signed, bits in ((False, 12), (True, 12), (False, 16)):
        folder = tmp_path / f"{signed}{bits}"
        write_series(
            folder, HU, monochrome1=True, signed=signed, bits_stored=bits,
            intercept=0 if signed else -1024,
        )  # fmt: skip
        ct = read_ct(folder)
        np.testing.assert_array_equal(ct.array, HU)
        assert any("MONOCHROME1" in message for message in ct.warnings)


def test_truly_inverted_values_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path, 1000 - HU.clip(-1000, 1400), monochrome1=True)
    with pytest.raises(InputError, match="inverted"):
        read_ct(tmp_path)


@pytest.mark.parametrize("value", [-2000, 63536])
def test_padding_becomes_air(tmp_path: Path, value: int) -> None:
    hu = HU.copy()
    hu[:, 0] = -2000

    def change(dataset, k):
        dataset.add_new("PixelPaddingValue", "US" if value > 0 else "SS", value)

    write_series(tmp_path, hu, signed=True, intercept=0, change=change)
    ct = read_ct(tmp_path)
    np.testing.assert_array_equal(ct.array, np.maximum(hu, -1024))


def test_padding_range_in_tissue_counts_only_at_the_edge(tmp_path: Path) -> None:
    hu = HU.copy()
    hu[:, 0] = 7
    hu[:, 1:3] = -900
    hu[:, 10, 10] = 7

    def change(dataset, k):
        dataset.add_new("PixelPaddingValue", "US", 1024 + 6)
        dataset.add_new("PixelPaddingRangeLimit", "US", 1024 + 8)

    write_series(tmp_path, hu, change=change)
    ct = read_ct(tmp_path)
    assert (ct.array[:, 0, 1:] == -1024).all()
    assert (ct.array[:, 10, 10] == 7).all()


def test_values_below_minus_1024_become_minus_1024(tmp_path: Path) -> None:
    hu = HU.copy()
    hu[0, 5] = -3024
    write_series(tmp_path, hu, signed=True, intercept=0)
    ct = read_ct(tmp_path)
    assert ct.array.min() == -1024
    np.testing.assert_array_equal(ct.array, np.maximum(hu, -1024))


def test_stray_bits_above_bits_stored_are_ignored(tmp_path: Path) -> None:
    def change(dataset, k):
        stored = np.frombuffer(dataset.PixelData, "<u2") | 0xF000
        dataset.PixelData = stored.tobytes()

    write_series(tmp_path, HU, bits_stored=12, change=change)
    np.testing.assert_array_equal(read_ct(tmp_path).array, HU)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless])
def test_enhanced_multiframe(tmp_path: Path, syntax: str) -> None:
    path = write_multiframe(
        tmp_path / "enhanced.dcm", HU, order=[3, 1, 0, 2, 5, 4],
        intercepts=[-1024, -1030, -1000, -1024, -1025, -1026], transfer_syntax=syntax,
    )  # fmt: skip
    ct = read_ct(path)
    np.testing.assert_array_equal(ct.array, HU)
    assert ct.spacing == pytest.approx((0.75, 0.8, 2.0))
    assert ct.name == "enhanced"
    np.testing.assert_array_equal(read_ct(tmp_path).array, HU)


def test_progress_is_told_and_can_stop_the_reading(tmp_path: Path) -> None:
    write_series(tmp_path, HU)
    seen: list[tuple[str, int, int]] = []
    read_ct(tmp_path, progress=lambda *report: seen.append(report))
    assert seen[0] == ("scan", 6, 6)
    assert seen[-1] == ("read", 6, 6)

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "read":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_ct(tmp_path, progress=stop)


def test_nothing_leaks_onto_standard_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = write_series(tmp_path, HU, tilt_degrees=5)
    for file in files:
        data = file.read_bytes()
        assert b"\x18\x00\x50\x00DS" in data
        file.write_bytes(data.replace(b"DS\x04\x002.0 ", b"DS\x04\x00a\\b "))
    capfd.readouterr()
    read_ct(tmp_path)
    captured = capfd.readouterr()
    assert read_ct(tmp_path).source["slice_thickness_mm"] is None
    assert captured.err == ""
    assert captured.out == ""
