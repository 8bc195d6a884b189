"""Boxes, preprocessing, streaming, memory shortage and cancelling of the engine."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_model
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from CovidLesionSegLogic.engine import (
    Box,
    Cancel,
    lung_box,
    lung_boxes,
    predict_slices,
    prepare_slice,
)
from CovidLesionSegLogic.engine.memory import is_out_of_memory, memory_errors_for
from CovidLesionSegLogic.errors import CancelledError, InputError
from CovidLesionSegLogic.models import InputSpec, load_network

CPU = torch.device("cpu")


@pytest.fixture
def card(tmp_path, monkeypatch):
    return tiny_model.install(tmp_path, monkeypatch)


@pytest.fixture
def volume():
    rng = np.random.default_rng(0)
    array = rng.integers(-1000, 100, (7, 40, 50)).astype(np.int16)
    lungs = np.zeros(array.shape, np.uint8)
    lungs[1:6, 10:30, 5:20] = 1
    lungs[2, 12:20, 30:45] = 2
    return array, lungs


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(0, 29), st.integers(0, 29), st.integers(0, 39), st.integers(0, 39)),
    st.floats(0, 1),
)
def test_box_holds_the_lungs_and_stays_in_the_image(corners, margin):
    y0, y1, x0, x1 = corners
    mask = np.zeros((30, 40), bool)
    mask[y0, x0] = mask[y1, x1] = True
    box = lung_box(mask, margin)
    assert box is not None
    assert mask[box.slices].sum() == mask.sum()
    assert box.top == max(0, min(y0, y1) - max(2, round(margin * (abs(y1 - y0) + 1))))
    assert box.right == min(40, max(x0, x1) + 1 + max(2, round(margin * (abs(x1 - x0) + 1))))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 38), st.integers(1, 6), st.integers(0, 46), st.floats(0, 1))
def test_small_slices_get_a_box_of_the_stated_share(top, height, left, share):
    lungs = np.zeros((2, 40, 50), np.uint8)
    lungs[0, 5:35, 10:45] = 1
    lungs[1, top : top + height, left : left + 4] = 1
    spec = InputSpec(size=64, window=(-1000, 0), smallest=share)
    plain = lung_boxes(lungs, InputSpec(size=64, window=(-1000, 0)))
    boxes = lung_boxes(lungs, spec)
    assert boxes[0] == plain[0]  # the largest stays
    assert boxes[1].top <= plain[1].top < plain[1].bottom <= boxes[1].bottom <= 40
    assert boxes[1].left <= plain[1].left < plain[1].right <= boxes[1].right <= 50
    assert min(boxes[1]) >= 0
    for side, own, largest in zip(boxes[1].size, plain[1].size, plain[0].size, strict=True):
        assert side == max(own, round(share * largest))


def test_empty_mask_has_no_box():
    assert lung_box(np.zeros((4, 4), bool), 0.1) is None


def test_scopes(volume):
    _, lungs = volume
    own = lung_boxes(lungs, InputSpec(64, (-1000, 0), margin=0.0))
    assert list(own) == [1, 2, 3, 4, 5]
    assert own[1] == Box(8, 32, 3, 22)
    assert own[2] == Box(8, 32, 3, 47)
    union = lung_boxes(lungs, InputSpec(64, (-1000, 0), margin=0.0, scope="volume"))
    assert set(union.values()) == {Box(8, 32, 3, 47)}
    whole = lung_boxes(lungs, InputSpec(64, (-1000, 0), crop="none"))
    assert set(whole.values()) == {Box(0, 40, 0, 50)}


def test_preparation_windows_resizes_and_normalises():
    spec = InputSpec(32, (-1000, 0), mean=(0.5, 0.25), std=(2.0, 0.5), channels=2)
    hu = np.full((17, 45), -250, np.int16)
    planes = prepare_slice(hu, spec)
    assert planes.shape == (2, 32, 32)
    assert planes.dtype == torch.float32
    torch.testing.assert_close(planes[0], torch.full((32, 32), (0.75 - 0.5) / 2))
    torch.testing.assert_close(planes[1], torch.full((32, 32), (0.75 - 0.25) / 0.5))
    outside = prepare_slice(np.array([[-2000.0, np.nan, 500.0]], np.float32).repeat(3, 0), spec)
    assert torch.isfinite(outside).all()


def test_resize_is_the_one_of_training():
    spec = InputSpec(32, (0, 1000), mean=(0.0,), std=(1.0,), channels=1)
    hu = np.random.default_rng(1).integers(0, 1000, (100, 70)).astype(np.int16)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(hu / np.float32(1000))[None, None],
        size=(32, 32),
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )[0]
    torch.testing.assert_close(prepare_slice(hu, spec), expected)


def collect(volume, card, network=None, **options):
    array, lungs = volume
    network = network or load_network(card)
    return list(predict_slices(array, lungs, network, card, device=CPU, **options))


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_every_lung_slice_once_in_order_whatever_the_batch(volume, card, batch_size):
    steps = []
    found = collect(volume, card, batch_size=batch_size, progress=lambda *step: steps.append(step))
    assert [p.index for p in found] == [1, 2, 3, 4, 5]
    assert all(p.probability.shape == (1, *p.box.size) for p in found)
    assert steps[0] == ("segment", 0, 5)
    assert steps[-1] == ("segment", 5, 5)
    one = collect(volume, card, batch_size=3)
    for a, b in zip(found, one, strict=True):
        np.testing.assert_allclose(a.probability, b.probability, atol=1e-6)


def test_probability_lies_where_the_slice_was(card):
    """A bright block comes back at its own place, through crop, resize and back."""
    array = np.full((1, 90, 120), -1000, np.int16)
    array[0, 40:60, 50:80] = 0
    lungs = np.zeros(array.shape, np.uint8)
    lungs[0, 20:80, 30:100] = 1
    spec = InputSpec(96, (-1000, 0), mean=(0.0,), std=(1.0,), channels=1, margin=0.05)
    found = collect((array, lungs), type(card)(**{**vars(card), "input": spec}))[0]
    whole = np.zeros((90, 120), np.float32)
    whole[found.box.slices] = found.probability[0]
    rows, columns = np.nonzero(whole > 0.5)
    assert abs(rows.mean() - 49.5) < 0.3
    assert abs(columns.mean() - 64.5) < 0.3
    assert abs(len(rows) - 20 * 30) < 100


def test_no_lungs_no_work(volume, card):
    array, lungs = volume
    assert collect((array, lungs * 0), card) == []


class Hungry(tiny_model.TinyNet):
    """Fits ``limit`` slices; beyond that it fails as PyTorch does."""

    def __init__(self, limit, error):
        super().__init__()
        self.limit = limit
        self.error = error
        self.sizes = []

    def predict_logits(self, x):
        self.sizes.append(len(x))
        if len(x) > self.limit:
            raise self.error
        return super().predict_logits(x)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        MemoryError(),
    ],
)
def test_memory_shortage_halves_the_batch_and_says_so(volume, card, error):
    notices = []
    network = Hungry(1, error).eval()
    found = collect(volume, card, network, batch_size=4, notice=notices.append)
    assert network.sizes == [4, 2, 1, 1, 1, 1, 1]
    assert len(notices) == 2
    for a, b in zip(found, collect(volume, card), strict=True):
        np.testing.assert_allclose(a.probability, b.probability, atol=1e-6)


def test_not_even_one_slice_fits(volume, card):
    with pytest.raises(InputError, match="not enough memory"):
        collect(volume, card, Hungry(0, MemoryError()).eval(), batch_size=4)


def test_other_errors_are_not_taken_for_memory(volume, card):
    with pytest.raises(RuntimeError, match="shapes"):
        collect(volume, card, Hungry(0, RuntimeError("shapes differ")).eval())
    assert not is_out_of_memory(RuntimeError("memory format option is not supported"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_memory_errors_become_advice():
    gpu = torch.device("cuda:0")
    with (
        pytest.raises(InputError, match=r"for the model.*--device cpu"),
        memory_errors_for(gpu, "the model"),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory.")
    with pytest.raises(RuntimeError, match="shapes"), memory_errors_for(gpu, "the model"):
        raise RuntimeError("shapes differ")


def test_values_not_finite_are_refused(volume, card):
    network = tiny_model.TinyNet()
    network.conv.weight.data[:] = float("nan")
    with pytest.raises(InputError, match="not finite"):
        collect(volume, card, network)


def test_wrong_number_of_classes_is_refused(volume, card):
    with pytest.raises(InputError, match="shape"):
        collect(volume, card, tiny_model.TinyNet(2))


def test_cancel_stops_between_batches(volume, card):
    array, lungs = volume
    cancel = Cancel()
    stream = predict_slices(
        array, lungs, load_network(card), card, device=CPU, batch_size=1, cancel=cancel
    )
    assert next(stream).index == 1
    cancel.cancel()
    with pytest.raises(CancelledError):
        list(stream)
