"""DICOM Segmentations as two validators of the standard see them."""

from __future__ import annotations

import pydicom
import pytest
from dicom_seg_cases import NOT_IN_SOURCE, SOURCES, axial, made_up, missing_names
from dicom_seg_readers import dicom3tools
from dicom_standard_validator import violations

pytest.importorskip("highdicom", reason="highdicom is not installed")

from CovidLesionSegLogic.report.dicom_seg import write_dicom_seg


@pytest.fixture(params=SOURCES, ids=lambda source: source.__name__)
def written(request, tmp_path):
    """A result on each kind of source, and its file."""
    ct = request.param(tmp_path / "ct")
    result = made_up(ct)
    return result, write_dicom_seg(result, tmp_path / "out" / "S.seg.dcm")


def test_dciodvfy_finds_nothing(written):
    result, path = written
    warnings = ["Warning - " + NOT_IN_SOURCE + name for name in missing_names(result.ct)]
    assert sorted(dicom3tools("dciodvfy", path)) == ["Segmentation", *warnings]


def test_dicom_validator_finds_nothing(written):
    assert violations(written[1]) == []


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda seg: delattr(seg, "ContentCreatorName"), "(0070,0084) TagMissing"),
        (lambda seg: setattr(seg, "SegmentationType", "NONE"), "EnumValueNotAllowed"),
        (lambda seg: setattr(seg, "WindowCenter", 3), "(0028,1050) TagUnexpected"),
        (lambda seg: delattr(seg.SegmentSequence[0], "TrackingUID"), "(0062,0021) TagMissing"),
    ],
)
def test_dicom_validator_would_find_it(tmp_path, damage, found):
    path = write_dicom_seg(made_up(axial(tmp_path / "ct")), tmp_path / "S.seg.dcm")
    seg = pydicom.dcmread(path)
    damage(seg)
    seg.save_as(path)
    (violation,) = violations(path)
    assert found in violation
