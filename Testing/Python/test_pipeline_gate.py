"""A model with a gate from options to numbers: what is left out, decided, written and said."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import tiny_model

from CovidLesionSegLogic.cli import main
from CovidLesionSegLogic.ct import CTVolume, write_image
from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.models import GateSpec
from CovidLesionSegLogic.outputs import write_outputs
from CovidLesionSegLogic.pipeline import GateResult, SegmentOptions, segment_ct
from CovidLesionSegLogic.pipeline.gate import gate_result
from CovidLesionSegLogic.quantify import SliceMeasures

BRIGHT = [4, 5, 9]
"""Slices of the study, lowest first, that the gate finds positive."""
LUNGS = range(2, 12)


@pytest.fixture
def study(tmp_path):
    """A small CT of 14 slices with lesion everywhere in the lungs, and its lung mask's file."""
    array = np.full((14, 40, 48), -1000, np.int16)
    lungs = np.zeros(array.shape, np.uint8)
    lungs[2:12, 8:32, 4:20] = 1
    lungs[2:12, 8:32, 28:44] = 2
    array[lungs != 0] = -500
    array[BRIGHT] += 400
    ct = CTVolume(array, (-60.0, -50.0, 30.0), (2.5, 2.5, 5.0), np.eye(3), "study")
    return ct, write_image(lungs, ct, tmp_path / "lungs.nii.gz")


@pytest.fixture
def card(tmp_path, monkeypatch):
    folder = tmp_path / "models"
    folder.mkdir()
    return tiny_model.install_gated(folder, monkeypatch, rule="run", run=3)


def run(study, **options):
    ct, lungs = study
    return segment_ct(ct, SegmentOptions(model="tiny", device="cpu", lungs=lungs, **options))


@pytest.mark.parametrize("asked", [None, True])
def test_slices_without_signs_are_left_out_and_the_others_unchanged(study, card, asked):
    gated, free = run(study, gate=asked), run(study, gate=False)
    assert free.gate is None
    assert set(np.flatnonzero(free.labels.any((1, 2)))) == set(LUNGS)
    assert set(np.flatnonzero(gated.labels.any((1, 2)))) == set(BRIGHT)
    np.testing.assert_array_equal(gated.labels[BRIGHT], free.labels[BRIGHT])
    assert 0 < gated.quantification.total.volume_ml < free.quantification.total.volume_ml


def test_result_places_each_slice_where_the_numbers_do(study, card):
    result = run(study)
    gate = result.gate
    assert (gate.looked_at, gate.left_out, gate.positive, gate.longest_run) == (10, 7, 3, 2)
    assert [s.own_index for s in gate.slices if s.probability > 0.5] == sorted(BRIGHT)[::-1]
    places = {(s.index, s.own_index, s.z_mm) for s in result.quantification.slices}
    assert {(s.index, s.own_index, s.z_mm) for s in gate.slices} < places
    assert [s.index for s in gate.slices] == sorted(s.index for s in gate.slices)
    assert all(s.segmented == (s.probability > gate.segment_above) for s in gate.slices)
    assert (gate.rule, gate.run) == ("run", 3)
    assert not gate.infected
    assert gate.infected_any_slice


def test_a_ct_stored_from_head_to_feet_gives_the_same_gate(study, card):
    ct, lungs = study
    turned = ct.direction.copy()
    turned[:, 2] *= -1
    top = (*ct.origin[:2], ct.origin[2] + (len(ct.array) - 1) * ct.spacing[2])
    flipped = replace(ct, array=ct.array[::-1].copy(), origin=top, direction=turned)
    result, reference = run((flipped, lungs)), run(study)
    for a, b in zip(result.gate.slices, reference.gate.slices, strict=True):
        assert a.index == b.index
        assert a.own_index == len(ct.array) - 1 - b.own_index
        assert a.z_mm == pytest.approx(b.z_mm)
        assert a.probability == pytest.approx(b.probability, abs=1e-5)


def test_a_gap_without_lung_ends_a_run():
    slices = [SliceMeasures(i, 9 - i, float(9 - i), 1.0, {}, 0.0) for i in range(10)]
    spec = GateSpec(rule="run", run=2)
    gap = gate_result({2: (0.9, True), 4: (0.9, True)}, spec, slices)
    assert (gap.longest_run, gap.infected, gap.infected_any_slice) == (1, False, True)
    joined = gate_result({2: (0.9, True), 3: (0.9, True)}, spec, slices)
    assert (joined.longest_run, joined.infected) == (2, True)
    nothing = gate_result({}, spec, slices)
    assert (nothing.longest_run, nothing.infected, nothing.infected_any_slice) == (0, False, False)


def test_provenance_says_whether_the_gate_ran(study, card, monkeypatch):
    rules = {"threshold": 0.5, "segment_above": 0.5, "rule": "run", "run": 3}
    assert run(study).provenance["gate"] == {"used": True, **rules}
    assert run(study, gate=False).provenance["gate"] == {"used": False, **rules}
    tiny_model.install(card.folder, monkeypatch)
    assert run(study).provenance["gate"] is None
    assert run(study, gate=False).gate is None
    with pytest.raises(RequestError, match="no gate"):
        run(study, gate=True)


def test_a_scan_left_out_as_a_whole_is_said(study, card):
    ct, lungs = study
    dark = replace(ct, array=np.minimum(ct.array, -500))
    result = run((dark, lungs))
    assert not result.labels.any()
    assert (result.gate.left_out, result.gate.infected_any_slice) == (10, False)
    assert any("no slice with signs of infection" in w for w in result.warnings)
    assert not any("gate" in w.lower() for w in run(study).warnings)


def test_numbers_hold_the_gate(study, card, tmp_path):
    result = run(study)
    files = write_outputs(result, tmp_path / "out", ["nii.gz"], report=False)
    data = json.loads(files["quantification_json"].read_text())["gate"]
    assert data == json.loads(json.dumps(result.gate.to_dict()))
    assert len(data["slices"]) == data["looked_at"] == 10
    free = write_outputs(run(study, gate=False), tmp_path / "free", ["nii.gz"], report=False)
    assert json.loads(free["quantification_json"].read_text())["gate"] is None


@pytest.mark.parametrize(("rule", "run", "words"), [("any-slice", 1, "one slice"), ("run", 3, "3")])
def test_rule_in_words(rule, run, words):
    assert words in GateResult((), 0.5, 0.5, rule, run, False, False).rule_text


def test_command_line_runs_the_gate_or_leaves_it_out(study, card, tmp_path, capsys):
    ct, lungs = study
    scan = write_image(ct.array, ct, tmp_path / "scan.nii.gz")
    line = ["segment", str(scan), "-o", str(tmp_path / "out"), "--model", "tiny", "--device", "cpu"]
    line += ["--lungs", str(lungs), "--format", "nii.gz", "--no-report"]
    for asked, ran in ([], True), (["--gate"], True), (["--no-gate"], False):
        assert main([*line, *asked]) == 0
        out = capsys.readouterr().out
        told = [row for row in out.splitlines() if row.startswith("Gate:")]
        assert len(told) == ran
        data = json.loads((tmp_path / "out" / "scan_quantification.json").read_text())
        assert data["provenance"]["gate"]["used"] is ran
        if ran:
            assert "10 slices looked at, 7 left out, 3 with signs of infection" in told[0]
            assert "no signs of infection by the rule 'at least 3 slices in a row'" in told[0]
            assert ", signs of infection by the rule 'at least one slice'" in told[0]
