"""Model cards: what is read back is what was written, and wrong cards say which key is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from CovidLesionSegLogic.errors import InputError
from CovidLesionSegLogic.models import GateSpec, ModelCard

GATED = {"network": "tiny", "gate": True}
GATE = {"threshold": 0.6, "segment_above": 0.1, "rule": "run", "run": 3}


def card_data(**changes: Any) -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": "tiny",
        "version": "1.0",
        "title": "A tiny model",
        "task": "lesion",
        "architecture": {"network": "tiny", "width": 4},
        "input": {"size": 64, "window": [-1350, 150], "margin": 0.1},
        "classes": [
            {"name": "ground-glass opacity", "label": 1, "color": [255, 0, 0]},
            {"name": "consolidation", "label": 2, "threshold": 0.4, "color": [0, 255, 0]},
        ],
        "weights": {"file": "tiny.safetensors", "sha256": "0" * 64},
    }
    data.update(changes)
    return data


def test_round_trip_through_a_file(tmp_path):
    card = ModelCard.from_dict(card_data(postprocess={"min_volume_ml": 0.1}, licence="MIT"))
    card.to_json(tmp_path / "tiny.json")
    again = ModelCard.from_json(tmp_path / "tiny.json")
    assert again == card
    assert again.folder == tmp_path
    assert again.weights_path == tmp_path / "tiny.safetensors"
    assert again.classes[1].threshold == 0.4
    assert again.input.window == (-1350, 150)
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.json"]


def test_the_gate_is_read_back_and_may_be_null(tmp_path):
    card = ModelCard.from_dict(card_data(architecture=GATED, gate=GATE))
    assert card.gate == GateSpec(0.6, 0.1, "run", 3)
    card.to_json(tmp_path / "tiny.json")
    assert json.loads((tmp_path / "tiny.json").read_text())["gate"] == GATE
    assert ModelCard.from_json(tmp_path / "tiny.json") == card
    assert ModelCard.from_dict(card_data(gate=None)).gate is None
    assert ModelCard.from_dict(card_data(architecture=GATED, gate={})).gate == GateSpec()


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"task": "liver"}, "'task'"),
        ({"name": "../x"}, "'name'"),
        ({"architecture": {}}, "'architecture.network'"),
        ({"input": {"size": 50, "window": [-1, 1]}}, "'input.size'"),
        ({"input": {"size": 64.0, "window": [-1, 1]}}, "'input.size'"),
        ({"input": {"size": 64}}, "'input.window'"),
        ({"input": {"size": 64, "window": [150, -1350]}}, "'input.window'"),
        ({"input": {"size": 64, "window": [0, float("nan")]}}, "'input.window'"),
        ({"input": {"size": 64, "window": [0, 1], "std": [1, 1, 0]}}, "'input.std'"),
        ({"input": {"size": 64, "window": [0, 1], "scope": "all"}}, "'input.scope'"),
        ({"input": {"size": 64, "window": [0, 1], "colour": 1}}, "'input.colour'"),
        ({"classes": []}, "'classes'"),
        ({"classes": {}}, "'classes'"),
        ({"classes": [{"name": "a"}]}, "'classes[0].label'"),
        ({"classes": [{"name": "a", "label": 0}]}, "'classes.label'"),
        ({"classes": [{"name": "a", "label": 1}, {"name": "b", "label": 1}]}, "'classes.label'"),
        ({"classes": [{"name": "a", "label": 1, "color": [1, 2]}]}, "'classes.color'"),
        ({"classes": [{"name": "a", "label": 1, "threshold": 2}]}, "'classes.threshold'"),
        ({"weights": {"file": "../tiny.safetensors", "sha256": "0" * 64}}, "'weights.file'"),
        ({"weights": {"file": "tiny.pth", "sha256": "0" * 64}}, "'weights.file'"),
        ({"weights": {"file": "tiny.safetensors", "sha256": "abc"}}, "'weights.sha256'"),
        ({"postprocess": {"min_volume_ml": -1}}, "'postprocess.min_volume_ml'"),
        ({"gate": GATE}, "'architecture.gate'"),
        ({"architecture": GATED}, "'gate' is missing"),
        ({"architecture": GATED, "gate": None}, "'gate' is missing"),
        ({"architecture": {"network": "tiny", "gate": 1}}, "'architecture.gate'"),
        ({"architecture": GATED, "gate": True}, "'gate'"),
        ({"architecture": GATED, "gate": {"threshold": 1.5}}, "'gate.threshold'"),
        ({"architecture": GATED, "gate": {"segment_above": -0.1}}, "'gate.segment_above'"),
        ({"architecture": GATED, "gate": {"threshold": 0.3}}, "'gate.segment_above'"),
        ({"architecture": GATED, "gate": {"rule": "most"}}, "'gate.rule'"),
        ({"architecture": GATED, "gate": {"rule": "run", "run": 0}}, "'gate.run'"),
        ({"architecture": GATED, "gate": {"run": 3}}, "'gate.run'"),
        ({"architecture": GATED, "gate": {"runs": 3}}, "'gate.runs'"),
        ({"format": 2}, "'format'"),
        ({"unknown": 1}, "'unknown'"),
        ({"title": ""}, "'title'"),
    ],
)
def test_wrong_card_names_file_and_key(tmp_path, change, key):
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(card_data(**change)))
    with pytest.raises(InputError) as caught:
        ModelCard.from_json(path)
    assert key in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_not_json_names_file(tmp_path, content):
    path = tmp_path / "tiny.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"tiny\.json"):
        ModelCard.from_json(path)


def test_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        ModelCard.from_json(tmp_path / "none.json")
