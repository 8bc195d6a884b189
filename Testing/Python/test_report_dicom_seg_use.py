"""DICOM Segmentations from end to end: command line, output folder, Slicer's classes."""

from __future__ import annotations

import json
import sys

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import tiny_model
from dicom_seg_cases import CLASSES, made_up, oblique, usual_headers
from dicom_seg_readers import dicom3tools, read_with_dcmqi, read_with_pydicom
from dicom_writer import write_series

from CovidLesionSegLogic.cli import main
from CovidLesionSegLogic.ct import CTVolume, read_ct, write_image
from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.mrml.terminology import Code
from CovidLesionSegLogic.outputs import check_formats, check_source, write_outputs
from CovidLesionSegLogic.pipeline import SegmentationResult

pytest.importorskip("highdicom", reason="highdicom is not installed")


@pytest.fixture
def series(phantom, tmp_path):
    """The phantom as a DICOM series, by a writer that is not ours to test."""
    ct = phantom.ct
    x, y, z = ct.spacing
    assert np.allclose(ct.direction, np.eye(3))
    write_series(
        tmp_path / "scan",
        ct.array.clip(-1024),
        spacing=(x, y, z),
        origin=ct.origin,
        change=usual_headers,
    )
    return tmp_path / "scan"


@pytest.fixture
def request_line(series, phantom, tmp_path, monkeypatch):
    """A request that works and is quick."""
    folder = tmp_path / "models"
    folder.mkdir()
    tiny_model.install(folder, monkeypatch)
    lungs = write_image(phantom.lungs, read_ct(series), tmp_path / "lungs.nii.gz")
    return [
        *("segment", str(series), "-o", str(tmp_path / "out"), "--model", "tiny"),
        *("--device", "cpu", "--lungs", str(lungs), "--no-report", "--format", "nii.gz,dicom-seg"),
    ]


def test_from_the_command_line(request_line, series, tmp_path, capfd):
    assert main(request_line) == 0
    told = capfd.readouterr()
    path = tmp_path / "out" / "scan.seg.dcm"
    assert str(path) in told.out.splitlines()
    assert "Secret" not in told.out + told.err
    ct = read_ct(series)
    arrays = [
        sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / f"scan_{what}.nii.gz")))
        for what in ("labels", "lungs")
    ]
    expected = dict(enumerate((arrays[0] == 1, arrays[1] == 1, arrays[1] == 2), 1))
    dcmqi, _ = read_with_dcmqi(path, ct, tmp_path / "dcmqi")
    for found in (read_with_pydicom(path, ct), dcmqi):
        assert found.keys() == expected.keys()
        for number, mask in expected.items():
            assert mask.any()
            np.testing.assert_array_equal(found[number], mask)
    assert dicom3tools("dciodvfy", path) == ["Segmentation"]
    assert dicom3tools("dcentvfy", *series.iterdir(), path) == []
    seg = pydicom.dcmread(path)
    assert seg.PatientName == "Secret^Person"
    assert (seg.SeriesNumber, seg.Modality, seg.ContentLabel) == (1003, "SEG", "LUNG_LESIONS")
    assert "not for clinical use" in seg.ContentDescription
    data = json.loads((tmp_path / "out" / "scan_quantification.json").read_text())
    assert "planes" not in json.dumps(data)
    weights = data["provenance"]["model"]["sha256"]
    assert seg.DeviceSerialNumber == weights[:16]


def test_dcentvfy_would_find_another_patient(request_line, series, tmp_path):
    assert main(request_line) == 0
    path = tmp_path / "out" / "scan.seg.dcm"
    seg = pydicom.dcmread(path)
    seg.PatientID = "4712"
    seg.save_as(path)
    told = dicom3tools("dcentvfy", next(series.iterdir()), path)
    assert any("Different PatientID" in line for line in told)


def test_other_formats_are_refused_before_the_work(request_line, phantom, tmp_path, capsys):
    request_line[1] = str(write_image(phantom.ct.array, phantom.ct, tmp_path / "scan.nii.gz"))
    assert main(request_line) == 2
    error = capsys.readouterr().err
    assert "needs a CT read from DICOM" in error
    assert "choose another format" in error
    assert not (tmp_path / "out").exists()


