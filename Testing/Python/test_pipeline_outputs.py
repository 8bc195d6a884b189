"""Output folders: everything or nothing, safe names, clear refusals."""

from __future__ import annotations

import errno
import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import tiny_model

from CovidLesionSegLogic.ct import write_image
from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.outputs import (
    check_formats,
    check_output_folder,
    check_study_name,
    file_stem,
    staged_folder,
    write,
    write_outputs,
)
from CovidLesionSegLogic.pipeline import SegmentOptions, segment_ct


@pytest.fixture(scope="module")
def result(phantom, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    with pytest.MonkeyPatch.context() as patch:
        tiny_model.install(folder, patch)
        lungs = write_image(phantom.lungs, phantom.ct, folder / "lungs.nii.gz")
        return segment_ct(phantom.ct, SegmentOptions(model="tiny", lungs=lungs, probability=True))


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_label_files_hold_the_result_on_the_grid_of_the_ct(result, tmp_path):
    outputs = write_outputs(
        result, tmp_path / "a" / "b", ["nii.gz"], probability=True, report=False, name="S"
    )
    assert names(tmp_path / "a" / "b") == sorted(p.name for p in outputs.values())
    image = sitk.ReadImage(str(outputs["labels"]))
    assert outputs["labels"].name == "S_labels.nii.gz"
    assert image.GetPixelID() == sitk.sitkUInt8
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), result.labels)
    assert image.GetSpacing() == pytest.approx(result.ct.spacing)
    assert image.GetOrigin() == pytest.approx(result.ct.origin, abs=1e-4)
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(sitk.ReadImage(str(outputs["lungs"]))), result.lungs
    )
    maps = sitk.GetArrayFromImage(sitk.ReadImage(str(outputs["probability"])))
    np.testing.assert_allclose(maps, result.probability[0], atol=1e-3)
    data = json.loads(outputs["quantification_json"].read_text())
    assert data["provenance"]["model"]["name"] == "tiny"
    assert data["warnings"] == list(result.warnings)
    assert outputs["quantification_csv"].read_text(encoding="utf-8-sig").startswith("study,")


def test_all_files_of_a_study(result, tmp_path):
    pytest.importorskip("slicer")
    outputs = write_outputs(result, tmp_path)
    stem = file_stem(result.ct.name)
    assert names(tmp_path) == sorted(
        stem + ending
        for ending in (
            ".seg.nrrd",
            "_labels.nii.gz",
            "_lungs.nii.gz",
            "_overview.png",
            "_quantification.csv",
            "_quantification.json",
            "_report.html",
        )
    )
    assert set(names(tmp_path)) == {p.name for p in outputs.values()}
    assert all(p.stat().st_size > 0 for p in outputs.values())


def fail_at(monkeypatch, error):
    def failing(array, like, path):
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(write, "write_image", failing)


def test_failure_midway_leaves_the_folder_as_it_was(result, tmp_path, monkeypatch):
    (tmp_path / "S_labels.nii.gz").write_text("earlier")
    fail_at(monkeypatch, KeyError("a fault"))
    with pytest.raises(KeyError):
        write_outputs(result, tmp_path, ["nii.gz"], name="S")
    assert names(tmp_path) == ["S_labels.nii.gz"]
    assert (tmp_path / "S_labels.nii.gz").read_text() == "earlier"
    with pytest.raises(KeyError):
        write_outputs(result, tmp_path / "new" / "deep", ["nii.gz"], name="S")
    assert not (tmp_path / "new").exists()


def test_full_disk_is_said(result, tmp_path, monkeypatch):
    fail_at(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(RequestError, match="is full; free some space"):
        write_outputs(result, tmp_path / "out", ["nii.gz"])
    assert names(tmp_path) == []


def test_full_disk_seen_through_a_writer_that_does_not_say(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(RequestError, match="is full"), staged_folder(tmp_path / "x" / "y"):
        raise RuntimeError("itk::ERROR: write failed")
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10**10))
    with pytest.raises(RuntimeError, match="itk"), staged_folder(tmp_path / "x"):
        raise RuntimeError("itk::ERROR: a fault")
    assert names(tmp_path) == []


def test_failed_move_puts_everything_back(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("old a")
    replace = os.replace

    def failing(source, target):
        if str(source).endswith("b"):
            raise PermissionError(errno.EACCES, "locked by another program")
        replace(source, target)

    with pytest.raises(RequestError, match="locked"), staged_folder(tmp_path) as staging:  # noqa: PT012
        for name in "abc":
            (staging / name).write_text("new")
        monkeypatch.setattr(os, "replace", failing)
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old a"


def test_earlier_results_are_replaced(tmp_path):
    for content in ("one", "two"):
        with staged_folder(tmp_path) as staging:
            (staging / "file").write_text(content)
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "two"


def test_output_folder_is_checked_without_leaving_traces(tmp_path):
    assert check_output_folder(tmp_path / "x" / "y") == tmp_path / "x" / "y"
    assert names(tmp_path) == []
    (tmp_path / "file").write_text("")
    for bad in (tmp_path / "file", tmp_path / "file" / "sub"):
        with pytest.raises(RequestError, match="is not a folder"):
            check_output_folder(bad)


def test_folder_without_rights(tmp_path, monkeypatch):
    def refuse(**options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(RequestError, match="Permission denied"):
        check_output_folder(tmp_path)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("P001", "P001"),
        ("../../etc/x", "_.._etc_x"),
        ("a/b\\c:d", "a_b_c_d"),
        ("", "ct"),
        ("..", "ct"),
        ("-rf", "rf"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("Müller 7", "Müller 7"),
        ("x" * 300, "x" * 100),
    ],
)
def test_names_are_safe(name, stem):
    assert file_stem(name) == stem
    if name == stem:
        assert check_study_name(name) == name
    else:
        with pytest.raises(RequestError):
            check_study_name(name)


def test_unknown_formats_name_the_known_ones():
    assert check_formats(["nii.gz", "nii.gz"]) == ("nii.gz",)
    for bad in (["dicom-seg"], [], ["nii.gz", "png"]):
        with pytest.raises(RequestError, match=r"available: seg\.nrrd, nii\.gz"):
            check_formats(bad)


def test_missing_libraries_are_refused_when_asked_for(monkeypatch):
    monkeypatch.setattr(write, "_installed", lambda what: False)
    assert check_formats(None) == ("nii.gz",)
    with pytest.raises(RequestError, match="slicer-core"):
        check_formats(["seg.nrrd"])
    notices = write.missing_notices(("nii.gz",), chosen=False, report=True)
    assert len(notices) == 2
