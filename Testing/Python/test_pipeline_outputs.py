"""Output folders: everything or nothing, safe names, clear refusals."""

from __future__ import annotations

import base64
import errno
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import tiny_model

from CovidLesionSegLogic import report
from CovidLesionSegLogic.ct import write_image
from CovidLesionSegLogic.errors import CancelledError, RequestError
from CovidLesionSegLogic.outputs import (
    check_formats,
    check_output_folder,
    check_same_study,
    check_study_name,
    file_stem,
    staged_folder,
    write,
    write_outputs,
)
from CovidLesionSegLogic.pipeline import SegmentOptions, segment_ct
from CovidLesionSegLogic.report import document


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
        ("肺" * 90, "肺" * 60),
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
    for bad in (["rtstruct"], [], ["nii.gz", "png"]):
        with pytest.raises(RequestError, match=r"available: seg\.nrrd, nii\.gz, dicom-seg"):
            check_formats(bad)


def test_missing_libraries_are_refused_when_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "slicer", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert check_formats(None) == ("nii.gz",)
    with pytest.raises(RequestError, match="MRML libraries"):
        check_formats(["seg.nrrd"])
    notices = write.missing_notices(("nii.gz",), chosen=False, report=True)
    assert len(notices) == 2
    assert write.missing_notices(("nii.gz",), chosen=True, report=False) == []


def test_another_package_called_slicer_does_not_count(monkeypatch):
    monkeypatch.setitem(sys.modules, "slicer", ModuleType("slicer"))
    assert check_formats(None) == ("nii.gz",)
    with pytest.raises(RequestError, match=r"another one of that name.*slicer-core"):
        check_formats(["seg.nrrd"])


def test_a_library_that_fails_to_load_counts_as_missing(tmp_path, monkeypatch):
    (tmp_path / "slicer.py").write_text("raise ImportError('libGL.so.1: cannot open')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [n for n in sys.modules if n == "slicer" or n.startswith("slicer.")]:
        monkeypatch.delitem(sys.modules, name)
    assert check_formats(None) == ("nii.gz",)
    with pytest.raises(RequestError, match=r"libGL\.so\.1"):
        check_formats(["seg.nrrd"])


def test_files_that_are_not_written_again_go(result, tmp_path):
    first = write_outputs(result, tmp_path, ["nii.gz"], probability=True, name="S")
    (tmp_path / "S_notes.txt").write_text("mine")
    (tmp_path / "S2_report.html").write_text("another study's")
    assert first["report"].exists()
    second = write_outputs(result, tmp_path, ["nii.gz"], report=False, name="S")
    assert not {"report", "overview", "probability"} & set(second)
    assert names(tmp_path) == sorted(
        [*(p.name for p in second.values()), "S_notes.txt", "S2_report.html"]
    )


def test_only_results_of_this_program_are_outdated(result, tmp_path):
    (tmp_path / "S_report.html").write_text("mine")
    write_outputs(result, tmp_path, ["nii.gz"], report=False, name="S")
    assert (tmp_path / "S_report.html").read_text() == "mine"


def test_files_the_result_was_made_from_stay(result, tmp_path):
    pytest.importorskip("slicer")
    lungs = write_outputs(result, tmp_path, ["nii.gz"], report=False, name="S")["lungs"]
    options = {**result.provenance["options"], "lungs": str(lungs)}
    again = replace(result, provenance={**result.provenance, "options": options})
    write_outputs(again, tmp_path, ["seg.nrrd"], report=False, name="S")
    assert lungs.exists()
    assert not (tmp_path / "S_labels.nii.gz").exists()


def test_failure_brings_outdated_files_back(result, tmp_path, monkeypatch):
    write_outputs(result, tmp_path, ["nii.gz"], probability=True, name="S")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    move = os.replace

    def failing(source, target):
        if os.path.basename(os.path.dirname(source)) == "new" and str(target).endswith(".json"):
            raise PermissionError(errno.EACCES, "locked by another program")
        move(source, target)

    monkeypatch.setattr("CovidLesionSegLogic.outputs.folder.os.replace", failing)
    with pytest.raises(RequestError):
        write_outputs(result, tmp_path, ["nii.gz"], report=False, name="S")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_cancelling_at_the_last_step_leaves_nothing(result, tmp_path):
    def progress(stage, done, total):
        if done == total:
            raise CancelledError

    with pytest.raises(CancelledError):
        write_outputs(result, tmp_path / "o", ["nii.gz"], report=False, progress=progress)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("earlier", "now", "same"),
    [
        ({"series_uid": "1.2", "path": "/a"}, {"series_uid": "1.2", "path": "/b"}, True),
        ({"series_uid": "1.2", "path": "/a"}, {"series_uid": "1.3", "path": "/a"}, False),
        ({"path": "/a"}, {"series_uid": "1.3", "path": "/a"}, True),
        ({"path": "/a/DICOM"}, {"path": "/b/DICOM"}, False),
        ({"format": "phantom"}, {"format": "phantom"}, True),
        ({"format": "phantom"}, {"format": "NIfTI", "path": "/a"}, False),
        ({"format": "phantom"}, {"format": "mrml"}, False),
        ({}, {}, True),
    ],
)
def test_another_study_is_never_replaced(tmp_path, earlier, now, same):
    file = tmp_path / "S_quantification.json"
    file.write_text(json.dumps({"provenance": {"input": earlier}}))
    if same:
        assert check_same_study(tmp_path, "S", now)
        return
    with pytest.raises(RequestError, match=r"of another study.*--name"):
        check_same_study(tmp_path, "S", now)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"provenance": {"input": 3}}', '"x"'])
