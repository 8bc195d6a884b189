"""The benchmark: the plain loop is what the engine must agree with; the figures are the run's."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from CovidLesionSegLogic.assess.bench import growth as bench_growth
from CovidLesionSegLogic.assess.bench import peers as bench_peers
from CovidLesionSegLogic.assess.bench import run as bench_run
from CovidLesionSegLogic.assess.bench import whole as bench_whole
from CovidLesionSegLogic.assess.bench.growth import of_slices
from CovidLesionSegLogic.assess.bench.meter import Meter
from CovidLesionSegLogic.assess.bench.plain import PUBLISHED_SIDE, plain_loop
from CovidLesionSegLogic.assess.bench.run import Scale
from CovidLesionSegLogic.assess.bench.savings import savings, thinned
from CovidLesionSegLogic.assess.bench.whole import agreement
from CovidLesionSegLogic.cli.app import main
from CovidLesionSegLogic.ct import to_canonical
from CovidLesionSegLogic.engine import Cancel
from CovidLesionSegLogic.errors import CancelledError
from CovidLesionSegLogic.models import LUNG_MODEL, list_models
from CovidLesionSegLogic.pipeline import SegmentOptions, segment_ct

CPU = torch.device("cpu")


@pytest.fixture
def released():
    names = {card.name for card in list_models()}
    if {"refnet", LUNG_MODEL} - names:
        pytest.skip("the released networks are not in Resources/Models")


def test_a_meter_adds_up_what_comes_back(monkeypatch):
    clock = iter([0.0, 1.0, 1.0, 3.0, 3.0, 7.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    meter = Meter()
    meter("load", 0, 1)
    meter("load", 1, 1)
    meter("segment", 0, 9)
    meter("load", 0, 1)
    meter.end()
    assert {n: c.seconds for n, c in meter.stages.items()} == {"load": 5.0, "segment": 2.0}
    assert meter.seconds == 7.0


def test_a_meter_sees_the_memory_of_a_stage():
    meter = Meter()
    meter.begin("small")
    meter.begin("large")
    large = np.ones(200_000_000, np.uint8)
    meter.end()
    del large
    peaks = [cost.peak_mb for cost in meter.stages.values()]
    if None in peaks:
        pytest.skip("this system does not tell the peak of a part of a process")
    assert peaks[1] - peaks[0] > 150


def test_thinned_lungs_are_spread_over_the_lung():
    lungs = np.zeros((20, 4, 4), np.uint8)
    lungs[3:15] = 1
    kept = np.flatnonzero(thinned(lungs, 4).any(axis=(1, 2)))
    assert kept.tolist() == [3, 6, 9, 12]
    assert np.array_equal(thinned(lungs, 50), lungs)


def test_agreement_is_of_any_lesion(phantom):
    a = np.zeros(phantom.ct.shape, np.uint8)
    b = a.copy()
    assert agreement(a, b, phantom.ct)["dice"] == 1.0
    a[0, 0, :4] = 1
    b[0, 0, 2:6] = 2
    found = agreement(a, b, phantom.ct)
    assert found["dice"] == 0.5
    assert found["different_voxels"] == 6
    assert found["fast_ml"] == pytest.approx(4 * phantom.ct.voxel_volume_ml)


@pytest.mark.parametrize("model", ["refnet", "coarse-refine"])
def test_the_product_agrees_with_the_plain_loop(released, phantom, model):
    part = slice(30, 60, 5)
    ct = replace(phantom.ct, array=np.ascontiguousarray(phantom.ct.array[part]))
    card = next(card for card in list_models("lesion") if card.name == model)
    stages = []
    labels, lungs = plain_loop(ct, card, CPU, stages.append)
    assert stages == ["load", "lungs", "segment"]
    assert labels.any()
    assert lungs.any()
    for engine in ("torch", "onnxruntime"):
        result = segment_ct(ct, SegmentOptions(model=model, device="cpu", engine=engine))
        found = agreement(result.labels, labels, ct)
        assert found["dice"] > 0.998, engine


def test_the_plain_loop_over_whole_frames_finds_the_same_lesions_more_coarsely(released, phantom):
    ct = replace(phantom.ct, array=np.ascontiguousarray(phantom.ct.array[30:60:5]))
    card = next(card for card in list_models("lesion") if card.name == "coarse-refine")
    cut_out, lungs = plain_loop(ct, card, CPU, lambda stage: None)
    whole, same_lungs = plain_loop(
        ct, card, CPU, lambda stage: None, side=PUBLISHED_SIDE[card.name]
    )
    assert np.array_equal(lungs, same_lungs)
    assert 0.2 < agreement(cut_out, whole, ct)["dice"] < 1.0


def test_savings_change_no_label_but_where_they_say_so(released, phantom):
    card = next(card for card in list_models("lesion") if card.name == "refnet")
    lungs = thinned(phantom.lungs, 2)
    rows = savings(phantom.ct, lungs, card, CPU, 1)
    names = [row["variant"] for row in rows]
    assert names[0] == "everything on"
    assert rows[0]["ratio"] == 1.0
    assert {row["slices"] for row in rows} == {2}
    for row in rows:
        if "other labels" not in row["variant"]:
            assert row["different_voxels"] <= 0.002 * row["lesion_voxels"], row


def test_the_command_ends_with_one_line_and_writes_its_figures(
    tmp_path, monkeypatch, capsys, released
):
    monkeypatch.setattr(bench_run, "QUICK", Scale(whole=1, turns=1, slices=1, peers=("unet",)))
    monkeypatch.setattr(bench_run, "QUICK_SHAPE", (12, 96, 96))
    monkeypatch.setattr(bench_whole, "PUBLISHED_SIDE", {"coarse-refine": 64})
    cards = [card for card in list_models("lesion") if card.name == "coarse-refine"]
    for module in (bench_run, bench_peers):
        monkeypatch.setattr(module, "list_models", lambda task: cards)
    file = tmp_path / "bench.json"
    assert main(["bench", "--quick", "--json", str(file), "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[-1].startswith("bench: coarse-refine ")
    assert "x the plain loop's speed" in lines[-1]
    report = json.loads(file.read_text())
    assert [w["model"] for w in report["wholes"]] == ["coarse-refine"]
    for whole in report["wholes"]:
        assert {"read", "load", "lungs", "segment", "quantify", "write"} <= set(
            whole["fast"][0]["stages"]
        )
        assert whole["published_side"]["side"] == 64
        assert whole["published_side"]["plain"][0]["stages"]["segment"]["seconds"] > 0
    assert report["starts"][0]["start"] == "segment --help"
    assert {p["network"] for p in report["peers"]} == {"coarse-refine", "unet"}


def test_a_file_that_cannot_be_written_is_refused_before_the_work(tmp_path, capsys):
    assert main(["bench", "--quick", "--json", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err


def test_any_number_of_slices_is_the_same_chest(phantom):
    for count in (7, 40, 333):
        made = of_slices(phantom.ct, count)
        assert made.shape == (count, *phantom.ct.shape[1:])
        thickness = phantom.ct.spacing[2] * phantom.ct.shape[0]
        assert made.spacing[2] * count == pytest.approx(thickness)
        share = [float((ct.array < -500).mean()) for ct in (made, phantom.ct)]
        assert share[0] == pytest.approx(share[1], rel=0.1)
    assert np.array_equal(
        of_slices(phantom.ct, phantom.ct.shape[0]).array, to_canonical(phantom.ct)[0].array
    )


def test_growth_is_measured_in_other_processes_and_drawn(tmp_path, monkeypatch, capsys, released):
    monkeypatch.setattr(bench_run, "QUICK_SIZES", (24, 36))
    monkeypatch.setattr(bench_run, "FULL_SHAPE", (24, 96, 96))
    cards = [card for card in list_models("lesion") if card.name == "coarse-refine"]
    monkeypatch.setattr(bench_run, "list_models", lambda task: cards)
    file, picture = tmp_path / "bench.json", tmp_path / "growth.png"
    command = ["bench", "--growth", "--quick", "--device", "cpu"]
    assert main([*command, "--json", str(file), "--figure", str(picture)]) == 0
    assert (
        capsys.readouterr()
        .out.strip()
        .splitlines()[-1]
        .startswith("bench: coarse-refine 24 to 36 slices: ")
    )
    rows = json.loads(file.read_text())["growth"]
    assert [row["slices"] for row in rows] == [24, 36]
    assert all(row["seconds"] > sum(row["stages"].values()) > 0 for row in rows)
    assert all(row["peak_mb"] > 200 for row in rows)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_run_that_is_stopped_ends_its_process(tmp_path, monkeypatch):
    note = tmp_path / "pid"
    script = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    monkeypatch.setattr(bench_growth, "_COMMAND", [sys.executable, "-c", script])
    cancel = Cancel()
    timer = threading.Timer(3.0, cancel.cancel)
    timer.start()
    start = time.monotonic()
    with pytest.raises(CancelledError):
        bench_growth._run(tmp_path / "ct.nii", "refnet", "cpu", tmp_path, cancel)
    timer.cancel()
    assert time.monotonic() - start < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


def test_a_figure_of_no_growth_is_refused(tmp_path, capsys):
    assert main(["bench", "--figure", str(tmp_path / "growth.png")]) == 2
    assert "add --growth" in capsys.readouterr().err
