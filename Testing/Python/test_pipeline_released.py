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
    return replace(ct, array=np.ascontiguousarray(ct.array[::step]), spacing=(i, j, k * step))


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