def test_a_file_that_is_no_result_is_never_replaced(result, tmp_path, content):
    file = tmp_path / "S_quantification.json"
    file.write_text(content)
    with pytest.raises(RequestError, match="not a result of this program"):
        write_outputs(result, tmp_path, ["nii.gz"], report=False, name="S")
    assert file.read_text() == content
    assert not check_same_study(tmp_path / "absent", "S", {})


def test_overview_is_drawn_once_and_is_in_the_report(result, tmp_path, monkeypatch):
    drawn = []
    draw = report.overview_png
    monkeypatch.setattr(report, "overview_png", lambda r: drawn.append(draw(r)) or drawn[-1])
    monkeypatch.setattr(document, "overview_png", report.overview_png)
    outputs = write_outputs(result, tmp_path, ["nii.gz"])
    assert len(drawn) == 1
    picture = outputs["overview"].read_bytes()
    assert picture == drawn[0]
    assert base64.b64encode(picture).decode() in outputs["report"].read_text(encoding="utf-8")


def test_writing_leaves_no_nodes_in_the_scene(result, tmp_path):
    pytest.importorskip("slicer")
    from CovidLesionSegLogic.mrml import get_scene

    before = get_scene().GetNumberOfNodes()
    write_outputs(result, tmp_path, ["seg.nrrd"], report=False)
    assert get_scene().GetNumberOfNodes() == before


def test_names_that_cannot_be_looked_up_are_refused(tmp_path, monkeypatch):
    with pytest.raises(RequestError, match="cannot be written"):
        check_output_folder(tmp_path / ("x" * 300) / "sub")
    with (
        pytest.raises(RequestError, match="cannot be written"),
        staged_folder(tmp_path / ("x" * 300)),
    ):
        pass

    def refuse(self, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(RequestError, match="Permission denied"):
        check_output_folder(tmp_path / "x")
    # A drive of Windows that is not there: nothing up to its root exists.
    monkeypatch.setattr(Path, "exists", lambda self, **options: False)
    with pytest.raises(RequestError, match="does not exist; choose another"):
        check_output_folder(tmp_path / "x")
