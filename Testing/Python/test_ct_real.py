"""Real CTs (skipped where absent): JPEG Lossless DICOM with shuffled names, NIfTI."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from CovidLesionSegLogic.ct import list_series, read_ct, to_canonical
from CovidLesionSegLogic.errors import InputError


@pytest.mark.parametrize(
    ("case", "slices", "pixel", "top"),
    [("P001", 148, 0.748046875, -52.1), ("normal001", 154, 0.634765625, -24.5)],
)
def test_real_dicom(shared_data: Path, case: str, slices: int, pixel: float, top: float) -> None:
    folder = shared_data / "covid_ct_md" / case
    start = time.process_time()
    ct = read_ct(folder)
    seconds = time.process_time() - start
    assert ct.shape == (slices, 512, 512)
    assert ct.array.dtype == np.int16
    assert ct.spacing == pytest.approx((pixel, pixel, 2.0))
    assert ct.array.min() == -1024
    assert 1000 < ct.array.max() < 3072
    assert ct.warnings == ()
    assert ct.name == case
    assert "JPEG Lossless" in ct.source["transfer_syntax"]
    assert ct.source["slices"] == slices
    assert seconds < 20  # processor time, all threads; about 2 s on an idle machine
    # lung, fat and muscle are where they belong
    middle = ct.array[slices // 2, 100:400, 60:450]
    assert 0.1 < ((middle > -950) & (middle < -700)).mean() < 0.7
    assert ((middle > 0) & (middle < 80)).mean() > 0.05
    # single files, decoded by another decoder, land on the slice of their z
    heights = []
    for file in sorted(folder.glob("*.dcm"))[::40]:
        dataset = dcmread(file)
        z = float(dataset.ImagePositionPatient[2])
        k = (z - ct.origin[2]) / ct.spacing[2]
        assert k == pytest.approx(round(k), abs=1e-3)
        np.testing.assert_array_equal(
            ct.array[round(k)], dataset.pixel_array.astype(np.int32) - 1024
        )
        heights.append(z)
    assert heights != sorted(heights)  # the names do not follow the patient
    assert ct.origin[2] + (slices - 1) * 2.0 == pytest.approx(top)


def test_real_series_cut_short_or_single(shared_data: Path, tmp_path: Path) -> None:
    file = next((shared_data / "covid_ct_md" / "P001").glob("*.dcm"))
    with pytest.raises(InputError, match="single slice"):
        read_ct(file)
    data = file.read_bytes()
    (tmp_path / "cut.dcm").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError):
        read_ct(tmp_path / "cut.dcm")


def test_two_real_studies_in_one_folder(shared_data: Path) -> None:
    infos = list_series(shared_data / "covid_ct_md")
    assert [(info.slices, info.chosen) for info in infos] == [(154, True), (148, False)]


def test_real_nifti(shared_data: Path) -> None:
    ct = read_ct(shared_data / "medseg_volumes" / "vol2_ct.nii.gz")
    assert ct.shape == (39, 630, 630)
    assert ct.spacing[2] == pytest.approx(6.0)
    assert ct.array.min() == -1024
    canonical, _ = to_canonical(ct)
    np.testing.assert_allclose(canonical.direction, np.eye(3), atol=1e-6)
