"""The shipped models through the whole path, on the phantom and on real CTs."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from CovidLesionSegLogic.cli import main
from CovidLesionSegLogic.ct import CTVolume, read_ct, write_image
from CovidLesionSegLogic.models import DEFAULT_MODEL, LUNG_MODEL, list_models
from CovidLesionSegLogic.pipeline import SegmentOptions, segment_ct

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def released() -> None:
    """Both shipped networks, or no test."""
    missing = {DEFAULT_MODEL, LUNG_MODEL} - {card.name for card in list_models()}
    if missing:
        pytest.skip(f"not shipped in Resources/Models: {', '.join(sorted(missing))}")


def every(ct: CTVolume, step: int) -> CTVolume:
    """Every ``step``-th slice, so that a CPU is done in time."""
    i, j, k = ct.spacing
    return replace(
        ct,
        array=np.ascontiguousarray(ct.array[::step]),
        spacing=(i, j, k * step),
        planes=(),  # the DICOM files no longer are its slices
    )


def test_lungs_of_the_phantom_are_found_by_the_network(phantom):
    result = segment_ct(phantom.ct, SegmentOptions(device="cpu"))
    assert result.provenance["lungs"]["method"] == "network"
    same = (result.lungs == phantom.lungs) & (phantom.lungs > 0)
    dice = 2 * same.sum() / ((result.lungs > 0).sum() + (phantom.lungs > 0).sum())
    assert dice > 0.85


@pytest.mark.data
def test_covid_and_normal_ct_are_told_apart(shared_data, tmp_path):
    """Two real DICOM CTs through the command line; every fourth slice."""
    share = {}
    for name in ("P001", "normal001"):
        ct = every(read_ct(shared_data / "covid_ct_md" / name), 4)
        path = write_image(ct.array, ct, tmp_path / f"{name}.nii.gz")
        request = ["segment", str(path), "-o", str(tmp_path / "out"), "--format", "nii.gz"]
        assert main([*request, "--no-report", "--device", "cpu", "--progress", "none"]) == 0
        data = json.loads((tmp_path / "out" / f"{name}_quantification.json").read_text())
        share[name] = data["total"]["share_of_lungs_percent"]
        assert data["lungs"]["volume_ml"] > 1500
    assert share["P001"] > 2
    assert share["normal001"] < 0.5


def lesion_place(result) -> np.ndarray:
    """Centre of the lesions in the patient (LPS, mm)."""
    k, j, i = (c.mean() for c in np.nonzero(result.labels))
    return (result.ct.affine @ (i, j, k, 1.0))[:3]


def turned(ct: CTVolume, degrees: float) -> CTVolume:
    """The same voxels, lying obliquely in the scanner."""
    a, b = np.radians(degrees), np.radians(degrees / 2)
    about_z = [[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]
    about_x = [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
    turn = np.array(about_z) @ np.array(about_x)
    return replace(ct, direction=turn @ ct.direction, origin=tuple(turn @ ct.origin))


def flipped(ct: CTVolume) -> CTVolume:
    """The same patient, stored with every axis reversed."""
    last = np.array([n - 1 for n in reversed(ct.shape)])
    origin = ct.affine @ (*last, 1.0)
    return replace(
        ct,
        array=np.ascontiguousarray(ct.array[::-1, ::-1, ::-1]),
        direction=-ct.direction,
        origin=tuple(origin[:3]),
    )


def permuted(ct: CTVolume) -> CTVolume:
    """The same patient, stored in sagittal slices."""
    order = [1, 2, 0]  # the new i, j, k are the old j, k, i
    return replace(
        ct,
        array=np.ascontiguousarray(ct.array.transpose(2, 0, 1)),
        direction=ct.direction[:, order],
        spacing=tuple(ct.spacing[n] for n in order),
    )


@pytest.mark.data
def test_same_lesions_from_every_format_and_orientation(shared_data, tmp_path):
    """Real CT: lesion volume within 0.1 %, same place in the patient, on each file's own grid."""
    ct = every(read_ct(shared_data / "covid_ct_md" / "P001"), 10)
    options = SegmentOptions(device="cpu")
    expected = segment_ct(ct, options)
    volume, place = expected.quantification.total.volume_ml, lesion_place(expected)
    assert volume > 50
    variants = {
        "nifti.nii.gz": ct,
        "flipped.nrrd": flipped(ct),
        "permuted.mha": permuted(ct),
        "oblique.nii.gz": turned(ct, 14.0),
    }
    for name, variant in variants.items():
        path = write_image(variant.array, variant, tmp_path / name)
        result = segment_ct(read_ct(path), options)
        assert result.labels.shape == variant.shape, name
        assert result.quantification.total.volume_ml == pytest.approx(volume, rel=1e-3), name
        if variant is variants["oblique.nii.gz"]:
            np.testing.assert_array_equal(result.labels, expected.labels)
        else:
            np.testing.assert_allclose(lesion_place(result), place, atol=0.1, err_msg=name)
