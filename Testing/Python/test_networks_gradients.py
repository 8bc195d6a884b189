"""One backward pass reaches every parameter of every network."""

from __future__ import annotations

import pytest
import torch

from CovidLesionSegLogic.networks import build_network
from CovidLesionSegLogic.networks.peers import PEERS, build_peer

# Softmax over the keys does not change when one value is added to all of a query's energies, and
# that is all the key's bias does: its gradient is zero but for rounding.
NO_EFFECT = {"attention.spatial.key.bias"}
REFNETS = [
    {"encoder": "res2net50"},
    {"encoder": "vgg16", "attention": "f2"},
    {"encoder": "vgg16", "attention": None, "context": False},
]
# Narrow where the width is an option: what is connected does not depend on it.
PEER_SPECS = [
    {"network": "unet", "width": 4},
    {"network": "unet++", "width": 4},
    {"network": "unet++", "width": 4, "deep_supervision": True},
    {"network": "unet++", "width": 4, "deep_supervision": True, "n_classes": 3},
    {"network": "attention-unet", "width": 4},
    {"network": "gated-unet"},
    {"network": "dense-unet"},
    {"network": "inf-net", "encoder": "vgg16"},
]


def check(network, size: int) -> None:
    """Backward from random weights on every map, so that no symmetry hides a gradient."""
    torch.manual_seed(1)
    maps = network.train()(torch.randn(2, 3, size, size))
    torch.stack([(m * torch.randn_like(m)).sum() for m in maps.values()]).sum().backward()
    missed = [name for name, p in network.named_parameters() if p.grad is None]
    assert missed == []
    grads = {name: p.grad for name, p in network.named_parameters()}
    assert all(bool(g.isfinite().all()) for g in grads.values())
    assert {name for name, g in grads.items() if not bool(g.any())} <= NO_EFFECT


@pytest.mark.parametrize("options", REFNETS, ids=lambda o: "-".join(map(str, o.values())))
def test_refnet(options):
    torch.manual_seed(0)
    check(build_network({"network": "refnet", **options}), 64)


@pytest.mark.parametrize("spec", PEER_SPECS, ids=lambda spec: spec["network"])
def test_peer(spec):
    torch.manual_seed(0)
    check(build_peer(spec), 64)


def test_every_peer_is_checked():
    assert {spec["network"] for spec in PEER_SPECS} == set(PEERS)
