"""Models of a stranger: a damaged card or weight file is refused in a sentence, by its name."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import struct
from pathlib import Path
from typing import Any

import any_json
import pytest
import tiny_model
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from sentences import checked

from CovidLesionSegLogic.cli.models import describe
from CovidLesionSegLogic.errors import InputError
from CovidLesionSegLogic.models import (
    ModelCard,
    get_card,
    list_models,
    load_network,
    registry,
    sha256_of,
    verify,
)
from CovidLesionSegLogic.models.store import load_weights
from CovidLesionSegLogic.mrml.terminology import entry_for

many = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelCard:
    return tiny_model.install(tmp_path, monkeypatch)


def refused(path: Path) -> str:
    """The sentence with which a card is refused, also by what lists and verifies them."""
    with pytest.raises(InputError) as caught:
        ModelCard.from_json(path)
    assert list_models() == []
    (told,) = verify()
    assert (told.name, told.ok) == (path.stem, False)
    assert told.problem == str(caught.value)
    return checked(caught.value)


# --- cards --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[" * 200_000, "not valid"),
        ('{"training": ' + "[" * 400 + "]" * 400 + "}", "levels deep"),
        ('{"a": 1, "a": 1}', "stands twice"),
        ("\ufeff{}", "not valid"),
        ("9" * 5000, "not valid"),
        ("null", "must be an object"),
        ('"' + "x\\n" * 100_000 + '"', "must be an object"),
        ("{", "not valid"),
        ("\0", "not valid"),
    ],
)
def test_a_card_that_is_none(card: ModelCard, tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "tiny.json"
    path.write_text(text, encoding="utf-8")
    assert word in refused(path)


def test_a_card_without_end_is_not_read_to_its_end(card: ModelCard, tmp_path: Path) -> None:
    path = tmp_path / "tiny.json"
    with path.open("wb") as file:
        file.truncate(1 << 34)
    assert "larger than" in refused(path)


@pytest.mark.skipif(os.name == "nt", reason="needs pipes and links")
@pytest.mark.parametrize("kind", ["pipe", "zero", "gone", "loop", "folder"])
def test_a_card_that_is_no_file(card: ModelCard, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "tiny.json"
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"zero": "/dev/zero", "gone": "nowhere", "loop": path.name}[kind])
    assert "cannot be read" in refused(path)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("input", "window"), [-1000, 10**400]),
        (("input", "margin"), 10**400),
        (("input", "std"), [1e-400]),
        (("weights", "bytes"), 10**400),
        (("weights", "file"), "../tiny.safetensors"),
        (("weights", "file"), "/etc/passwd"),
        (("weights", "file"), "tiny.safetensors\n"),
        (("inference", "temperature"), float("nan")),
        (("classes", 0, "threshold"), float("inf")),
        (("classes", 0, "name"), 5),
        (("classes", 0, "label"), [1]),
        (("name",), "\u202etiny"),
        (("format",), 10**400),
        (("task",), {}),
        (("architecture",), []),
        (("architecture", "network"), None),
    ],
)
def test_values_of_a_card_that_cannot_be(
    card: ModelCard, tmp_path: Path, place: tuple[Any, ...], value: Any
) -> None:
    path = tmp_path / "tiny.json"
    data = json.loads(path.read_text())
    inner = data
    for key in place[:-1]:
        inner = inner.setdefault(key, {}) if isinstance(inner, dict) else inner[key]
    inner[place[-1]] = value
    path.write_text(json.dumps(data))
    refused(path)


VALUES = any_json.values(0, 2**31, "lungs", "lesion")


@many
@given(st.data())
def test_any_value_in_any_place_of_a_card(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Refused, or a card that can be shown and used."""
    folder = tmp_path_factory.mktemp("m")
    with pytest.MonkeyPatch.context() as patch:
        told = dataclasses.replace(tiny_model.install(folder, patch)).to_dict()
        told = json.loads(json.dumps(told))
        told["classes"][0]["terminology"] = {"type": {"scheme": "a", "value": "b", "meaning": "c"}}
        changed = copy.deepcopy(told)
        place = data.draw(st.sampled_from(any_json.places(told)))
        inner = changed
        for key in place[:-1]:
            inner = inner[key]
        if data.draw(st.booleans()):
            inner[place[-1]] = data.draw(VALUES)
        elif isinstance(inner, dict):
            del inner[place[-1]]
        path = folder / "tiny.json"
        path.write_text(json.dumps(changed))
        for one in verify():
            assert one.ok or checked(InputError(one.problem)) == one.problem
        try:
            card = get_card("tiny")
        except InputError as error:
            checked(error)
            return
        assert card.weights_path.parent == folder
        describe(card)
        json.dumps(card.to_dict())
        for use in (
            lambda: load_network(card),
            *[lambda c=c: entry_for(c.name, c.terminology) for c in card.classes],
        ):
            try:
                use()
            except InputError as error:
                checked(error)


