"""The command line's contract: files, exit codes, messages, progress."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest
import SimpleITK as sitk
import tiny_model

from CovidLesionSegLogic import __version__
from CovidLesionSegLogic.cli import main
from CovidLesionSegLogic.ct import write_image


@pytest.fixture
def card(tmp_path, monkeypatch):
    folder = tmp_path / "models"
    folder.mkdir()
    return tiny_model.install(folder, monkeypatch)


@pytest.fixture
def ct_file(phantom, tmp_path):
    return write_image(phantom.ct.array, phantom.ct, tmp_path / "scan.nii.gz")


@pytest.fixture
def lung_file(phantom, tmp_path):
    return write_image(phantom.lungs, phantom.ct, tmp_path / "lungs.nii.gz")


@pytest.fixture
def request_line(card, ct_file, lung_file, tmp_path):
    """A request that works and is quick."""
    return [
        *("segment", str(ct_file), "-o", str(tmp_path / "out"), "--model", "tiny"),
        *("--device", "cpu", "--lungs", str(lung_file), "--format", "nii.gz", "--no-report"),
    ]


def names(folder):
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


def events(text):
    return [json.loads(line) for line in text.splitlines()]


def test_files_table_and_paths(request_line, tmp_path, capsys):
    assert main(request_line) == 0
    out = capsys.readouterr().out
    assert names(tmp_path / "out") == [
        "scan_labels.nii.gz",
        "scan_lungs.nii.gz",
        "scan_quantification.csv",
        "scan_quantification.json",
    ]
    for name in names(tmp_path / "out"):
        assert str(tmp_path / "out" / name) in out.splitlines()
    data = json.loads((tmp_path / "out" / "scan_quantification.json").read_text())
    assert f"{data['total']['volume_ml']:.1f}" in out
    assert "not for clinical use" in out
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "scan_labels.nii.gz")))
    volume = np.count_nonzero(labels) * data["voxel_volume_ml"]
    assert data["total"]["volume_ml"] == pytest.approx(volume)


def test_everything_with_names_and_probability(request_line, tmp_path):
    pytest.importorskip("slicer")
    request_line = [a for a in request_line if a not in ("--no-report", "--format", "nii.gz")]
    assert main([*request_line, "--name", "P7", "--probability"]) == 0
    assert names(tmp_path / "out") == sorted(
        "P7" + ending
        for ending in (
            ".seg.nrrd",
            "_labels.nii.gz",
            "_lungs.nii.gz",
            "_overview.png",
            "_probability.nii.gz",
            "_quantification.csv",
            "_quantification.json",
            "_report.html",
        )
    )


def test_json_progress_is_all_there_is_on_standard_output(request_line, tmp_path, capfd):
    assert main([*request_line, "--progress", "json"]) == 0
    captured = events(capfd.readouterr().out)
    assert all(set(e) == {"event", "stage", "done", "total"} for e in captured[:-1])
    assert {e["event"] for e in captured[:-1]} == {"progress"}
    stages = list(dict.fromkeys(e["stage"] for e in captured[:-1]))
    assert stages[0] == "read"
    assert stages[-5:] == ["load", "lungs", "segment", "quantify", "write"]
    assert all(0 <= e["done"] <= e["total"] for e in captured[:-1])
    assert captured[-1]["event"] == "done"
    assert captured[-1]["outputs"]["labels"] == str(tmp_path / "out" / "scan_labels.nii.gz")


def test_json_errors_and_parsing_errors(request_line, tmp_path, capfd):
    request_line[1] = str(tmp_path / "absent.nii.gz")
    assert main([*request_line, "--progress=json"]) == 3
    last = events(capfd.readouterr().out)[-1]
    assert (last["event"], last["code"]) == ("error", 3)
    assert "absent.nii.gz" in last["message"]
    assert main(["segment", "--progress", "json"]) == 2
    assert events(capfd.readouterr().out)[-1]["code"] == 2


def test_no_progress_is_quiet(request_line, capsys):
    assert main([*request_line, "--progress", "none"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("warning: ") for line in lines)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--model", "unheard-of"], "installed: tiny"),
        (["--device", "gpu"], "auto, cpu, cuda"),
        (["--device", "cuda:99"], "--device auto"),
        (["--threshold", "1.5"], "probability between 0 and 1"),
        (["--threshold", "high"], "probability between 0 and 1"),
        (["--batch-size", "0"], "at least 1"),
        (["--format", "rtstruct"], "seg.nrrd, nii.gz, dicom-seg"),
        (["--format", "dicom-seg"], "needs a CT read from DICOM"),
        (["--format", ""], "seg.nrrd, nii.gz"),
        (["--name", "../x"], "cannot be used as a name"),
        (["--gate"], "no gate"),
        (["--lesion-types"], "--model names 'tiny'"),
        (["--progress", "loud"], "text"),
        (["--colour"], "--colour"),
        (["--prob"], "--prob"),
    ],
)
def test_wrong_requests_end_with_2_and_a_sentence(request_line, tmp_path, capsys, extra, words):
    assert main([*request_line, *extra]) == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1].startswith("error: ")
    assert words in captured.err
    assert "Traceback" not in captured.err
    assert not (tmp_path / "out").exists()


def test_output_that_is_a_file_is_refused_before_the_input_is_read(request_line, tmp_path, capsys):
    (tmp_path / "out").write_text("")
    request_line[1] = "absent"
    assert main(request_line) == 2
    assert "is not a folder" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--lungs", "--regions"])
def test_missing_masks_end_with_3(request_line, capsys, option):
    assert main([*request_line, option, "nowhere.nii.gz"]) == 3
    assert "nowhere.nii.gz" in capsys.readouterr().err


def test_unreadable_input_ends_with_3(request_line, tmp_path, capsys):
    (tmp_path / "scan.nii.gz").write_bytes(b"nothing")
    assert main(request_line) == 3
    assert "scan.nii.gz" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_internal_errors_are_one_line_unless_debugged(request_line, tmp_path, capsys, monkeypatch):
    def fault(*args, **kwargs):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("CovidLesionSegLogic.ct.read_ct", fault)
    assert main(request_line) == 1
    captured = capsys.readouterr()
    assert "internal error: ZeroDivisionError: oops" in captured.err
    assert "--debug" in captured.err
    assert "Traceback" not in captured.err
    assert not (tmp_path / "out").exists()
    assert main(["--debug", *request_line]) == 1
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("COVIDLESIONSEG_DEBUG", "1")
    assert main(request_line) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_cancel_and_nothing_is_left(request_line, tmp_path, capsys, monkeypatch, number):
    before = signal.getsignal(number)

    def interrupted(self, x):
        signal.raise_signal(number)
        return self.conv(x)

    monkeypatch.setattr(tiny_model.TinyNet, "predict_logits", interrupted)
    assert main(request_line) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "error: Cancelled."
    assert not (tmp_path / "out").exists()
    assert signal.getsignal(number) is before


def test_too_little_memory_ends_with_3(request_line, capsys, monkeypatch):
    def fault(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr("CovidLesionSegLogic.ct.read_ct", fault)
    assert main(request_line) == 3
    assert "not enough memory" in capsys.readouterr().err


def test_help_and_version(capsys):
    assert main(["--version"]) == 0
    assert __version__ in capsys.readouterr().out
    for command in ("segment", "demo", "models"):
        assert main([command, "--help"]) == 0
        assert f"covid-lesion-seg {command}" in capsys.readouterr().out
    assert main([]) == 2
    assert main(["unheard-of"]) == 2
    assert "segment" in capsys.readouterr().err


def test_demo_compares_with_the_truth(card, phantom, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("CovidLesionSegLogic.phantom.make_phantom", lambda: phantom)
    folder = tmp_path / "d"
    request = ["demo", "-o", str(folder), "--model", "tiny", "--format", "nii.gz", "--no-report"]
    assert main(request) == 0
    captured = capsys.readouterr()
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "phantom_labels.nii.gz"))) != 0
    truth = phantom.lesions != 0
    dice = 2 * (labels & truth).sum() / (labels.sum() + truth.sum())
    assert f"lesions {dice:.3f}, lungs 0.9" in captured.out
    for name, array in (
        ("ct", phantom.ct.array),
        ("truth_lesions", phantom.lesions),
        ("truth_lungs", phantom.lungs),
    ):
        path = folder / f"phantom_{name}.nii.gz"
        assert str(path) in captured.out.splitlines()
        np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), array)
    assert "by density" in captured.err
    assert "Segmenting lesions" in captured.err


def test_demo_says_done_last_and_names_the_ct(card, phantom, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("CovidLesionSegLogic.phantom.make_phantom", lambda: phantom)
    request = ["demo", "-o", str(tmp_path / "d"), "--model", "tiny", "--format", "nii.gz"]
    for _ in range(2):  # again into the same folder
        assert main([*request, "--no-report", "--progress", "json"]) == 0
        last = events(capfd.readouterr().out)[-1]
        assert last["event"] == "done"
        assert sorted(last["outputs"].values()) == [
            str(tmp_path / "d" / name) for name in names(tmp_path / "d")
        ]
        assert last["outputs"]["ct"].endswith("phantom_ct.nii.gz")


def test_another_study_of_the_same_name_is_refused_before_the_work(
    request_line, phantom, tmp_path, capsys, monkeypatch
):
    assert main(request_line) == 0
    assert main(request_line) == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    (tmp_path / "other").mkdir()
    other = write_image(phantom.ct.array, phantom.ct, tmp_path / "other" / "scan.nii.gz")
    request_line[1] = str(other)
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(
            "CovidLesionSegLogic.pipeline.segment_ct", lambda *a, **k: pytest.fail("it worked")
        )
        assert main(request_line) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "of another study" in message
    assert str(tmp_path / "scan.nii.gz") in message
    assert "--name" in message
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before
    assert main([*request_line, "--name", "scan-b"]) == 0
    assert len(names(tmp_path / "out")) == 2 * len(before)


def test_output_names_that_cannot_be_end_with_2(request_line, tmp_path, capsys):
    request_line[3] = str(tmp_path / ("x" * 300))
    assert main(request_line) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_no_gate_is_accepted_where_there_is_none(request_line):
    assert main([*request_line, "--no-gate"]) == 0


def test_lesion_types_need_their_model(request_line, tmp_path, capsys, monkeypatch):
    place = request_line.index("--model")
    line = [*request_line[:place], *request_line[place + 2 :], "--lesion-types"]
    assert main(line) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "needs the model 'coarse-refine', which is not installed" in message
    assert not (tmp_path / "out").exists()
    types = tiny_model.LESION_TYPES[:2]
    tiny_model.install(tmp_path / "models", monkeypatch, name="coarse-refine", classes=types)
    for model in ([], ["--model", "coarse-refine"]):
        assert main([*line, *model]) == 0
        out = capsys.readouterr().out
        assert "model coarse-refine 1.0" in out
        data = json.loads((tmp_path / "out" / "scan_quantification.json").read_text())
        for measures in data["classes"]:
            row = next(r for r in out.splitlines() if r.startswith(measures["name"]))
            assert f"{measures['volume_ml']:.1f}" in row
            assert f"{measures['share_of_lungs_percent']:.2f}" in row


def test_models_list_says_gate_and_what_was_not_trained(card, monkeypatch, capsys):
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert "gate       none" in out
    assert "not found" not in out
    values = tiny_model.coarse_refine_values(2, tiny_model.GATE | {"rule": "run", "run": 3})
    values["architecture"] = {"network": "tiny", "gate": True}
    tiny_model.install(card.folder, monkeypatch, **values)
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert "classes    ground-glass opacity, consolidation" in out
    assert "not found  fibrosis (not trained)" in out
    assert "above 0.5; above 0.5 a slice" in out
    assert "3 slices in a row" in out


def test_demo_with_a_ct_segments_that(card, ct_file, tmp_path, capsys):
    request = ["demo", str(ct_file), "-o", str(tmp_path / "d"), "--model", "tiny"]
    assert main([*request, "--format", "nii.gz", "--no-report"]) == 0
    assert "scan_labels.nii.gz" in names(tmp_path / "d")
    assert "Dice" not in capsys.readouterr().out


def test_models_list_and_verify(card, capsys):
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    for words in ("tiny 1.0 (lesion)", card.weights.sha256, "MIT", "made up, Dice: 0.5"):
        assert words in out
    assert main(["models", "verify"]) == 0
    assert "tiny: ok" in capsys.readouterr().out
    card.weights_path.write_bytes(b"x")
    assert main(["models", "verify"]) == 3
    captured = capsys.readouterr()
    assert "tiny: NOT USABLE" in captured.out
    assert "error: " in captured.err
    card.weights_path.unlink()
    (card.weights_path.parent / "tiny.json").unlink()
    assert main(["models"]) == 3
    assert main(["models", "verify"]) == 3
