"""Folded batch normalisation: the same outputs, without the normalisations."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from CovidLesionSegLogic.networks import build_network
from CovidLesionSegLogic.networks.fold import fold_batch_norm
from CovidLesionSegLogic.networks.peers import PEERS, build_peer

SIZE = 64


def own(**architecture):
    return lambda: build_network(architecture)


NETWORKS = {
    "lungs": own(network="lungnet"),
    "refnet": own(network="refnet"),
    "refnet-resnet50": own(
        network="refnet", encoder="resnet50", encoder_options={"stride_at": "1x1"}
    ),
    "coarse-refine": own(network="coarse-refine", n_classes=2, gate=True),
    **{name: (lambda name=name: build_peer({"network": name})) for name in PEERS},
}


def stirred(network: nn.Module) -> nn.Module:
    """Normalisations as after some training: no longer the identity."""
    for m in network.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.normal_(0.0, 0.1)
            m.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.bias, std=0.1)
    return network.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_folding_keeps_the_outputs(name):
    torch.manual_seed(0)
    network = stirred(NETWORKS[name]())
    x = torch.randn(1, 1 if name == "lungs" else 3, SIZE, SIZE)
    with torch.inference_mode():
        before = network.predict_logits(x)
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    fold_batch_norm(network)
    left = sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    with torch.inference_mode():
        after = network.predict_logits(x)
    scale = float(before.abs().max())
    torch.testing.assert_close(after, before, rtol=0, atol=1e-4 * max(scale, 1.0))
    assert left < norms


def test_a_network_that_still_learns_is_refused():
    with pytest.raises(ValueError, match="eval mode"):
        fold_batch_norm(build_network({"network": "lungnet"}))
