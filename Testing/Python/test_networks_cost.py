"""Parameters and multiply-accumulates, ours against the published ones (docs/networks.md)."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from CovidLesionSegLogic.networks import build_network, parameter_count
from CovidLesionSegLogic.networks.peers import build_peer

SIZE = 352


def refnet(**options):
    return build_network, {"network": "refnet", **options}


def peer(name, **options):
    return build_peer, {"network": name, **options}


def coarse_refine(**options):
    return build_network, {"network": "coarse-refine", **options}


NO_EDGE = {"edge": False}
# Network; parameters; GMAC at 352 x 352.
COSTS = [
    (refnet(), 48_032_693, 21.50),
    (refnet(encoder="resnet50"), 47_871_373, 20.50),
    (refnet(encoder="vgg16"), 30_450_701, None),
    (refnet(attention="f4"), 47_786_613, None),
    (refnet(attention="f3"), 47_725_013, None),
    (refnet(attention="f2"), 47_709_573, None),
    (refnet(attention=None, context=False, **NO_EDGE), 33_132_649, 12.24),
    (refnet(attention=None, context=False), 33_134_954, 12.26),
    (refnet(context=False, **NO_EDGE), 33_460_971, 12.35),
    (refnet(attention=None, **NO_EDGE), 47_702_066, 21.37),
    (refnet(context=False), 33_463_276, 12.37),
    (refnet(attention=None), 47_704_371, 21.39),
    (refnet(**NO_EDGE), 48_030_388, 21.48),
    (coarse_refine(), 26_730_298, 25.31),
    (coarse_refine(n_classes=2), 26_732_028, 25.45),
    (coarse_refine(n_classes=2, gate=True), 26_733_054, 25.45),
    (coarse_refine(n_classes=3), 26_733_758, 25.60),
    (coarse_refine(n_classes=2, aspp=False), 25_473_148, 25.26),
    (coarse_refine(n_classes=2, refinement=False), 26_183_226, 11.47),
    (coarse_refine(n_classes=2, refinement=False, aspp=False), 25_064_314, 11.34),
    (coarse_refine(n_classes=2, encoder="resnet50"), 30_187_204, 27.01),
    (coarse_refine(n_classes=2, encoder="vgg16"), 20_172_228, 62.34),
    (peer("unet"), 7_849_601, 26.38),
    (peer("unet", n_classes=3), 7_849_667, 26.38),
    (peer("unet++", n_classes=3), 9_159_747, 65.21),
    (peer("unet++"), 9_159_681, 65.20),
    (peer("unet++", deep_supervision=True), 9_159_780, 65.21),
    (peer("attention-unet"), 8_722_169, 31.45),
    (peer("gated-unet"), 168_592, 0.433),
    (peer("dense-unet"), 44_860_801, 43.60),
    (peer("inf-net"), 31_072_721, 13.84),
    (peer("inf-net", edge=False), 30_498_319, 13.00),
    (peer("inf-net", encoder="resnet50"), 30_911_401, 12.84),
    (peer("inf-net", encoder="vgg16"), 21_298_857, 47.66),
]
# Network; parameters as the papers print them, in millions; tolerance.
PUBLISHED = [
    ("unet", 7.853, 0.001),
    ("unet++", 9.163, 0.001),
    ("attention-unet", 8.727, 0.001),
    ("gated-unet", 0.175, 0.04),
    ("dense-unet", 45.082, 0.006),
]
CLASSIFIER = 2_049_000  # of the ImageNet model, which Inf-Net's printed count includes


def on_meta(build, spec):
    with torch.device("meta"):
        return build(spec).eval()


def gmac(network, channels: int = 3, size: int = SIZE) -> float:
    """Multiply-accumulates of convolutions and matrix products for one image, in 10^9."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, channels, size, size, device="meta"))
    return counter.get_total_flops() / 2e9


@pytest.mark.parametrize(
    ("network", "parameters", "cost"),
    COSTS,
    ids=["-".join(map(str, c[0][1].values())) for c in COSTS],
)
def test_parameters_and_arithmetic(network, parameters, cost):
    built = on_meta(*network)
    assert parameter_count(built) == parameters
    # Attention's share depends on the kernel that torch picks, so it is left out where it is large.
    if cost is not None:
        assert gmac(built) == pytest.approx(cost, rel=2e-3)


@pytest.mark.parametrize(("name", "millions", "tolerance"), PUBLISHED)
def test_parameters_fit_the_published_ones(name, millions, tolerance):
    count = parameter_count(on_meta(build_peer, {"network": name}))
    assert count == pytest.approx(millions * 1e6, rel=tolerance)


def test_inf_net_has_the_published_size_but_for_a_classifier_it_never_uses():
    count = parameter_count(on_meta(build_peer, {"network": "inf-net"}))
    assert count + CLASSIFIER == pytest.approx(33.122e6, rel=2e-5)


def test_coarse_refine_network_at_512():
    """The refinement is a fiftieth of the parameters and more than half of the arithmetic."""
    network = on_meta(*coarse_refine())
    assert gmac(network, size=512) == pytest.approx(53.54, rel=2e-3)
    assert gmac(network.refinement, 1, 512) == pytest.approx(29.27, rel=2e-3)
    assert parameter_count(network.refinement) == 547_649
    # What a slice costs that the gate does not let through: 64 % less.
    assert gmac(network.encode, size=512) == pytest.approx(19.14, rel=2e-3)
