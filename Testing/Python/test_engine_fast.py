"""What makes the engine fast changes nothing that matters: tiles, one view, ONNX Runtime."""

from __future__ import annotations

import dataclasses
import gc
import weakref

import numpy as np
import pytest
import tiny_model
import torch

from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.engine import Shortcuts, predict_slices
from CovidLesionSegLogic.engine import parts as engine_parts
from CovidLesionSegLogic.engine.onnx_parts import OnnxParts
from CovidLesionSegLogic.engine.parts import (
    ONNX,
    TORCH,
    TorchParts,
    engine_for,
    engine_used,
    parts_of,
)
from CovidLesionSegLogic.engine.refine import UNDECIDED, floor_for, refined, undecided
from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.models import InferenceSpec
from CovidLesionSegLogic.networks import SegmentationNetwork, build_network
from CovidLesionSegLogic.pipeline import SegmentOptions, check_options
from CovidLesionSegLogic.pipeline.lesion_stage import find_lesions

CPU = torch.device("cpu")
SIZE = 128


@pytest.fixture(scope="module")
def network():
    return tiny_model.coarse_refine(2, gate=True)


@pytest.fixture(scope="module")
def coarse():
    """Logits of three slices: nothing, two spots in the middle, a spot at the frame's rim."""
    logits = torch.full((3, 2, SIZE, SIZE), -12.0)
    logits += torch.rand(logits.shape, generator=torch.Generator().manual_seed(0))
    logits[1, 0, 20:30, 13:21] = 3.0
    logits[1, 1, 100:121, 117:121] = -2.0
    logits[2, 0, 60:70, 0:4] = 3.0
    return logits


class Counting(TorchParts):
    """Notes which parts ran, and on how many slices or tiles."""

    def __init__(self, network):
        super().__init__(network)
        self.ran = []

    def __call__(self, part, *inputs):
        self.ran.append((part, len(inputs[0])))
        return super().__call__(part, *inputs)


def test_undecided_is_what_the_probability_says(coarse):
    for temperature in (1.0, 0.4):
        expected = (torch.sigmoid(coarse / temperature) >= UNDECIDED).any(1)
        assert torch.equal(undecided(coarse, temperature), expected)


def test_the_floor_keeps_its_distance_from_a_low_threshold():
    assert floor_for(0.5) == pytest.approx(UNDECIDED)
    assert floor_for(0.9) == pytest.approx(UNDECIDED)
    assert floor_for(0.01) == pytest.approx(1e-5, rel=0.02)
    assert floor_for(0.0005) < 1e-6


def test_tiles_hold_the_refined_logits_and_the_rest_the_coarse_ones(network, coarse):
    parts = Counting(network)
    with torch.inference_mode():
        found = refined(parts, coarse, 1.0)
        whole = coarse + network.refinement(coarse)
    assert dict(parts.ran).keys() == {"refinement", "refinement.context", "refinement.detail"}
    assert dict(parts.ran)["refinement"] == 1  # the spot at the rim
    assert torch.equal(found[0], coarse[0])
    torch.testing.assert_close(found[2], whole[2], rtol=1e-4, atol=1e-4)
    spots = undecided(coarse[1:2], 1.0)[0]
    torch.testing.assert_close(found[1][:, spots], whole[1][:, spots], rtol=1e-4, atol=1e-4)
    either = (found[1] - whole[1]).abs().minimum((found[1] - coarse[1]).abs())
    assert float(either.max()) < 1e-4
    far = (slice(None), slice(50, 90), slice(30, 90))
    assert torch.equal(found[1][far], coarse[1][far])
    assert not torch.allclose(whole[1][far], coarse[1][far], atol=1e-2)


def test_much_that_is_undecided_is_refined_as_a_whole(network):
    parts = Counting(network)
    logits = torch.zeros(1, 2, SIZE, SIZE)
    with torch.inference_mode():
        found = refined(parts, logits, 1.0)
        torch.testing.assert_close(found, logits + network.refinement(logits))
    assert parts.ran == [("refinement", 1)]