def test_flawed_headers_are_refused_before_the_work(request_line, series, tmp_path, capsys):
    for path in series.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.SOPInstanceUID = "1.02.3"
        dataset.save_as(path)
    assert main(request_line) == 3
    assert "no valid SOPInstanceUID" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_only_when_chosen(series, tmp_path, monkeypatch):
    made = made_up(read_ct(series))
    provenance = {**made.provenance, "input": dict(made.ct.source)}
    result = SegmentationResult(
        made.ct, made.labels, made.lungs, None, made.classes, made.quantification, provenance
    )
    outputs = write_outputs(result, tmp_path / "out", report=False)
    assert "dicom_seg" not in outputs
    with pytest.raises(RequestError, match="needs a CT read from DICOM"):
        check_source(CTVolume(result.ct.array), ["dicom-seg"])
    check_source(CTVolume(result.ct.array), None)
    outputs = write_outputs(result, tmp_path / "out", ["dicom-seg"], report=False)
    assert outputs["dicom_seg"].name.endswith(".seg.dcm")
    assert not list((tmp_path / "out").glob("*.nii.gz"))
    write_outputs(result, tmp_path / "out", ["nii.gz"], report=False)
    assert not outputs["dicom_seg"].exists()
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(RequestError, match=r"pip install 'covid-lesion-seg\[dicom\]'"):
        check_formats(["dicom-seg"])


def test_as_segments_of_slicer(tmp_path):
    """What dcmqi reads makes the same MRML segments as the result itself.

    Slicer imports DICOM Segmentations with dcmqi too; its own import is not in slicer-core.
    """
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    from test_mrml_segments import ids, segment_array

    from CovidLesionSegLogic import mrml
    from CovidLesionSegLogic.models import LesionClass
    from CovidLesionSegLogic.report.dicom_seg import write_dicom_seg

    result = made_up(oblique(tmp_path / "ct"))
    path = write_dicom_seg(result, tmp_path / "S.seg.dcm")
    masks, told = read_with_dcmqi(path, result.ct, tmp_path / "dcmqi")
    read_classes = [
        LesionClass(
            one["SegmentLabel"],
            number,
            color=tuple(one["recommendedDisplayRGBValue"]),
            terminology={
                "category": one["SegmentedPropertyCategoryCodeSequence"],
                "type": one["SegmentedPropertyTypeCodeSequence"],
                "region": one["AnatomicRegionSequence"],
            },
        )
        for number, one in told.items()
        if number <= 3
    ]
    labels = sum(masks[number] * np.uint8(number) for number in (1, 2, 3))
    lungs = masks[4] * np.uint8(1) + masks[5] * np.uint8(2)
    imported = mrml.labels_to_segmentation(labels, lungs, result.ct, read_classes)
    own = mrml.labels_to_segmentation(result.labels, result.lungs, result.ct, CLASSES[:3])
    assert len(ids(imported)) == len(ids(own)) == 5
    for one, other in zip(ids(imported), ids(own), strict=True):
        a, b = (n.GetSegmentation().GetSegment(i) for n, i in ((imported, one), (own, other)))
        assert a.GetName() == b.GetName()
        assert a.GetColor() == pytest.approx(b.GetColor(), abs=1.01 / 255)
        assert a.GetTerminology() == b.GetTerminology() != ""
        shape = result.ct.shape
        np.testing.assert_array_equal(
            segment_array(imported, one, shape), segment_array(own, other, shape)
        )
    for number, entry in ((4, mrml.terminology.RIGHT_LUNG), (5, mrml.terminology.LEFT_LUNG)):
        codes = [
            told[number][f"SegmentedProperty{part}CodeSequence"]
            for part in ("Category", "Type", "TypeModifier")
        ]
        keys = ("CodingSchemeDesignator", "CodeValue", "CodeMeaning")
        found = [Code(*(item[key] for key in keys)) for item in codes]
        assert found == [entry.category, entry.type, entry.modifier]
