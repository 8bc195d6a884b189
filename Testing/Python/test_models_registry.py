"""Installed models are found, checked, and loaded; damage is refused with a way to mend it."""

from __future__ import annotations

import json

import pytest
import tiny_model
import torch

from CovidLesionSegLogic.errors import InputError, RequestError
from CovidLesionSegLogic.models import get_card, list_models, load_network, model_folders, verify


@pytest.fixture
def card(tmp_path, monkeypatch):
    return tiny_model.install(tmp_path, monkeypatch)


def test_network_has_the_stored_weights_and_is_in_eval_mode(card):
    network = load_network(get_card("tiny"))
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    expected = tiny_model.TinyNet().state_dict()
    for key, value in network.state_dict().items():
        assert torch.equal(value, expected[key])


def test_list_and_task(card):
    assert [c.name for c in list_models()] == ["tiny"]
    assert list_models("lungs") == []
    with pytest.raises(RequestError, match="no lungs model called 'tiny'; installed: none"):
        get_card("tiny", "lungs")


@pytest.mark.parametrize("name", ["other", "../tiny", "", "tiny.json"])
def test_unknown_name_is_refused_and_known_ones_named(card, name):
    with pytest.raises(RequestError, match="installed: tiny"):
        get_card(name)


def test_one_changed_byte_is_noticed(card):
    content = bytearray(card.weights_path.read_bytes())
    content[-1] ^= 1
    card.weights_path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="damaged or was replaced") as caught:
        load_network(card)
    assert str(card.weights_path) in str(caught.value)
    assert [v.ok for v in verify()] == [False]


def test_missing_weights_are_named(card):
    card.weights_path.unlink()
    with pytest.raises(InputError, match=r"tiny\.safetensors.*reinstall"):
        load_network(card)


def test_weights_of_another_architecture_are_refused(card, tmp_path):
    data = card.to_dict()
    data["architecture"] = {"network": "tiny", "n_classes": 2}
    (tmp_path / "tiny.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match="does not fit the architecture"):
        load_network(get_card("tiny"))


@pytest.mark.parametrize(
    "architecture", [{"network": "unheard-of"}, {"network": "tiny", "colour": 1}]
)
def test_unknown_architecture_is_refused(card, tmp_path, architecture):
    data = card.to_dict() | {"architecture": architecture}
    (tmp_path / "tiny.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match="cannot be built"):
        load_network(get_card("tiny"))


def test_a_broken_card_does_not_hide_the_others(card, tmp_path):
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "renamed.json").write_text((tmp_path / "tiny.json").read_text())
    assert [c.name for c in list_models()] == ["tiny"]
    results = {v.name: v for v in verify()}
    assert results["tiny"].ok
    assert "broken.json" in results["broken"].problem
    assert "renamed.json" in results["renamed"].problem


def test_folders_of_the_environment_come_first(card, tmp_path, monkeypatch):
    own = tmp_path / "own"
    own.mkdir()
    data = card.to_dict() | {"title": "My own"}
    (own / "tiny.json").write_text(json.dumps(data))
    monkeypatch.setenv("COVIDLESIONSEG_MODELS", str(own))
    assert model_folders()[0] == own
    assert get_card("tiny").title == "My own"
    monkeypatch.setenv("COVIDLESIONSEG_MODELS", str(tmp_path / "absent"))
    with pytest.raises(RequestError, match="absent"):
        list_models()


def test_shipped_models_are_sound():
    results = verify()
    if not results:
        pytest.skip("no model is shipped in Resources/Models")
    assert [v.problem for v in results if not v.ok] == []