class Lopsided(SegmentationNetwork):
    """Sees lesion left of the middle only, where the slice is bright; notes what it is shown."""

    n_classes = 1

    def __init__(self):
        super().__init__()
        self.shown = []

    def predict_logits(self, x):
        self.shown.append(len(x))
        logits = torch.full((len(x), 1, *x.shape[-2:]), -20.0)
        half = x.shape[-1] // 2
        logits[..., :half] = x[:, :1, :, :half] * 20 - 10
        return logits


def test_the_mirror_image_is_looked_at_where_the_slice_is_in_doubt(tmp_path, monkeypatch):
    card = tiny_model.install(tmp_path, monkeypatch)
    card = dataclasses.replace(card, inference=InferenceSpec(flips=True))
    array = np.full((4, 64, 64), -1000, np.int16)
    array[2, 10:20, 5:59] = 0
    network = Lopsided()
    found = list(predict_slices(array, None, network, card, device=CPU, batch_size=4))
    assert network.shown == [4, 1]
    for k in (0, 1, 3):
        assert float(found[k].probability.max()) < UNDECIDED
    both = found[2].probability[0, 15]
    np.testing.assert_allclose(both, both[::-1], atol=1e-5)  # the mean of both views


class FarApart(SegmentationNetwork):
    """Faint to the right of the middle, nothing (0.0005) elsewhere: a mirror image differs."""

    n_classes = 1

    def predict_logits(self, x):
        logits = torch.full((len(x), 1, *x.shape[-2:]), -7.6)
        seen = x[..., : x.shape[-1] // 2].mean((1, 2, 3)) > x[..., x.shape[-1] // 2 :].mean(
            (1, 2, 3)
        )
        logits[seen] = -1.6
        return logits


def test_a_low_threshold_labels_what_it_would_without_shortcuts(tmp_path, monkeypatch):
    card = tiny_model.install(tmp_path, monkeypatch)
    card = dataclasses.replace(card, inference=InferenceSpec(flips=True))
    array = np.full((1, 64, 64), -1000, np.int16)
    array[:, :, 40:] = 0
    ct = CTVolume(array)
    lungs = np.ones_like(array, np.uint8)
    expected, found = (
        find_lesions(
            ct, lungs, FarApart().eval(), card, device=CPU, threshold=0.005, shortcuts=shortcuts
        ).labels
        for shortcuts in (Shortcuts(one_view=False, tiles=False), None)
    )
    assert expected.any()
    assert np.array_equal(found, expected)


