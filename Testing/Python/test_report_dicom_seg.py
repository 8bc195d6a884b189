"""DICOM Segmentations: read back by others, checked by validators, true to their sources."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pydicom
import pytest
import shown_result
from dicom_seg_cases import (
    CLASSES,
    PROVENANCE,
    SIDES,
    SOURCES,
    assert_same_masks,
    axial,
    enhanced,
    gap,
    made_up,
    tilted,
)
from dicom_seg_readers import dicom3tools, read_with_dcmqi, read_with_pydicom

from CovidLesionSegLogic.ct import read_ct
from CovidLesionSegLogic.errors import InputError, RequestError
from CovidLesionSegLogic.mrml.terminology import entry_for

hd = pytest.importorskip("highdicom", reason="highdicom is not installed")

from CovidLesionSegLogic.report.dicom_seg import write_dicom_seg  # noqa: E402


@pytest.fixture(params=SOURCES, ids=lambda source: source.__name__)
def written(request, tmp_path):
    """A result on each kind of source, and its file."""
    ct = request.param(tmp_path / "ct")
    result = made_up(ct)
    return result, write_dicom_seg(result, tmp_path / "out" / "S.seg.dcm")


def test_two_other_readers_find_every_voxel(written, tmp_path):
    result, path = written
    assert_same_masks(read_with_pydicom(path, result.ct), result)
    masks, _ = read_with_dcmqi(path, result.ct, tmp_path / "dcmqi")
    assert_same_masks(masks, result)


def test_each_frame_refers_to_the_image_it_lies_on(written):
    result, path = written
    seg, ct = pydicom.dcmread(path), result.ct
    assert {f.path for f in ct.planes if f} == set(path.parents[1].glob("ct/*"))
    for group in seg.PerFrameFunctionalGroupsSequence:
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        derived = group.DerivationImageSequence
        k = round(float((position - ct.origin) @ ct.direction[:, 2]) / ct.spacing[2])
        if ct.planes[k] is None:
            assert not derived
            continue
        (image,) = derived[0].SourceImageSequence
        source = pydicom.dcmread(ct.planes[k].path)
        assert image.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert image.ReferencedSOPClassUID == source.SOPClassUID
        if "NumberOfFrames" in source:
            frame = source.PerFrameFunctionalGroupsSequence[image.ReferencedFrameNumber - 1]
            there = frame.PlanePositionSequence[0].ImagePositionPatient
        else:
            assert "ReferencedFrameNumber" not in image
            there = source.ImagePositionPatient
        offset = np.array(there, float) - position
        assert abs(offset @ ct.direction[:, 2]) < 1e-3
        preserved = np.linalg.norm(offset) < 1e-3 and ct.shape[1:] == (source.Rows, source.Columns)
        assert image.SpatialLocationsPreserved == ("YES" if preserved else "NO")


def test_every_source_image_is_named_once(written):
    result, path = written
    seg = pydicom.dcmread(path)
    (series,) = seg.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == result.ct.source["series_uid"]
    files = {plane.path for plane in result.ct.planes if plane}
    expected = sorted(pydicom.dcmread(f, stop_before_pixels=True).SOPInstanceUID for f in files)
    for images in (series.ReferencedInstanceSequence, seg.SourceImageSequence):
        assert sorted(i.ReferencedSOPInstanceUID for i in images) == expected
    assert seg.StudyInstanceUID == result.ct.source["study_uid"]


def test_interpolated_and_shifted_slices_are_told_apart(tmp_path):
    missing = gap(tmp_path / "gap").planes
    assert [k for k, plane in enumerate(missing) if plane is None] == [4]
    assert all(plane.aligned for plane in missing if plane)
    assert not any(plane.aligned for plane in tilted(tmp_path / "tilted").planes)
    planes = enhanced(tmp_path / "enhanced").planes
    assert [plane.frame for plane in planes] == [1, 3, 5, 0, 7, 8, 6, 4, 2]


def code(item):
    return item.CodingSchemeDesignator, item.CodeValue, item.CodeMeaning


def test_segments_are_coded_named_and_coloured(tmp_path):
    result = made_up(axial(tmp_path / "ct"))
    path = write_dicom_seg(result, tmp_path / "S.seg.dcm")
    segments = pydicom.dcmread(path).SegmentSequence
    names = ["Ground-glass opacity", "Consolidation", "Fibrosis", "Right lung", "Left lung"]
    assert [s.SegmentLabel for s in segments] == names
    for segment, one in zip(segments, CLASSES[:3], strict=False):
        entry = entry_for(one.name)
        assert code(segment.SegmentedPropertyCategoryCodeSequence[0]) == entry.category
        assert code(segment.SegmentedPropertyTypeCodeSequence[0]) == entry.type
        assert code(segment.AnatomicRegionSequence[0]) == ("SCT", "39607008", "Lung")
    for segment, side in zip(segments[3:], SIDES, strict=True):
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        assert code(kind) == ("SCT", "39607008", "Lung")
        assert code(kind.SegmentedPropertyTypeModifierCodeSequence[0]) == ("SCT", *side)
        assert "AnatomicRegionSequence" not in segment
    names = [s.SegmentAlgorithmName for s in segments]
    assert names == ["CovidLesionSeg made-up"] * 3 + ["CovidLesionSeg lungs"] * 2
    algorithm = segments[4].SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmVersion == "7"
    assert code(algorithm.AlgorithmFamilyCodeSequence[0])[:2] == ("DCM", "123110")
    assert len({s.TrackingUID for s in segments}) == len(segments)
    _, told = read_with_dcmqi(path, result.ct, tmp_path / "dcmqi")
    colors = [one.color for one in CLASSES[:3]] + [(202, 164, 140)] * 2
    for number, color in enumerate(colors, 1):
        assert told[number]["recommendedDisplayRGBValue"] == pytest.approx(color, abs=1)


def test_terms_of_a_model_card_are_used_and_checked(tmp_path):
    ct = axial(tmp_path / "ct")
    terms = {
        "type": {"scheme": "SCT", "value": "233604007", "meaning": "Pneumonia"},
        "region": {"scheme": "SCT", "value": "45653009", "meaning": "Upper lobe of lung"},
        "region_modifier": {"scheme": "SCT", "value": "7771000", "meaning": "Left"},
    }
    result = made_up(ct, classes=(replace(CLASSES[0], terminology=terms), *CLASSES[1:]))
    seg = pydicom.dcmread(write_dicom_seg(result, tmp_path / "S.seg.dcm"))
    segment = seg.SegmentSequence[0]
    assert code(segment.SegmentedPropertyTypeCodeSequence[0])[1] == "233604007"
    region = segment.AnatomicRegionSequence[0]
    assert code(region)[1] == "45653009"
    assert code(region.AnatomicRegionModifierSequence[0])[1] == "7771000"
    assert dicom3tools("dciodvfy", tmp_path / "S.seg.dcm") == ["Segmentation"]
    terms["type"]["meaning"] = "x" * 65
    with pytest.raises(InputError, match="does not fit into DICOM"):
        write_dicom_seg(result, tmp_path / "bad.seg.dcm")
    assert not (tmp_path / "bad.seg.dcm").exists()


@pytest.mark.parametrize(
    ("lungs", "kind", "name"),
    [
        ({"method": "given", "model": None}, "SEMIAUTOMATIC", "Lung mask given by the user"),
        ({"method": "density", "model": None}, "AUTOMATIC", "CovidLesionSeg lungs by density"),
    ],
)
def test_lungs_say_how_they_were_found(tmp_path, lungs, kind, name):
    result = made_up(axial(tmp_path / "ct"), provenance={**PROVENANCE, "lungs": lungs})
    segment = pydicom.dcmread(write_dicom_seg(result, tmp_path / "S.seg.dcm")).SegmentSequence[-1]
    assert (segment.SegmentAlgorithmType, segment.SegmentAlgorithmName) == (kind, name)


def test_one_segment_alone(tmp_path):
    result = made_up(axial(tmp_path / "ct"))
    result.labels[:] = 0
    result.lungs[result.lungs == 2] = 0
    path = write_dicom_seg(result, tmp_path / "S.seg.dcm")
    (mask,) = read_with_pydicom(path, result.ct).values()
    np.testing.assert_array_equal(mask, result.lungs == 1)
    masks, _ = read_with_dcmqi(path, result.ct, tmp_path / "dcmqi")
    np.testing.assert_array_equal(masks[1], mask)
    assert dicom3tools("dciodvfy", path) == ["Segmentation"]
    result.lungs[:] = 0
    with pytest.raises(InputError, match="neither lesions nor lungs"):
        write_dicom_seg(result, path)
    assert path.exists()


def test_one_result_gives_one_file_and_another_run_another(tmp_path):
    result = made_up(axial(tmp_path / "ct"))
    paths = [write_dicom_seg(result, tmp_path / name) for name in ("a.seg.dcm", "b.seg.dcm")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    first = pydicom.dcmread(paths[0])
    later = replace(result, provenance={**PROVENANCE, "started": "2025-03-01T23:30:01+00:00"})
    corrected = replace(result, labels=np.where(result.labels == 3, 0, result.labels))
    for other in (later, corrected):
        second = pydicom.dcmread(write_dicom_seg(other, tmp_path / "c.seg.dcm"))
        assert second.SOPInstanceUID != first.SOPInstanceUID
        assert second.SeriesInstanceUID != first.SeriesInstanceUID
        assert second.SegmentSequence[0].TrackingUID == first.SegmentSequence[0].TrackingUID


def test_only_ct_read_from_dicom_can_be_referred_to(phantom, tmp_path):
    with pytest.raises(RequestError, match="needs a CT read from DICOM"):
        write_dicom_seg(shown_result.from_phantom(phantom), tmp_path / "S.seg.dcm")


@pytest.mark.data
def test_real_ct(shared_data, tmp_path):
    ct = read_ct(shared_data / "covid_ct_md" / "P001")
    result = made_up(ct)
    path = write_dicom_seg(result, tmp_path / "P001.seg.dcm")
    assert_same_masks(read_with_pydicom(path, ct), result)
    masks, _ = read_with_dcmqi(path, ct, tmp_path / "dcmqi")
    assert_same_masks(masks, result)
    # The name of this patient has one component only, which the source has too.
    told = [line for line in dicom3tools("dciodvfy", path) if "Retired Person Name" not in line]
    assert told == ["Segmentation"]
    files = sorted({plane.path for plane in ct.planes})
    assert dicom3tools("dcentvfy", *files, path) == []