@pytest.mark.parametrize("kind", [None, {}, "", [], 5, {"scheme": 1}, {"value": "x"}])
def test_terms_that_are_none(kind: Any) -> None:
    with pytest.raises(InputError, match="correct the model card") as caught:
        entry_for("lesion", {"type": kind})
    checked(caught.value)


# --- weights ------------------------------------------------------------------------------------


def packed(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file by hand."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


META = {"__metadata__": {"storage": "float32"}}
INT8 = {"__metadata__": {"storage": "int8"}}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        packed(META)[:20],
        packed(META, length=2**63),
        packed(META, length=2**40),
        packed(META, length=0),
        packed(b"[" * 100_000),
        packed(b"\xff\xfe"),
        packed({**META, "w": entry("F32", [2], 0, 4)}, bytes(8)),
        packed({**META, "w": entry("F32", [2], 0, 8)}, bytes(4)),
        packed({**META, "w": entry("F32", [2], 8, 0)}, bytes(8)),
        packed({**META, "w": entry("F32", [2**62, 2**62], 0, 8)}, bytes(8)),
        packed({**META, "w": entry("F32", [-2], 0, 8)}, bytes(8)),
        packed({**META, "w": entry("F99", [2], 0, 8)}, bytes(8)),
        packed({**META, "w": entry("F32", [2], 0, 8), "v": entry("F32", [2], 4, 12)}, bytes(12)),
        packed({"w": entry("F32", [2], 0, 8)}, bytes(8)),
        packed({"__metadata__": {"storage": "x\x1b" * 5000}}),
        packed({"__metadata__": {"storage": 5}}),
        packed({**META, "w": entry("F32", [2], 0, 8)}, struct.pack("<ff", 1, float("nan"))),
        packed({**META, "w": entry("F16", [1], 0, 2)}, b"\0\x7c"),
        packed({**META, "w": entry("C64", [1], 0, 8)}, bytes(8)),
        packed(
            {**INT8, "w": entry("I8", [2, 2], 0, 4), "w.scale": entry("F32", [3], 4, 16)},
            bytes(16),
        ),
        packed(
            {**INT8, "w": entry("I8", [1], 0, 1), "w.scale": entry("F32", [1], 1, 5)},
            b"\1" + struct.pack("<f", float("inf")),
        ),
    ],
)
def test_weights_that_are_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"w\.safetensors") as caught:
        load_weights(path)
    checked(caught.value)


def installed(card: ModelCard, content: bytes) -> ModelCard:
    """The card with other weights, which it vouches for."""
    card.weights_path.write_bytes(content)
    weights = dataclasses.replace(card.weights, sha256=sha256_of(card.weights_path))
    return dataclasses.replace(card, weights=weights)


def test_weights_that_do_not_fit(card: ModelCard) -> None:
    state = tiny_model.TinyNet().state_dict()
    meta = {"storage": "float32"}
    missing = {key: value for key, value in state.items() if "bias" not in key}
    more = {**state, "x" * 5000: torch.zeros(1)}
    shapes = {key: value.reshape(1, -1).repeat(2, 1) for key, value in state.items()}
    for weights in (missing, more, shapes, {}):
        with pytest.raises(InputError, match="does not fit") as caught:
            load_network(installed(card, save(weights, metadata=meta)))
        checked(caught.value)
    kinds = {key: value.to(torch.float64) for key, value in state.items()}
    network = load_network(installed(card, save(kinds, metadata=meta)))
    assert all(value.dtype == torch.float32 for value in network.state_dict().values())


@pytest.mark.parametrize(
    "architecture",
    [{"n_classes": -1}, {"n_classes": "a"}, {"n_classes": 1.5}, {"n_classes": []},
     {"n_classes": None}, {"n_classes": 2**70}, {"self": 1}, {"a\x1bb": 1}],
)  # fmt: skip
def test_architectures_that_cannot_be_built(card: ModelCard, architecture: dict[str, Any]) -> None:
    told = dataclasses.replace(card, architecture={"network": "tiny", **architecture})
    with pytest.raises(InputError) as caught:
        load_network(told)
    checked(caught.value)


@pytest.mark.parametrize("value", [-1, 1.5, "x", None, [], [0]])
def test_a_shipped_architecture_of_other_values(value: Any) -> None:
    cards = [one for one in list_models() if one.folder in registry.shipped_folders()]
    if not cards:
        pytest.skip("no model is shipped in Resources/Models")
    card = min(cards, key=lambda one: one.weights.bytes)
    for key in set(card.architecture) - {"gate", "network"}:
        told = dataclasses.replace(card, architecture={**card.architecture, key: value})
        try:
            load_network(told)
        except InputError as error:
            checked(error)


@many
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4))
def test_any_damage_to_weights(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.mktemp("w") / "w.safetensors"
    content = bytearray(
        save({"a": torch.ones(3, 3), "b": torch.ones(2)}, metadata={"storage": "float32"})
    )
    for place, value in changes:
        content[place % len(content)] = value
    path.write_bytes(content)
    try:
        weights = load_weights(path)
    except InputError as error:
        checked(error)
        return
    assert all(bool(torch.isfinite(one).all()) for one in weights.values())
