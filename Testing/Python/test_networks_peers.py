"""The networks compared with: maps by name, options, and what sets each of them apart."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from CovidLesionSegLogic.learn.losses import refnet_loss
from CovidLesionSegLogic.networks.peers import PEERS, build_peer
from CovidLesionSegLogic.networks.peers.attention_unet import AdditiveGate
from CovidLesionSegLogic.networks.peers.gated_unet import GridGate
from CovidLesionSegLogic.networks.peers.infnet import ReverseAttention
from CovidLesionSegLogic.networks.peers.partial_decoder import PartialDecoder

INF_NET = {"global": 8, "m5": 32, "m4": 16, "m3": 8}
# Options beside the name, and the stride of every map.
VARIANTS = [
    ({"network": "unet"}, {"m1": 1}),
    ({"network": "unet++"}, {"m1": 1}),
    ({"network": "unet++", "deep_supervision": True}, dict.fromkeys(("m4", "m3", "m2", "m1"), 1)),
    ({"network": "attention-unet"}, {"m1": 1}),
    ({"network": "gated-unet"}, {"m1": 1}),
    ({"network": "dense-unet"}, {"m1": 1}),
    ({"network": "inf-net"}, INF_NET | {"edge": 4}),
    ({"network": "inf-net", "edge": False}, INF_NET),
    ({"network": "inf-net", "encoder": "resnet50"}, INF_NET | {"edge": 4}),
    (
        {"network": "inf-net", "encoder": "vgg16"},
        {"global": 4, "m5": 16, "m4": 8, "m3": 4, "edge": 2},
    ),
]


def on_meta(spec):
    with torch.device("meta"):
        return build_peer(spec).eval()


@pytest.mark.parametrize(("spec", "strides"), VARIANTS, ids=lambda v: "-".join(map(str, v)))
def test_maps_and_prediction(spec, strides):
    network = on_meta(spec)
    x = torch.empty(2, 3, 96, 64, device="meta")
    sizes = {name: tuple(m.shape) for name, m in network(x).items()}
    assert sizes == {name: (2, 1, 96 // s, 64 // s) for name, s in strides.items()}
    assert network.predict_logits(x).shape == (2, 1, 96, 64)
    assert network.n_classes == 1


SEVERAL = [
    {"network": "unet", "width": 2},
    {"network": "unet++", "width": 2},
    {"network": "unet++", "width": 2, "deep_supervision": True},
    {"network": "attention-unet", "width": 2},
    {"network": "gated-unet"},
    {"network": "dense-unet"},
]


@pytest.mark.parametrize("spec", SEVERAL, ids=lambda spec: "-".join(map(str, spec.values())))
def test_several_classes_change_the_maps_and_nothing_else(spec):
    one, three = on_meta(spec), on_meta(spec | {"n_classes": 3})
    x = torch.empty(2, 3, 96, 64, device="meta")
    assert all(m.shape == (2, 3, 96, 64) for m in three(x).values())
    assert three(x).keys() == one(x).keys()
    assert three.predict_logits(x).shape == (2, 3, 96, 64)
    assert (one.n_classes, three.n_classes) == (1, 3)
    shapes = ({k: v.shape for k, v in n.state_dict().items()} for n in (one, three))
    before, after = shapes
    assert before.keys() == after.keys()
    changed = {name for name, shape in before.items() if shape != after[name]}
    assert changed == {name for name in before if name.startswith("head")}


def test_several_classes_are_predicted_by_themselves():
    """The map of a class does not depend on the weights of another class's map."""
    spec = {"network": "unet++", "width": 2, "deep_supervision": True, "n_classes": 2}
    network = build_peer(spec).eval()
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        before = network.predict_logits(x)
        for head in network.heads.values():
            head.weight[1] += 1.0
        after = network.predict_logits(x)
    torch.testing.assert_close(after[:, 0], before[:, 0])
    assert not torch.allclose(after[:, 1], before[:, 1])


@pytest.mark.parametrize("spec", SEVERAL, ids=lambda spec: spec["network"])
def test_no_class_is_refused(spec):
    with pytest.raises(ValueError, match="n_classes must be at least 1"):
        build_peer(spec | {"n_classes": 0})


def test_inf_net_knows_one_class_only():
    with pytest.raises(TypeError, match="n_classes"):
        build_peer({"network": "inf-net", "n_classes": 3})


@pytest.mark.parametrize("name", PEERS)
def test_sizes_that_do_not_divide_are_refused(name):
    with pytest.raises(ValueError, match="multiples of"):
        on_meta({"network": name})(torch.empty(1, 3, 72, 64, device="meta"))


