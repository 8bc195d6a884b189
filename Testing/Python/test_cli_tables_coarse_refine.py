"""``tables coarse-refine`` from the command line, on random images of 64 pixels and two steps."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys

import pytest
import torch
from class_table_plans import small_plan, write_table
from table_plans import write_plan

from CovidLesionSegLogic.assess.tables.build import build
from CovidLesionSegLogic.cli import main
from CovidLesionSegLogic.outputs.claim import claim

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("images") / "data")


def light_plan(steps=2):
    """Two narrow U-Nets, which take no time, of which one wants a file."""
    plan = small_plan()
    narrow = {"network": {"network": "unet", "width": 2}, "loss": ["bce"], "schedule": "s"}
    plan["schedules"]["s"]["steps"] = steps
    plan["runs"] = {
        "unet": narrow,
        "given": {**narrow, "init": "weights", "weights": "given"},
    }
    plan["tables"] = {
        "T4": [{"label": "U-Net", "run": "unet"}, {"label": "U-Net++", "run": "given"}],
        "T5": "unet",
    }
    return plan


def request_line(plan, table, output, *more):
    return [
        *("tables", "coarse-refine", "--plan", str(plan), "--manifest", str(table)),
        *("-o", str(output), "--device", "cpu", "--progress", "none", *more),
    ]


def result_of(output, run="unet", fold=1):
    path = output / "runs" / f"{run}-fold{fold}" / "result.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def finished(table, tmp_path_factory):
    """A whole plan, run once, all but the further row that lacks its file."""
    folder = tmp_path_factory.mktemp("finished")
    plan = write_plan(small_plan(), folder / "plan.json")
    line = request_line(plan, table, folder / "out", "--publish", str(folder / "published"))
    assert main([*line, "--threads", "1"]) == 0  # a further row may be left out
    return folder / "out", plan, folder / "published"


def test_a_plan_from_beginning_to_end(finished):
    output, _, published = finished
    ours = result_of(output, "ours")
    assert ours["entry"]["names"] == ["ground-glass opacity", "consolidation"]
    assert ours["counts"]["test"] == {"images": 6, "patients": 4, "with_lesion": 4}
    assert [len(row["counts"]) for row in ours["images"]] == [3] * 6
    assert {row["lung"] for row in ours["images"]} == {2000}
    assert len(ours["slices"]) == 6
    assert all(0 <= row["probability"] <= 1 for row in ours["slices"])
    assert ours["training"]["steps"] == 2
    assert ours["gate"]["penalty"] > 0
    assert [len(row["counts"]) for row in result_of(output, "plain")["images"]] == [2] * 6
    classifier = result_of(output, "classifier")
    assert "images" not in classifier
    assert len(classifier["slices"]) == 6
    unet = result_of(output)
    assert "slices" not in unet
    assert not list(output.glob("runs/*/training"))
    tests = [{row["patient"] for row in r["images"]} for r in (ours, unet)]
    assert tests[0] == tests[1] == {row["patient"] for row in classifier["slices"]}
    text = (output / "report.md").read_text(encoding="utf-8")
    assert "4 of 5 runs of the plan 'small' are finished" in text
    assert (output / "contains-data" / "figure-6.png").stat().st_size > 10_000
    assert (output / "contains-data" / "README.txt").exists()
    tables = {f"T{n}.csv" for n in range(1, 8)}
    assert {path.name for path in published.rglob("*")} == tables | {
        *("report.md", "images.csv", "levers.csv", "figure-4.csv", "figure-4.png", "figure-5.png")
    }


def test_the_gate_leaves_the_network_as_it_was(finished):
    output, _, _ = finished
    state = torch.load(output / "runs" / "ours-fold1" / "weights.pt", weights_only=True)
    assert not [name for name in state["network"] if name.startswith("gate")]


def test_finished_runs_are_skipped_and_phantoms_may_be_shown(finished, table, tmp_path, capsys):
    output, plan, _ = finished
    before = {p: p.stat().st_mtime_ns for p in output.glob("runs/*/result.json")}
    more = ("--phantoms", "--publish", str(tmp_path / "shown"))
    assert main(request_line(plan, table, output, *more)) == 0
    assert {p: p.stat().st_mtime_ns for p in output.glob("runs/*/result.json")} == before
    assert "started-fold1: left out: needs --weights given=FILE" in capsys.readouterr().err
    assert (tmp_path / "shown" / "figure-6.png").exists()
    text = (tmp_path / "shown" / "report.md").read_text(encoding="utf-8")
    assert "made by a program with known truth" in text
    assert main(request_line(plan, table, output)) == 0  # without: kept apart again
    assert "made by a program" not in (output / "report.md").read_text(encoding="utf-8")


def test_a_broken_run_does_not_stop_the_rest(table, tmp_path, capsys):
    contents = light_plan()
    contents["runs"] = dict(reversed(contents["runs"].items()))  # the broken one first
    plan = write_plan(contents, tmp_path / "plan.json")
    weights = tmp_path / "encoder.pt"
    torch.save(build({"network": "unet", "width": 3}).encoder.state_dict(), weights)
    line = request_line(plan, table, tmp_path / "out", "--weights", f"given={weights}")
    assert main(line) == 4
    assert "given-fold1: not run: The weights in" in capsys.readouterr().err
    assert result_of(tmp_path / "out")["training"]["steps"] == 2
    assert not (tmp_path / "out" / "runs" / "given-fold1" / "result.json").exists()
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "| U-Net++ | consolidation | not run<br>paper 0.820 |" in text
    # A row of the paper that lacks its file is a failure, too.
    assert main(request_line(plan, table, tmp_path / "out")) == 4
    torch.save(build({"network": "unet", "width": 2}).encoder.state_dict(), weights)
    assert main([*line, "--restart"]) == 0
    with (tmp_path / "out" / "T4.csv").open(encoding="utf-8-sig") as file:
        rows = {(row["model"], row["lesion"]): row for row in csv.DictReader(file)}
    assert rows["U-Net++", "consolidation"]["dice_per_image"] != ""
    assert rows["U-Net++", "fibrosis"]["dice_per_image"] == ""


KILLED = """
import os, signal, sys
from CovidLesionSegLogic.cli import main
from CovidLesionSegLogic.cli.progress import TextReporter

