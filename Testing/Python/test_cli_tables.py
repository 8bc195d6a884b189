"""``tables refnet`` from the command line, on a plan that takes seconds."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from table_plans import small_plan, write_images, write_plan

from CovidLesionSegLogic.assess.tables import read_plan
from CovidLesionSegLogic.assess.tables.build import Starts, build, build_started
from CovidLesionSegLogic.assess.tables.fit import clear_run
from CovidLesionSegLogic.assess.tables.images import Images, training_slices
from CovidLesionSegLogic.assess.tables.read_plan import parse_plan
from CovidLesionSegLogic.assess.tables.result import read_arrays, write_entry
from CovidLesionSegLogic.assess.tables.runner import run_jobs
from CovidLesionSegLogic.assess.tables.training import Place
from CovidLesionSegLogic.cli import main
from CovidLesionSegLogic.errors import InputError, RequestError
from CovidLesionSegLogic.outputs.claim import claim


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data"))


@pytest.fixture
def plan(tmp_path):
    return write_plan(small_plan(), tmp_path / "plan.json")


def request_line(plan, data, output, *more):
    return [
        *("tables", "refnet", "--plan", str(plan), "--data", str(data), "-o", str(output)),
        *("--device", "cpu", "--progress", "none", *more),
    ]


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A whole plan, run once, all but the run that lacks its file."""
    folder = tmp_path_factory.mktemp("finished")
    plan = write_plan(small_plan(), folder / "plan.json")
    published = folder / "published"
    line = request_line(plan, data, folder / "out", "--publish", str(published))
    assert main(line) == 4  # one run lacks its weights
    return folder / "out", plan, published


def result_of(output, run="narrow"):
    return json.loads((output / "runs" / run / "result.json").read_text(encoding="utf-8"))


def test_a_plan_from_beginning_to_end(finished):
    output, _, published = finished
    result = result_of(output)
    assert set(result["evaluations"]) == {"averaged", "raw", "averaged-flips"}
    assert len(result["evaluations"]["raw"]["images"]) == 3
    assert result["counts"]["test"] == {"slices": 3, "patients": 3}
    assert result["counts"]["training"]["by_source"] == {"sirm100": 4}
    assert result["training"]["timed_steps"] == 2
    assert result["training"]["seconds"] > 0
    assert result["parameters"] > 0
    assert result["entry"]["schedule"]["steps"] == 2
    assert result["device"].startswith("cpu")
    assert not (output / "runs" / "narrow" / "training").exists()
    text = (output / "report.md").read_text(encoding="utf-8")
    assert "2 of 3 runs of the plan 'small' are finished" in text
    assert "contains-data/figure-7.png" in text
    assert (output / "contains-data" / "figure-7.png").stat().st_size > 10_000
    assert (output / "contains-data" / "README.txt").exists()
    names = {path.name for path in published.rglob("*")}
    assert names == {
        *("report.md", "T1.csv", "T2.csv", "images.csv", "figure-6.csv", "figure-6.png")
    }


def test_variants_of_a_run_are_of_the_same_training(finished):
    output, _, _ = finished
    evaluations = result_of(output)["evaluations"]
    dice = {k: [row["dice_mean_256"] for row in e["images"]] for k, e in evaluations.items()}
    assert dice["averaged"] != dice["raw"]
    assert dice["averaged"] != dice["averaged-flips"]


def test_finished_runs_are_skipped(finished, data, capsys):
    output, plan, _ = finished
    before = {p: p.stat().st_mtime_ns for p in output.glob("runs/*/result.json")}
    assert main(request_line(plan, data, output)) == 4
    assert {p: p.stat().st_mtime_ns for p in output.glob("runs/*/result.json")} == before
    assert "started: not run: needs --weights given=FILE" in capsys.readouterr().err


def test_a_run_with_given_weights(data, tmp_path):
    plan = write_plan(small_plan(), tmp_path / "plan.json")
    weights = tmp_path / "encoder.pt"
    torch.save(build({"network": "unet", "width": 2}).encoder.state_dict(), weights)
    more = ("--only", "started", "--weights", f"given={weights}")
    assert main(request_line(plan, data, tmp_path / "out", *more)) == 0
    assert set(result_of(tmp_path / "out", "started")["files"]) == {"weights"}


def test_public_safetensors_with_a_classifier_are_a_start(tmp_path):
    from safetensors.torch import save_file

    state = build({"network": "unet", "width": 2}).encoder.state_dict()
    save_file({**state, "fc.weight": torch.ones(3)}, tmp_path / "public.safetensors")
    run = parse_plan(small_plan()).runs["started"]
    starts = Starts(weights={"given": tmp_path / "public.safetensors"})
    found = build_started(run, starts).encoder.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in found.items())


