"""Networks by name, the lung network, and the attention position module's equations."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from CovidLesionSegLogic.networks import NETWORKS, build_network, parameter_count
from CovidLesionSegLogic.networks.attention import (
    AttentionPosition,
    ChannelAttention,
    SpatialAttention,
)
from CovidLesionSegLogic.networks.peers import PEERS, build_peer


class LargestTensor(TorchDispatchMode):
    """Remembers the largest result of any operation, in values."""

    values = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        sizes = [t.numel() for t in tree_leaves(out) if isinstance(t, torch.Tensor)]
        self.values = max([self.values, *sizes])
        return out


def test_unknown_network_names_the_known_ones():
    with pytest.raises(ValueError, match="refnet, coarse-refine, lungnet"):
        build_network({"network": "nonsense"})
    with pytest.raises(ValueError, match="inf-net"):
        build_peer({"network": "nonsense"})
    with pytest.raises(ValueError, match="None"):
        build_network({})


def test_building_leaves_the_description_as_it_was():
    spec = {"network": "lungnet", "width": 4}
    build_network(spec)
    assert spec == {"network": "lungnet", "width": 4}


@pytest.mark.parametrize("name", PEERS)
def test_compared_networks_are_never_in_a_model_card(name):
    assert name not in NETWORKS
    with pytest.raises(ValueError, match="unknown network"):
        build_network({"network": name})


def test_product_networks_are_no_peers():
    with pytest.raises(ValueError, match="unknown network"):
        build_peer({"network": "refnet"})


def test_lung_network_is_small_and_keeps_the_size():
    network = build_network({"network": "lungnet"}).eval()
    with torch.inference_mode():
        assert network.predict_logits(torch.rand(2, 1, 64, 96)).shape == (2, 2, 64, 96)
    assert parameter_count(network) <= 2e6


def test_channel_attention_follows_the_equation():
    module = ChannelAttention()
    x = torch.randn(2, 5, 3, 4)
    flat = x.flatten(2)
    weights = torch.softmax(flat @ flat.transpose(1, 2), -1)
    torch.testing.assert_close(module(x), (weights @ flat).view_as(x) + x)


def test_spatial_attention_follows_the_equation():
    module = SpatialAttention(16)
    x = torch.randn(1, 16, 3, 4)
    q, k, v = (c(x).flatten(2) for c in (module.query, module.key, module.value))
    weights = torch.softmax(q.transpose(1, 2) @ k, -1)  # row i: what position i looks at
    expected = (v @ weights.transpose(1, 2)).view_as(x) + x
    torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-5)


def test_attention_starts_with_gates_of_one():
    module = AttentionPosition(16)
    assert module.channel.gamma.item() == module.spatial.gamma.item() == 1


@pytest.mark.parametrize("training", [False, True])
def test_spatial_attention_never_holds_the_matrix_of_all_pairs(training):
    """At f2 it would have 7744 x 7744 values per image; here the same with 32 x 32 positions."""
    module = SpatialAttention(16)
    x = torch.randn(1, 16, 32, 32)
    with LargestTensor() as largest, torch.set_grad_enabled(training):
        y = module(x)
        if training:
            y.sum().backward()
    assert largest.values < 32**4 / 4


def test_attention_energies_stay_float32_under_reduced_precision():
    """Integer energies above 256 that differ by one are equal in bfloat16."""
    module = ChannelAttention()
    x = torch.zeros(1, 2, 1, 3)
    x[0, :, 0] = torch.tensor([[16.0, 1.0, 0.0], [16.0, 0.0, 0.5]])
    with torch.autocast("cpu", torch.bfloat16):
        reduced = module(x)
    torch.testing.assert_close(reduced, module(x), rtol=1e-5, atol=1e-5)