@pytest.mark.parametrize("name", PEERS)
def test_every_network_has_an_encoder_for_the_trainer(name):
    """Its parameters start with "encoder.": the trainer may give them a lower rate."""
    network = on_meta({"network": name})
    within = sum(p.numel() for n, p in network.named_parameters() if n.startswith("encoder."))
    assert within == sum(p.numel() for p in network.encoder.parameters()) > 0


def test_one_loss_serves_all():
    network = build_peer({"network": "unet++", "width": 2, "deep_supervision": True})
    x, mask = torch.rand(1, 3, 32, 32), torch.zeros(1, 1, 32, 32)
    mask[..., 8:20, 8:20] = 1
    maps = network(x)
    total = refnet_loss(maps, mask)
    parts = [refnet_loss({name: logits}, mask) for name, logits in maps.items()]
    assert total.item() == pytest.approx(sum(part.item() for part in parts), rel=1e-5)


def test_deep_supervision_predicts_the_mean_of_its_nodes():
    network = build_peer({"network": "unet++", "width": 2, "deep_supervision": True}).eval()
    x = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        expected = sum(network(x).values()) / 4
        torch.testing.assert_close(network.predict_logits(x), expected)


def test_nested_nodes_see_all_earlier_nodes_of_their_level_and_the_one_below():
    network = on_meta({"network": "unet++", "width": 2})
    widths = [2, 4, 8, 16, 32]
    for j, column in enumerate(network.columns, start=1):
        assert len(column) == 5 - j
        for i, block in enumerate(column):
            assert block[0][0].in_channels == j * widths[i] + widths[i + 1]


def test_additive_gate_follows_its_formula():
    gate = AdditiveGate(4).eval()
    skip, signal = torch.rand(1, 4, 6, 6), torch.rand(1, 4, 6, 6)
    with torch.inference_mode():
        weights = torch.sigmoid(gate.psi(F.relu(gate.skip(skip) + gate.gate(signal))))
        assert weights.shape == (1, 1, 6, 6)
        torch.testing.assert_close(gate(skip, signal), weights * skip)


def test_grid_gate_weighs_by_place_on_the_coarser_grid():
    gate = GridGate(2, 4).eval()
    torch.nn.init.zeros_(gate.theta.weight)
    torch.nn.init.ones_(gate.phi.weight)
    torch.nn.init.ones_(gate.psi.weight)
    torch.nn.init.constant_(gate.psi.bias, -10.0)
    torch.nn.init.dirac_(gate.out[0].weight)
    signal = torch.zeros(1, 4, 4, 4)
    signal[..., :2] = 10  # only the left half is worth looking at
    with torch.inference_mode():
        out = gate(torch.ones(1, 2, 8, 8), signal)
    assert bool((out[..., :3] > 0.99).all())
    assert bool((out[..., 5:] < 0.01).all())


def test_dense_unet_adds_each_skip_to_the_upsampled_feature():
    network = on_meta({"network": "dense-unet"})
    seen = []
    for block in network.up:
        block.register_forward_hook(lambda _m, args, _o: seen.append(tuple(args[0].shape[1:])))
    network(torch.empty(1, 3, 64, 64, device="meta"))
    assert seen == [(2208, 4, 4), (768, 8, 8), (384, 16, 16), (96, 32, 32), (96, 64, 64)]


def test_reverse_attention_looks_away_from_what_is_found_and_adds_to_it():
    module = ReverseAttention(4, 4, kernel=3, depth=1, map_kernel=1, guidance=0).eval()
    inside: list[torch.Tensor] = []
    module.reduce.register_forward_hook(lambda _m, args, _o: inside.append(args[0]))
    feature = torch.ones(1, 4, 8, 8)
    coarse = torch.full((1, 1, 8, 8), -20.0)
    coarse[..., :4] = 20.0
    with torch.inference_mode():
        out = module(feature, coarse, None)
    assert inside[0][..., :4].abs().max() < 1e-6
    torch.testing.assert_close(inside[0][..., 4:], feature[..., 4:])
    correction = out - coarse
    assert correction[..., 1:3, :2].abs().max() < correction[..., 1:3, 6:].abs().max()


def test_partial_decoder_passes_nothing_that_a_coarser_level_denies():
    decoder = PartialDecoder(4).eval()
    joined: list[torch.Tensor] = []
    decoder.join3.register_forward_hook(lambda _m, args, _o: joined.append(args[0]))
    f3, f4 = torch.rand(1, 4, 8, 8), torch.rand(1, 4, 4, 4)
    with torch.inference_mode():
        assert decoder(f3, f4, torch.zeros(1, 4, 2, 2)).shape == (1, 1, 8, 8)
    assert joined[0][:, :4].abs().max() == 0
