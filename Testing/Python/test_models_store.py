"""Weights: what is stored comes back within half a quantisation step, damage is refused."""

from __future__ import annotations

import errno
import os
import stat

import pytest
import tiny_model

from CovidLesionSegLogic.errors import InputError, RequestError
from CovidLesionSegLogic.models import load_weights, save_weights

torch = pytest.importorskip("torch")


@pytest.fixture
def state():
    generator = torch.Generator().manual_seed(0)
    return {
        "conv.weight": torch.randn(8, 3, 5, 5, generator=generator)
        * torch.logspace(-6, 3, 8)[:, None, None, None],
        "conv.bias": torch.randn(8, generator=generator),
        "norm.num_batches_tracked": torch.tensor(7),
        "gamma": torch.tensor(1.25, dtype=torch.float64),
        "linear.weight": torch.randn(2, 512, generator=generator).half(),
    }


def test_int8_error_is_at_most_half_a_step_per_channel(tmp_path, state):
    save_weights(state, tmp_path / "w.safetensors")
    loaded = load_weights(tmp_path / "w.safetensors")
    assert set(loaded) == set(state)
    for key in ("conv.weight", "linear.weight"):
        original = state[key].float().flatten(1)
        error = (loaded[key].flatten(1) - original).abs().amax(1)
        step = original.abs().amax(1) / 127
        assert (error <= step * 0.5001).all()
        assert (error > 0).any()
        assert loaded[key].dtype == torch.float32
        assert loaded[key].shape == state[key].shape
    assert torch.equal(loaded["conv.bias"], state["conv.bias"])
    assert loaded["norm.num_batches_tracked"] == 7
    assert loaded["gamma"] == 1.25
    assert loaded["gamma"].dtype == torch.float32


def test_int8_is_about_a_quarter_of_float32(tmp_path):
    weights = {"w": torch.randn(64, 64, 3, 3)}
    save_weights(weights, tmp_path / "a.safetensors", "int8")
    save_weights(weights, tmp_path / "b.safetensors", "float32")
    small, large = ((tmp_path / f"{n}.safetensors").stat().st_size for n in "ab")
    assert 0.24 < small / large < 0.27
    assert torch.equal(load_weights(tmp_path / "b.safetensors")["w"], weights["w"])


def test_zero_and_denormal_channels_stay_finite(tmp_path):
    weights = {"w": torch.zeros(3, 4)}
    weights["w"][1] = 1e-44
    weights["w"][2] = torch.tensor([1.0, -2.0, 0.5, 127.0])
    save_weights(weights, tmp_path / "w.safetensors")
    loaded = load_weights(tmp_path / "w.safetensors")["w"]
    assert torch.isfinite(loaded).all()
    assert torch.equal(loaded[0], torch.zeros(4))
    assert torch.equal(loaded[2], torch.tensor([1.0, -2.0, 0.0, 127.0]))  # 0.5 rounds to even


def test_quantising_twice_changes_nothing(tmp_path, state):
    save_weights(state, tmp_path / "a.safetensors")
    once = load_weights(tmp_path / "a.safetensors")
    save_weights(once, tmp_path / "b.safetensors")
    twice = load_weights(tmp_path / "b.safetensors")
    for key in once:
        torch.testing.assert_close(once[key], twice[key], rtol=1e-6, atol=0)


def test_shared_tensors_are_stored(tmp_path):
    weight = torch.ones(2, 2)
    save_weights({"a": weight, "b": weight, "c": weight[:1].T}, tmp_path / "w.safetensors")
    assert load_weights(tmp_path / "w.safetensors")["c"].shape == (2, 1)


def test_values_not_finite_and_clashing_names_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    with pytest.raises(ValueError, match="'w'"):
        save_weights({"w": torch.tensor([[float("nan")]])}, path)
    with pytest.raises(ValueError, match=r"w\.scale"):
        save_weights({"w.scale": torch.ones(2), "w": torch.ones(2, 2)}, path)
    with pytest.raises(ValueError, match="storage"):
        save_weights({}, path, "float16")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "missing", "other metadata"])
def test_damaged_file_is_refused_with_its_name(tmp_path, damage):
    path = tmp_path / "w.safetensors"
    save_weights({"w": torch.ones(16, 16)}, path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-9])
    elif damage == "text":
        path.write_text("not weights")
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "missing":
        path.unlink()
    else:
        from safetensors.torch import save_file

        save_file({"w": torch.ones(2)}, str(path))
    with pytest.raises(InputError, match=r"w\.safetensors"):
        load_weights(path)


@pytest.mark.skipif(os.name != "posix", reason="rights of POSIX files")
def test_weights_and_card_may_be_read_by_whom_the_system_says(tmp_path, monkeypatch):
    before = os.umask(0o022)
    try:
        card = tiny_model.install(tmp_path, monkeypatch)
    finally:
        os.umask(before)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny.json", "tiny.safetensors"]
    for path in (tmp_path / "tiny.json", card.weights_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_failed_write_leaves_the_earlier_weights(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    save_weights({"w": torch.ones(2, 2)}, path)
    before = path.read_bytes()

    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(RequestError, match="cannot be written"):
        save_weights({"w": torch.zeros(2, 2)}, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_same_weights_give_the_same_file(tmp_path):
    state = {f"layer{i}.weight": torch.full((3, 4), float(i)) for i in range(20)}
    save_weights(state, tmp_path / "first.safetensors")
    expected = (tmp_path / "first.safetensors").read_bytes()
    for _ in range(8):
        save_weights(state, tmp_path / "again.safetensors")
        assert (tmp_path / "again.safetensors").read_bytes() == expected
