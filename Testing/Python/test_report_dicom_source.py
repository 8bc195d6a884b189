"""What a DICOM Segmentation takes over from headers that are not to the standard."""

from __future__ import annotations

import pydicom
import pytest
from dicom_seg_cases import NOT_IN_SOURCE, SHAPE, made_up, missing_names, usual_headers
from dicom_seg_readers import dicom3tools
from dicom_writer import make_hu, write_series
from pydicom import DataElement

from CovidLesionSegLogic.ct import read_ct
from CovidLesionSegLogic.errors import InputError

pytest.importorskip("highdicom", reason="highdicom is not installed")

from CovidLesionSegLogic.report.dicom_seg import write_dicom_seg


def result_of(folder, *changes):
    def change(dataset, k):
        usual_headers(dataset, k)
        for one in changes:
            one(dataset)

    write_series(folder, make_hu(SHAPE), change=change)
    return made_up(read_ct(folder))


def segmentation_of(tmp_path, *changes):
    result = result_of(tmp_path / "ct", *changes)
    path = write_dicom_seg(result, tmp_path / "S.seg.dcm")
    warnings = ["Warning - " + NOT_IN_SOURCE + name for name in missing_names(result.ct)]
    assert sorted(dicom3tools("dciodvfy", path)) == ["Segmentation", *warnings]
    return pydicom.dcmread(path)


def without(*keywords):
    def change(dataset):
        for keyword in keywords:
            if keyword in dataset:
                delattr(dataset, keyword)

    return change


def raw(keyword, vr, value):
    """A value that pydicom would not let pass, under any VR."""

    def change(dataset):
        tag = pydicom.datadict.tag_for_keyword(keyword)
        dataset[tag] = DataElement(tag, vr, value, validation_mode=pydicom.config.IGNORE)

    return change


def test_what_is_valid_is_taken_over(tmp_path):
    seg = segmentation_of(tmp_path, lambda d: setattr(d, "TimezoneOffsetFromUTC", "+0200"))
    assert seg.PatientName == "Secret^Person"
    assert (seg.PatientID, seg.PatientSex, seg.PatientAge) == ("4711", "F", "070Y")
    assert (seg.StudyDate, seg.StudyTime, seg.StudyID) == ("20200102", "131415", "S7")
    assert (seg.AccessionNumber, seg.StudyDescription) == ("A-12", "Thorax")
    assert seg.FrameOfReferenceUID == "1.2.826.0.1.3680043.8.498.77"
    assert (seg.ContentDate, seg.ContentTime) == ("20250302", "013000")
    assert seg.TimezoneOffsetFromUTC == "+0200"


def test_missing_attributes_are_there_and_empty(tmp_path):
    gone = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate")
    more = ("StudyTime", "AccessionNumber", "ReferringPhysicianName", "SeriesNumber")
    seg = segmentation_of(tmp_path, without(*gone, *more, "Manufacturer"))
    for keyword in (*gone, *more[:3]):
        assert keyword in seg
        assert not seg.get(keyword)
    assert seg.SeriesNumber == 1000


def test_a_missing_frame_of_reference_gets_one_of_its_own(tmp_path):
    seg = segmentation_of(tmp_path, without("FrameOfReferenceUID"))
    assert seg.FrameOfReferenceUID.startswith("2.25.")


@pytest.mark.parametrize(
    ("keyword", "vr", "value"),
    [
        ("PatientBirthDate", "DA", "1950"),
        ("PatientBirthDate", "LO", "2 January 1950"),
        ("PatientSex", "CS", "female"),
        ("PatientSex", "CS", "U"),
        ("StudyDate", "DA", "2020-01-02"),
        ("StudyTime", "TM", "13 o'clock"),
        ("StudyID", "LO", "much longer than sixteen characters"),
        ("AccessionNumber", "LO", ["A", "B"]),
    ],
)
def test_invalid_values_become_empty(tmp_path, keyword, vr, value):
    result = result_of(tmp_path / "ct", raw(keyword, vr, value))
    path = write_dicom_seg(result, tmp_path / "S.seg.dcm")
    assert not pydicom.dcmread(path)[keyword].value
    told = dicom3tools("dciodvfy", path)
    assert all(line == "Segmentation" or NOT_IN_SOURCE in line for line in told)


