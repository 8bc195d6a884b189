"""The gate: what goes on to the decoder, what it costs, and the decision on the patient."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tiny_model
import torch
from hypothesis import given
from hypothesis import strategies as st

from CovidLesionSegLogic.engine import longest_run, patient_decision, predict_slices
from CovidLesionSegLogic.errors import InputError
from CovidLesionSegLogic.models import GateSpec, InferenceSpec, load_network

CPU = torch.device("cpu")
OPEN = GateSpec(segment_above=0.0)
BRIGHT = {1, 4, 5}


@pytest.fixture
def card(tmp_path, monkeypatch):
    return tiny_model.install_gated(tmp_path, monkeypatch)


@pytest.fixture
def volume():
    """Seven slices; the gate of TinyGatedNet is positive on those of BRIGHT."""
    rng = np.random.default_rng(0)
    array = rng.integers(-1000, -700, (7, 64, 64)).astype(np.int16)
    array[sorted(BRIGHT)] += 500
    return array


def collect(volume, card, network, **options):
    return list(predict_slices(volume, None, network, card, device=CPU, **options))


@given(st.lists(st.booleans(), max_size=12))
def test_longest_run_is_the_longest_word_of_ones(positive):
    word = "".join("1" if p else "0" for p in positive)
    assert longest_run(positive) == max(map(len, word.split("0")))


def test_one_slice_is_enough_by_the_published_rule_and_a_run_by_the_other():
    chances = [0.1, 0.9, 0.2, 0.8, 0.7, 0.5]
    assert patient_decision(chances)
    assert not patient_decision(chances, threshold=0.9)  # above, not at
    assert patient_decision(chances, rule="run", run=2)
    assert not patient_decision(chances, rule="run", run=3)
    assert patient_decision(chances, rule="run", run=3, threshold=0.4)
    assert patient_decision(chances, rule="any-slice", run=3)
    assert not patient_decision([])


def test_unknown_rules_are_refused():
    with pytest.raises(ValueError, match="any-slice, run"):
        patient_decision([0.5], rule="most")
    with pytest.raises(ValueError, match="at least 1"):
        patient_decision([0.5], rule="run", run=0)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_only_slices_above_go_on_and_each_is_encoded_once(volume, card, batch_size):
    network = load_network(card)
    found = collect(volume, card, network, batch_size=batch_size, gate=card.gate)
    assert [p.index for p in found] == list(range(7))
    assert {p.index for p in found if p.segmented} == BRIGHT
    assert {p.index for p in found if p.gate > 0.5} == BRIGHT
    assert sum(network.encoded) == 7
    assert sum(network.decoded) == len(BRIGHT)
    grey = (volume.astype(np.float64) + 1000).mean((1, 2)) / 1000
    expected = 1 / (1 + np.exp(-network.GATE_SLOPE * (grey - 0.5)))
    np.testing.assert_allclose([p.gate for p in found], expected, atol=1e-3)
    for p in found:
        assert p.probability.shape == (1, 64, 64)
        assert p.probability.any() == p.segmented


def test_segment_above_decides_and_not_the_threshold(volume, card):
    plain = collect(volume, card, load_network(card), gate=card.gate)
    chances = sorted(p.gate for p in plain)
    lower = GateSpec(threshold=0.9, segment_above=chances[2])
    network = load_network(card)
    found = collect(volume, card, network, gate=lower)
    assert [p.segmented for p in found] == [p.gate > chances[2] for p in plain]
    assert sum(network.decoded) == 4


@pytest.mark.parametrize("flips", [False, True])
def test_kept_slices_are_the_ones_without_a_gate(volume, card, flips):
    card = dataclasses.replace(card, inference=InferenceSpec(flips=flips, temperature=0.7))
    network = load_network(card)
    free = collect(volume, card, network)
    assert all(p.gate is None and p.segmented for p in free)
    network.encoded.clear()
    network.decoded.clear()
    found = collect(volume, card, network, gate=card.gate)
    assert sum(network.encoded) == 7 * (1 + flips)
    assert sum(network.decoded) == len(BRIGHT) * (1 + flips)
    for a, b in zip(found, free, strict=True):
        if a.segmented:
            np.testing.assert_allclose(a.probability, b.probability, atol=1e-6)


class OneSided(tiny_model.TinyGatedNet):
    """A gate that looks at the left half of the picture alone."""

    def gate_logits(self, features):
        left = features[0][..., : features[0].shape[-1] // 2].mean((1, 2, 3))[:, None]
        return torch.cat([torch.zeros_like(left), left], dim=1)


def test_with_flips_the_gate_is_the_mean_of_both_views(volume, card):
    both = dataclasses.replace(card, inference=InferenceSpec(flips=True))
    one = [p.gate for p in collect(volume, card, OneSided().eval(), gate=OPEN)]
    mirrored = np.ascontiguousarray(volume[..., ::-1])
    other = [p.gate for p in collect(mirrored, card, OneSided().eval(), gate=OPEN)]
    mean = [p.gate for p in collect(volume, both, OneSided().eval(), gate=OPEN)]
    assert not np.allclose(one, other, atol=1e-5)
    np.testing.assert_allclose(mean, (np.array(one) + other) / 2, atol=1e-6)


class Hungry(tiny_model.TinyGatedNet):
    """Can decode one slice at a time."""

    def coarse(self, *features):
        if len(features[0]) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().coarse(*features)


def test_memory_shortage_in_the_decoder_halves_the_batch(volume, card):
    notices = []
    found = collect(
        volume, card, Hungry().eval(), batch_size=7, gate=card.gate, notice=notices.append
    )
    plain = collect(volume, card, load_network(card), gate=card.gate)
    assert notices
    assert [p.index for p in found] == list(range(7))
    assert [p.segmented for p in found] == [p.segmented for p in plain]
    for a, b in zip(found, plain, strict=True):
        np.testing.assert_allclose(a.probability, b.probability, atol=1e-6)


def test_a_gate_that_is_not_finite_is_refused(volume, card):
    network = load_network(card)
    network.GATE_SLOPE = float("nan")
    with pytest.raises(InputError, match="not finite"):
        collect(volume, card, network, gate=card.gate)


@pytest.fixture(scope="module")
def coarse_refine():
    return tiny_model.coarse_refine(2, gate=True)


@pytest.mark.parametrize("flips", [False, True])
def test_an_open_gate_changes_not_a_bit_of_the_coarse_refine_network(
    card, coarse_refine, volume, flips
):
    values = tiny_model.coarse_refine_values(2, tiny_model.GATE)
    card = type(card).from_dict(card.to_dict() | values | {"inference": {"flips": flips}})
    options = {"batch_size": 2}
    free = collect(volume[:3], card, coarse_refine, **options)
    found = collect(volume[:3], card, coarse_refine, **options, gate=OPEN)
    assert all(p.segmented for p in found)
    for a, b in zip(found, free, strict=True):
        np.testing.assert_array_equal(a.probability, b.probability)
    middle = sorted(p.gate for p in found)[1]
    some = collect(volume[:3], card, coarse_refine, **options, gate=GateSpec(0.9999, middle))
    assert [p.segmented for p in some] == [p.gate > middle for p in found]
    assert sum(p.segmented for p in some) == 1
    for a, b in zip(some, free, strict=True):
        if a.segmented:
            np.testing.assert_allclose(a.probability, b.probability, atol=1e-5)