def kill(self, stage, done, total):
    if stage == "unet-fold1: train" and done == 55:
        os.kill(os.getpid(), signal.SIGKILL)

TextReporter.progress = kill
main(sys.argv[1:])
"""


def test_a_killed_plan_goes_on_to_the_same_figures(repository, table, tmp_path):
    plan = write_plan(light_plan(steps=60), tmp_path / "plan.json")
    only = ("--only", "unet", "--threads", "1")
    line = request_line(plan, table, tmp_path / "out", *only)
    done = subprocess.run([sys.executable, "-c", KILLED, *line], cwd=repository, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "out" / "runs" / "unet-fold1" / "training" / "last.pt").exists()
    assert not (tmp_path / "out" / "runs" / "unet-fold1" / "result.json").exists()
    assert main(line) == 0
    training = result_of(tmp_path / "out")["training"]
    assert training["steps"] == 60
    assert training["timed_steps"] == 10  # what the killed process did is not known
    assert main(request_line(plan, table, tmp_path / "whole", *only)) == 0
    assert result_of(tmp_path / "whole")["images"] == result_of(tmp_path / "out")["images"]


def test_a_changed_plan_or_table_is_refused_or_run_again(table, tmp_path, capsys):
    plan = write_plan(light_plan(), tmp_path / "plan.json")
    only = ("--only", "unet")
    line = request_line(plan, table, tmp_path / "out", *only)
    assert main([*line, "--steps", "1", "--size", "32"]) == 0
    assert result_of(tmp_path / "out")["entry"]["schedule"]["size"] == 32
    assert "1 optimiser step of 2 images of 32" in (tmp_path / "out" / "report.md").read_text(
        encoding="utf-8"
    )
    assert main(line) == 2
    assert "schedule.size, schedule.steps changed" in capsys.readouterr().err
    other = write_table(tmp_path / "other")
    other.write_text(other.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    sized = (*only, "--steps", "1", "--size", "32")
    assert main(request_line(plan, other, tmp_path / "out", *sized)) == 2
    assert "the file of 'manifest' changed" in capsys.readouterr().err
    assert main([*line, "--restart"]) == 0
    assert result_of(tmp_path / "out")["entry"]["schedule"]["steps"] == 2


def test_the_published_schedule_stops_early_and_keeps_the_best(table, tmp_path):
    contents = light_plan()
    published = contents["schedules"]["s"] | {"batches": "fivefold", "epochs": 3, "choose": "best"}
    del published["steps"]
    contents["schedules"]["s"] = published | {"patience": 1, "learning_rate": 0.9}
    plan = write_plan(contents, tmp_path / "plan.json")
    assert main(request_line(plan, table, tmp_path / "out", "--only", "unet")) == 0
    steps = result_of(tmp_path / "out")["training"]["steps"]
    epoch = -(-5 * 21 // 2)  # five variants of 14 outlined and 7 healthy images, two at a time
    assert steps in (2 * epoch, 3 * epoch)
    assert "up to 3 epochs" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_folds_are_run_one_by_one_and_a_claimed_one_is_left(table, tmp_path, capsys):
    plan = write_plan(light_plan(), tmp_path / "plan.json")
    output = tmp_path / "out"
    line = request_line(plan, table, output, "--only", "unet", "--folds", "1,2")
    with claim(output / "runs" / "unet-fold1") as mine:
        assert mine
        assert main(line) == 0
    assert "unet-fold1: in another process" in capsys.readouterr().err
    assert result_of(output, fold=2)["fold"] == 2
    assert main(line) == 0
    one, two = ({r["patient"] for r in result_of(output, fold=k)["images"]} for k in (1, 2))
    assert not one & two
    report = ["tables", "coarse-refine", "--plan", str(plan), "-o", str(output), "--report"]
    assert main(report) == 0  # the data are not needed any more
    assert "| total | 10<br>paper 226" in (output / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--only", "nobody"], "has no run 'nobody'; it has unet, given"),
        (["--tables", "T9"], "has no table 'T9'"),
        (["--folds", "6"], "--folds must name folds from 1 to 5"),
        (["--folds", "one"], "--folds must name folds from 1 to 5"),
        (["--size", "65"], "--size must be a multiple of 32"),
        (["--classes", "a,a"], "--classes must name each lesion class once"),
        (["--manifest", "nowhere.csv"], "nowhere.csv is not a file"),
        (["--lungs", "nowhere.csv"], "nowhere.csv is not a file"),
        (["--split", "nowhere.json"], "nowhere.json is not a file"),
        (["--weights", "given"], "--weights takes NAME=FILE"),
        (["--threads", "0"], "at least 1"),
        (["--plan", "refnet"], "no plan 'refnet'"),
    ],
)
def test_a_wrong_request_ends_with_2_and_a_sentence(more, said, table, tmp_path, capsys):
    plan = write_plan(light_plan(), tmp_path / "plan.json")
    assert main(request_line(plan, table, tmp_path / "out", *more)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_the_census_needs_no_run(table, tmp_path):
    plan = write_plan(light_plan(), tmp_path / "plan.json")
    assert main(request_line(plan, table, tmp_path / "out", "--tables", "T1,T2,T3")) == 0
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "0 of 2 runs" in text
    assert "| healthy | 10<br>paper 78 | 10<br>paper 582 |" in text
    assert not (tmp_path / "out" / "runs").exists()


def test_training_needs_a_manifest(tmp_path, capsys):
    assert main(["tables", "coarse-refine", "-o", str(tmp_path), "--progress", "none"]) == 2
    assert "needs --manifest" in capsys.readouterr().err


def test_a_table_that_cannot_be_used_ends_with_3(table, tmp_path, capsys):
    bad = tmp_path / "images.csv"
    bad.write_text("image,patient,label\nnowhere.png,a,COVID-19\n", encoding="utf-8")
    plan = write_plan(light_plan(), tmp_path / "plan.json")
    assert main(request_line(plan, bad, tmp_path / "out")) == 3
    assert "Row 2 of" in capsys.readouterr().err