def test_invalid_optional_values_are_left_out(tmp_path):
    flaws = (raw("PatientAge", "AS", "39"), raw("TimezoneOffsetFromUTC", "SH", "CET"))
    result = result_of(tmp_path / "ct", *flaws, raw("PatientWeight", "LO", "heavy"))
    weight = b"\x10\x00\x30\x10"
    for path in (tmp_path / "ct").iterdir():  # a decimal string that is none, as pydicom raises on
        path.write_bytes(path.read_bytes().replace(weight + b"LO", weight + b"DS"))
    path = write_dicom_seg(result, tmp_path / "S.seg.dcm")
    assert dicom3tools("dciodvfy", path) == ["Segmentation"]
    seg = pydicom.dcmread(path)
    assert not {"PatientAge", "TimezoneOffsetFromUTC", "PatientWeight"} & set(seg.dir())


@pytest.mark.parametrize(
    ("charset", "name"), [("ISO_IR 100", "Müller^Jürgen"), ("GB18030", "Wang^XiaoDong=王^小东")]
)
def test_names_of_any_script_stay(tmp_path, charset, name):
    def change(dataset):
        dataset.SpecificCharacterSet = charset
        dataset.PatientName = name

    seg = segmentation_of(tmp_path, change)
    assert seg.SpecificCharacterSet == "ISO_IR 192"
    assert str(seg.PatientName) == name


def test_removed_identity_and_loss_are_repeated(tmp_path):
    def change(dataset):
        dataset.PatientIdentityRemoved, dataset.DeidentificationMethod = "YES", "names removed"
        dataset.LossyImageCompression, dataset.LossyImageCompressionRatio = "01", 12.5
        dataset.LossyImageCompressionMethod = "ISO_10918_1"

    seg = segmentation_of(tmp_path, change)
    assert (seg.PatientIdentityRemoved, seg.DeidentificationMethod) == ("YES", "names removed")
    assert (seg.LossyImageCompression, seg.LossyImageCompressionRatio) == ("01", 12.5)


def test_no_log_holds_the_name_of_the_patient(tmp_path, recwarn, caplog, capfd):
    result = result_of(tmp_path / "ct", lambda d: setattr(d, "PatientName", "Hidden Person"))
    path = write_dicom_seg(result, tmp_path / "S.seg.dcm")
    assert pydicom.dcmread(path).PatientName == "Hidden Person"
    told = capfd.readouterr()
    texts = [str(warning.message) for warning in recwarn]
    assert "Hidden" not in " ".join((*texts, caplog.text, told.out, told.err))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (raw("PatientID", "LO", ["4711", "4712"]), "PatientID"),
        (raw("PatientID", "LO", "4" * 65), "PatientID"),
        (raw("StudyInstanceUID", "UI", "1.2.003"), "StudyInstanceUID"),
        (raw("SOPInstanceUID", "UI", "1.2.03"), "no valid SOPInstanceUID"),
        (raw("SOPInstanceUID", "UI", "1.2.3"), "have the same SOPInstanceUID"),
        (raw("FrameOfReferenceUID", "UI", "frame"), "FrameOfReferenceUID"),
        (
            lambda d: setattr(d, "FrameOfReferenceUID", f"1.2.{d.InstanceNumber}"),
            "different FrameOfReferenceUIDs",
        ),
        (raw("LossyImageCompression", "CS", "01"), "LossyImageCompressionRatio"),
    ],
)
def test_what_would_be_wrong_is_refused(tmp_path, change, words):
    result = result_of(tmp_path / "ct", change)
    with pytest.raises(InputError, match=words) as caught:
        write_dicom_seg(result, tmp_path / "S.seg.dcm")
    assert "export the series again" in str(caught.value) or "correct it" in str(caught.value)
    assert not (tmp_path / "S.seg.dcm").exists()


def test_images_that_are_gone_or_others_are_refused(tmp_path):
    result = result_of(tmp_path / "ct")
    first = result.ct.planes[0].path
    dataset = pydicom.dcmread(first)
    dataset.SeriesInstanceUID = "1.2.3"
    dataset.save_as(first)
    with pytest.raises(InputError, match="no longer the image"):
        write_dicom_seg(result, tmp_path / "S.seg.dcm")
    first.unlink()
    with pytest.raises(InputError, match="cannot be read again"):
        write_dicom_seg(result, tmp_path / "S.seg.dcm")