def test_a_file_of_slices_that_was_cut_off_is_told(tmp_path):
    path = tmp_path / "more.npz"
    path.write_bytes(b"PK\x03\x04 and nothing more")
    with pytest.raises(InputError, match=r"more\.npz cannot be read"):
        read_arrays(path)
    contents = small_plan()
    contents["runs"]["narrow"] |= {"data": {"sirm100": 1, "x_pseudo": 1}, "slices": "more"}
    run = parse_plan(contents).runs["narrow"]
    with pytest.raises(InputError, match=r"more\.npz cannot be read"):
        training_slices(tmp_path, run, Images([], [], []), {"more": path})


def test_a_kill_while_a_run_is_cleared_leaves_it_another_plans(tmp_path, monkeypatch):
    plan = parse_plan(small_plan())
    place = Place(tmp_path, tmp_path, Starts(), torch.device("cpu"))
    folder = place.folder(plan.jobs()[0])
    (folder / "training").mkdir(parents=True)
    write_entry(folder, plan.jobs()[0], {})

    def killed(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        clear_run(place.folder(plan.jobs()[0]))
    changed = small_plan()
    changed["schedules"]["s"]["learning_rate"] = 0.01
    with pytest.raises(RequestError, match="learning_rate changed"):
        run_jobs(parse_plan(changed).jobs(), place)


def test_weights_that_do_not_fit_leave_the_run_out(data, tmp_path, capsys):
    plan = write_plan(small_plan(), tmp_path / "plan.json")
    weights = tmp_path / "encoder.pt"
    torch.save(build({"network": "unet", "width": 3}).encoder.state_dict(), weights)
    more = ("--only", "started", "--weights", f"given={weights}")
    assert main(request_line(plan, data, tmp_path / "out", *more)) == 4
    assert "do not fit the encoder of the run 'started'" in capsys.readouterr().err
    assert not (tmp_path / "out" / "runs" / "started" / "result.json").exists()


def test_a_changed_plan_is_refused_or_run_again(data, tmp_path, capsys):
    contents = small_plan()
    plan = write_plan(contents, tmp_path / "plan.json")
    output = tmp_path / "out"
    assert main(request_line(plan, data, output, "--only", "wide")) == 0
    contents["schedules"]["s"]["learning_rate"] = 0.01
    write_plan(contents, plan)
    assert main(request_line(plan, data, output, "--only", "wide")) == 2
    assert "schedule.learning_rate changed" in capsys.readouterr().err
    assert result_of(output, "wide")["entry"]["schedule"]["learning_rate"] == 0.001
    assert main(request_line(plan, data, output, "--only", "wide", "--restart")) == 0
    assert result_of(output, "wide")["entry"]["schedule"]["learning_rate"] == 0.01


def test_steps_are_overridden_and_told(data, plan, tmp_path, capsys):
    output = tmp_path / "out"
    more = ("--tables", "T1", "--only", "wide", "--steps", "1")
    assert main(request_line(plan, data, output, *more)) == 0
    assert result_of(output, "wide")["entry"]["schedule"]["steps"] == 1
    assert "1 optimiser step of 2 slices" in (output / "report.md").read_text(encoding="utf-8")
    assert main(request_line(plan, data, output, "--only", "wide")) == 2
    assert "schedule.steps changed" in capsys.readouterr().err
    line = ["tables", "refnet", "--plan", str(plan), "-o", str(output), "--report"]
    assert main(line) == 0  # a report tells the steps that were done
    assert "1 optimiser step " in (output / "report.md").read_text(encoding="utf-8")


def test_a_claimed_run_is_left_to_its_process(data, plan, tmp_path, capsys):
    output = tmp_path / "out"
    with claim(output / "runs" / "wide") as mine:
        assert mine
        assert main(request_line(plan, data, output, "--only", "wide")) == 0
        assert "wide: in another process" in capsys.readouterr().err
        assert not (output / "runs" / "wide" / "result.json").exists()
    with claim(output / "runs" / "wide") as mine:
        assert mine


def test_the_claim_of_a_killed_process_is_taken_over(repository, tmp_path):
    code = (
        "import sys, time, pathlib\n"
        "from CovidLesionSegLogic.outputs.claim import claim\n"
        "with claim(pathlib.Path(sys.argv[1])) as mine:\n"
        "    print(mine, flush=True); time.sleep(60)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=repository,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout.readline() == "True\n"
        with claim(tmp_path) as mine:
            assert not mine
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    with claim(tmp_path) as mine:
        assert mine


def test_a_cancelled_plan_goes_on(data, tmp_path, monkeypatch):
    contents = small_plan()
    contents["schedules"]["s"]["steps"] = 40
    plan = write_plan(contents, tmp_path / "plan.json")
    output = tmp_path / "out"
    from CovidLesionSegLogic.cli.progress import TextReporter

    told = []

    def interrupt(self, stage, done, total):
        told.append((stage, done, total))
        if stage == "wide: train" and done == 3:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

    monkeypatch.setattr(TextReporter, "progress", interrupt)
    line = request_line(plan, data, output, "--only", "wide")
    assert main(line) == 130
    assert ("wide: train", 3, 40) in told
    assert not (output / "runs" / "wide" / "result.json").exists()
    monkeypatch.undo()
    contents["schedules"]["s"]["steps"] = 4
    write_plan(contents, plan)
    assert main(line) == 2  # it was started with other steps
    assert main([*line, "--steps", "40"]) == 0
    training = result_of(output, "wide")["training"]
    assert (training["timed_steps"], training["sessions"]) == (40, 2)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--only", "unet"], "has no run 'unet'; it has narrow, wide, started"),
        (["--tables", "T9"], "has no table 'T9'"),
        (["--only", "started", "--tables", "T2"], "both among those of --only"),
        (["--steps", "0"], "at least 1"),
        (["--weights", "given"], "--weights takes NAME=FILE"),
        (["--weights", "given=nowhere.pt"], "nowhere.pt is not a file"),
        (["--imagenet", "nowhere.json"], "nowhere.json is not a file"),
        (["--plan", "nowhere.json"], "no plan 'nowhere.json'"),
        (["--data", "nowhere"], "is missing"),
        (["--device", "tpu"], "'tpu' is not a device"),
    ],
)
def test_a_wrong_request_ends_with_2_and_a_sentence(more, said, plan, data, tmp_path, capsys):
    assert main(request_line(plan, data, tmp_path / "out", *more)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_training_needs_data_and_publishing_its_own_folder(plan, tmp_path, capsys):
    line = ["tables", "refnet", "--plan", str(plan), "-o", str(tmp_path / "out")]
    assert main(line) == 2
    assert "--data" in capsys.readouterr().err
    for folder in (tmp_path / "out", tmp_path, tmp_path / "out" / "contains-data" / "x"):
        assert main([*line, "--report", "--publish", str(folder)]) == 2
        assert "another folder than -o" in capsys.readouterr().err


def test_too_few_patients(plan, tmp_path, capsys):
    few = write_images(tmp_path / "few", 3)
    assert main(request_line(plan, few, tmp_path / "out")) == 2
    assert "sets 3 patients aside" in capsys.readouterr().err


def test_json_progress_tells_stage_done_and_total(finished, capsys):
    output, plan, _ = finished
    line = ["tables", "refnet", "--plan", str(plan), "-o", str(output), "--report"]
    assert main([*line, "--progress", "json"]) == 0
    event = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert event["event"] == "done"
    assert event["outputs"]["report"].endswith("report.md")


def test_a_separate_test_folder(data, tmp_path):
    contents = small_plan()
    contents["data"] = {
        "folder": "sirm100_train50",
        "test_folder": "half",
        "validation_patients": 2,
    }
    contents["schedules"]["s"] |= {"choose": "best", "validate_every": 1, "scales": "three"}
    contents["schedules"]["s"] |= {"sampling": "epochs", "decay": "steps", "average": 0}
    both = write_images(tmp_path / "both")
    (write_images(tmp_path / "other", 2) / "sirm100_train50").rename(both / "half")
    plan = write_plan(contents, tmp_path / "plan.json")
    assert main(request_line(plan, both, tmp_path / "out", "--only", "wide")) == 0
    counts = result_of(tmp_path / "out", "wide")["counts"]
    assert {k: v["slices"] for k, v in counts.items()} == {
        "training": 5,
        "validation": 2,
        "test": 2,
    }


@pytest.mark.data
def test_the_short_plan_splits_the_real_images_by_patient(shared_data):
    from CovidLesionSegLogic.assess.tables.images import load_images, training_slices

    plan = read_plan.find_plan("refnet-short")
    images = load_images(shared_data, plan.data)
    assert (len(images.training), len(images.validation), len(images.test)) == (34, 0, 16)
    sides = [{s.patient for s in part} for part in (images.training, images.test)]
    assert not sides[0] & sides[1]
    run = plan.runs["refnet-resnet50"]
    assert len(training_slices(shared_data, run, images, {})) == 34