ARCHITECTURES = {
    "refnet": {"network": "refnet", "encoder": "resnet50"},
    "lungnet": {"network": "lungnet"},
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_onnx_runtime_gives_the_same_logits_for_any_number_of_slices(name):
    torch.manual_seed(0)
    network = build_network(dict(ARCHITECTURES[name])).eval()
    parts = parts_of(network, ONNX)
    assert isinstance(parts, OnnxParts)
    for count in (3, 1):
        x = torch.randn(count, 1 if name == "lungnet" else 3, 64, 64)
        with torch.inference_mode():
            expected = network.predict_logits(x)
            found = parts("predict_logits", x)[0]
        assert found.shape == expected.shape
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_onnx_runtime_runs_every_part_of_the_coarse_refine_network(network, coarse):
    images = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    torch_parts, parts = TorchParts(network), parts_of(network, ONNX)
    with torch.inference_mode():
        features = torch_parts("encode", images)
        for a, b in zip(parts("encode", images), features, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
        expected = torch_parts("coarse", *features)[0]
        torch.testing.assert_close(parts("coarse", *features)[0], expected, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(
            refined(parts, coarse, 1.0), refined(torch_parts, coarse, 1.0), rtol=1e-3, atol=1e-3
        )
    by_torch = {part for (part, _), session in parts._sessions.items() if session is None}
    assert by_torch == {"refinement"}


def test_what_was_handed_over_goes_with_the_network():
    network = build_network({"network": "lungnet"}).eval()
    parts = weakref.ref(parts_of(network, ONNX))
    assert parts_of(network, ONNX) is parts()
    del network
    gc.collect()
    assert parts() is None


def test_pytorch_does_what_onnx_runtime_cannot(monkeypatch, caplog):
    def fails(*args, **kwargs):
        raise RuntimeError("this operator is not known")

    network = build_network({"network": "lungnet"}).eval()
    monkeypatch.setattr(torch.onnx, "export", fails)
    x = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        found = parts_of(network, ONNX)("predict_logits", x)[0]
        torch.testing.assert_close(found, network.predict_logits(x))
    assert "PyTorch does" in caplog.text


def test_what_computed_is_told_truly_where_onnx_runtime_cannot(monkeypatch):
    network = build_network({"network": "lungnet"}).eval()
    x = torch.randn(1, 1, 64, 64)
    assert engine_used(network, TORCH) == TORCH
    said = []
    monkeypatch.setattr(torch.onnx, "export", lambda *a, **k: 1 / 0)
    for _ in range(2):  # of a network that stays loaded, the next CT's result says it too
        parts_of(network, ONNX, said.append)("predict_logits", x)
        assert engine_used(network, ONNX) == TORCH
    assert len(said) == 2
    assert "PyTorch computed" in said[0]


def test_changed_weights_are_handed_over_again():
    network = build_network({"network": "lungnet"}).eval()
    x = torch.randn(1, 1, 64, 64)
    before = parts_of(network, ONNX)("predict_logits", x)[0]
    with torch.no_grad():
        for weights in network.parameters():
            weights.mul_(1.1)
    with torch.inference_mode():
        found = parts_of(network, ONNX)("predict_logits", x)[0]
        expected = network.predict_logits(x)
    assert not torch.allclose(before, expected, rtol=1e-2)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    assert engine_used(network, ONNX) == ONNX


def test_standard_output_stays_that_of_all_threads_while_a_network_is_handed_over(
    monkeypatch, capsys
):
    real = torch.onnx.export

    def export(*args, **options):
        print("an event of another thread")
        return real(*args, **options)

    monkeypatch.setattr(torch.onnx, "export", export)
    network = build_network({"network": "lungnet"}).eval()
    parts_of(network, ONNX)("predict_logits", torch.randn(1, 1, 64, 64))
    assert capsys.readouterr().out == "an event of another thread\n"


def test_memory_that_onnx_runtime_lacks_is_a_shortage_of_memory():
    class Short:
        def get_inputs(self):
            return []

        def run(self, names, feed):
            raise Exception("Failed to allocate memory for requested buffer of size 9")

    network = build_network({"network": "lungnet"}).eval()
    parts = OnnxParts(network)
    x = torch.zeros(1, 1, 64, 64)
    parts._sessions["predict_logits", ((1, 64, 64),)] = Short()
    with pytest.raises(MemoryError):
        parts("predict_logits", x)


def test_the_engine_is_chosen_by_what_is_here_and_worthwhile(monkeypatch):
    assert engine_for("auto", CPU, 200) == ONNX
    assert engine_for("auto", CPU, 3) == TORCH
    assert engine_for("auto", torch.device("cuda"), 200) == TORCH
    assert engine_for(ONNX, CPU, 1) == ONNX
    assert engine_for(TORCH, CPU, 200) == TORCH
    monkeypatch.setattr(engine_parts, "has_onnx", lambda: False)
    assert engine_for("auto", CPU, 200) == TORCH


def test_an_engine_that_cannot_be_had_is_refused(tmp_path, monkeypatch):
    tiny_model.install(tmp_path, monkeypatch)
    with pytest.raises(RequestError, match="one of auto, torch, onnxruntime"):
        SegmentOptions(model="tiny", engine="magic")
    with pytest.raises(RequestError, match="on the CPU only"):
        engine_parts.check_engine(ONNX, torch.device("cuda"))
    monkeypatch.setattr(engine_parts, "has_onnx", lambda: False)
    with pytest.raises(RequestError, match="pip install"):
        check_options(SegmentOptions(model="tiny", device="cpu", engine=ONNX))
