"""The tables' report from made-up results: means, differences, ranks, sentences."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
from table_plans import small_plan

from CovidLesionSegLogic.assess.tables.header import header_lines
from CovidLesionSegLogic.assess.tables.plan import Job
from CovidLesionSegLogic.assess.tables.ranks import (
    Order,
    difference_sentence,
    order_of,
    order_sentence,
)
from CovidLesionSegLogic.assess.tables.read_plan import parse_plan
from CovidLesionSegLogic.assess.tables.report import write_report
from CovidLesionSegLogic.assess.tables.result import write_arrays
from CovidLesionSegLogic.assess.tables.summary import gather
from CovidLesionSegLogic.quantify.export import write_json

DICE = {"narrow": [0.2, 0.3, 0.4], "wide": [0.5, 0.7, 0.6]}


def images(dice):
    return [
        {
            "image": str(i),
            "dice_mean_256": d,
            "sensitivity": 0.5,
            "specificity": 0.9,
            "s_measure": 0.6,
            "e_measure_mean": 0.7,
            "mae": 1 - d,
            "dice_at_0.5": None if i == 0 else d,
        }
        for i, d in enumerate(dice)
    ]


def put_result(output, plan, run, dice, *, seed=0, steps=None, keys=("averaged",)):
    job = Job(plan.with_steps(steps), plan.runs[run], seed)
    folder = output / "runs" / job.folder
    curve = np.linspace(0, 1, 256)
    flat = np.tile(curve, (len(dice), 1)) * np.array(dice)[:, None]
    for key in keys:
        names = ("dice", "sensitivity", "specificity", "precision", "e_measure")
        write_arrays(folder / f"scores-{key}.npz", dict.fromkeys(names, flat))
    write_json(
        {
            "entry": job.entry(),
            "files": {},
            "run": run,
            "seed": seed,
            "counts": {
                "training": {"slices": 4, "patients": 4},
                "validation": {"slices": 0, "patients": 0},
                "test": {"slices": 3, "patients": 3},
            },
            "training": {"seconds": 12.5, "timed_steps": steps or 2, "sessions": 1},
            "hardware": {"processor": "Made-up CPU", "cores": 2, "threads": 1},
            "device": "cpu (1 threads)",
            "software": {"name": "CovidLesionSeg", "version": "9.9", "torch": "2"},
            "weights": ["averaged"],
            "parameters": 1_500_000,
            "evaluations": {key: {"images": images(dice), "seconds": 1.0} for key in keys},
        },
        folder / "result.json",
    )


@pytest.fixture(scope="module")
def plan():
    data = small_plan()
    del data["figures"]["figure-7"]
    return parse_plan(data)


@pytest.fixture
def output(tmp_path, plan):
    for run, dice in DICE.items():
        put_result(tmp_path, plan, run, dice)
    return tmp_path


def test_means_intervals_and_paired_differences(plan, output):
    results = gather(plan, output)
    narrow, wide, started = (results.of(row) for row in plan.tables["T1"].rows)
    found = narrow.interval("dice_mean_256")
    assert found.value == pytest.approx(0.3)
    assert found.low == pytest.approx(0.2)
    assert found.high == pytest.approx(0.4)
    assert narrow.interval("dice_at_0.5").n == 2
    assert narrow.interval("dice_max").value == pytest.approx(0.3)
    difference = narrow.difference(wide, "dice_mean_256")
    assert difference.value == pytest.approx(-0.3)
    assert difference.high < 0
    assert started is None


def test_a_cell_that_was_not_run_stays_empty(plan, output):
    write_report(plan, output)
    with (output / "T1.csv").open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["dice_mean_256"]) == pytest.approx(0.3)
    assert rows[0]["dice_mean_256_paper"] == "0.5 ± 0.1"
    empty = {"Network", "Width", "run", "evaluation"}
    assert all(value == "" for key, value in rows[2].items() if key not in empty)
    line = next(
        line
        for line in (output / "report.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| U-Net | started")
    )
    assert {cell.strip() for cell in line.split("|")[3:-1]} == {"not run"}


def test_the_report_quotes_the_paper_and_says_what_it_is(plan, output, tmp_path):
    published = tmp_path / "published"
    write_report(plan, output, published)
    text = (output / "report.md").read_text(encoding="utf-8")
    assert "0.300 (0.200 to 0.400)<br>paper 0.5 ± 0.1" in text
    assert "0.400 (0.300 to 0.500)<br>paper **0.100**" in text
    assert "Ours is shorter than the paper's" in text
    assert "2 optimiser steps of 2 slices, fixed size of 64 pixels" in text
    assert "Made-up CPU, 2 cores, 1 thread; the networks ran on cpu" in text
    assert "2 of 3 runs of the plan 'small' are finished" in text
    assert "3 of 3 patients, none of them trained on" in text
    assert "β² = 0.3 and 1" in text
    assert "- A footnote." in text
    names = {path.name for path in published.iterdir()}
    assert names == {
        *("report.md", "T1.csv", "T2.csv", "images.csv", "figure-6.csv", "figure-6.png")
    }
    assert (published / "report.md").read_text(encoding="utf-8") == text
    html = (output / "report.html").read_text(encoding="utf-8")
    assert "data:image/png;base64," in html
    assert "<script" not in html
    assert "http" not in html.replace("http-equiv", "")
    for word in (str(output), "/tmp"):
        assert word not in text


def test_an_empty_folder_gives_an_empty_report(plan, tmp_path):
    write_report(plan, tmp_path / "new")
    text = (tmp_path / "new" / "report.md").read_text(encoding="utf-8")
    assert "0 of 3 runs" in text
    assert "all cells of ours are empty" in text
    assert "there is no order to compare" in text


def test_results_of_another_entry_are_left_out_but_other_steps_are_told(plan, output):
    put_result(output, plan, "wide", DICE["wide"], steps=5)
    results = gather(plan, output)
    assert results.left_out == []
    write_report(plan, output)
    assert "5 optimiser steps" in (output / "report.md").read_text(encoding="utf-8")
    data = small_plan()
    data["runs"]["wide"]["augmentation"] = False
    changed = gather(parse_plan(data), output)
    assert ("wide", "averaged") not in changed.found
    assert changed.left_out == ["wide: augmentation changed since it was run"]


@pytest.mark.parametrize(("steps", "share"), [(1, "0.2 %"), (30, "6 %"), (500, "100 %")])
def test_the_share_of_the_published_schedule_is_a_plain_number(plan, output, steps, share):
    published = {"steps": 500, "batch_size": 2, "text": "longer"}
    put_result(output, plan, "narrow", DICE["narrow"], steps=1)
    put_result(output, plan, "wide", DICE["wide"], steps=steps)
    results = gather(replace(plan, published=published), output)
    assert f"optimiser, {share} of the paper's 1,000" in " ".join(header_lines(results))


def test_seeds_are_averaged_image_by_image(output):
    data = small_plan()
    data["seeds"] = [0, 1]
    plan = parse_plan(data)
    put_result(output, plan, "wide", [0.7, 0.9, 0.8], seed=1)
    judged = gather(plan, output).found["wide", "averaged"]
    assert judged.values["dice_mean_256"] == pytest.approx([0.6, 0.8, 0.7])
    assert judged.by_seed == pytest.approx([0.6, 0.8])
    write_report(plan, output)
    assert "Dice, SD over seeds" in (output / "report.md").read_text(encoding="utf-8")


def test_ranks_and_their_sentence(plan, output):
    order = order_of(plan.tables["T1"], gather(plan, output))
    assert order.labels == ("U-Net (2)", "U-Net (3)")
    sentence = order_sentence(order, 2)
    assert "both put 'U-Net (3)' first; 1 of 1 pairs" in sentence
    assert "τ" not in sentence  # two rows have no rank correlation worth a number


@pytest.mark.parametrize(
    ("ours", "tau", "pairs"),
    [((1, 2, 3), 1.0, (3, 3)), ((3, 2, 1), -1.0, (0, 3)), ((1, 3, 2), 1 / 3, (2, 3))],
)
def test_kendall(ours, tau, pairs):
    order = Order("dice_mean_256", ("a", "b", "c"), ours, (0.1, 0.2, 0.3))
    assert order.kendall() == pytest.approx(tau)
    assert order.agreeing_pairs() == pairs
    expected = "both put 'c' first" if ours[2] == 3 else "the paper 'c'"
    assert expected in order_sentence(order, 4)
    assert order_sentence(order, 4).startswith("3 of 4 rows were run.")


def test_of_an_error_the_smallest_is_first():
    order = Order("mae", ("a", "b", "c"), (0.3, 0.1, 0.2), (0.1, 0.1, 0.1))
    assert order.ranking(order.ours) == ["b", "c", "a"]
    assert order.kendall() is None
    assert order.agreeing_pairs() == (0, 0)


def test_clear_differences_are_counted(plan, output):
    sentence = difference_sentence(plan.tables["T1"], gather(plan, output))
    assert "1 of 1 other rows" in sentence
    assert "below it: U-Net (2)" in sentence
    (output / "runs" / "wide" / "result.json").unlink()
    assert "was not run" in difference_sentence(plan.tables["T1"], gather(plan, output))


def test_other_images_are_not_compared(plan, output):
    put_result(output, plan, "narrow", [0.2, 0.3])
    results = gather(plan, output)
    narrow, wide, _ = (results.of(row) for row in plan.tables["T1"].rows)
    assert narrow.difference(wide, "dice_mean_256") is None
