"""Shapes, sizes, switches and names of the networks."""

from __future__ import annotations

import pytest
import torch

from CovidLesionSegLogic.networks import build_network, parameter_count
from CovidLesionSegLogic.networks.attention import ChannelAttention, SpatialAttention
from CovidLesionSegLogic.networks.encoders import build_encoder
from CovidLesionSegLogic.networks.res2net import Res2NetBlock
from CovidLesionSegLogic.networks.resnet import ResNet50


@pytest.mark.parametrize("name", ["resnet50", "res2net50"])
def test_encoder_features_have_the_stated_channels_and_strides(name):
    encoder = build_encoder(name).eval()
    with torch.inference_mode():
        features = encoder(torch.zeros(1, 3, 64, 96))
    for feature, channels, stride in zip(features, encoder.channels, encoder.strides, strict=True):
        assert feature.shape == (1, channels, 64 // stride, 96 // stride)


def test_resnet50_has_the_public_names_and_size():
    state = ResNet50().state_dict()
    assert state["conv1.weight"].shape == (64, 3, 7, 7)
    assert state["layer1.0.downsample.0.weight"].shape == (256, 64, 1, 1)
    assert state["layer4.2.bn3.running_var"].shape == (2048,)
    # The public model has 25,557,032 parameters, of which the classifier holds 2,049,000.
    assert sum(p.numel() for p in ResNet50().parameters()) == 25_557_032 - 2_049_000


def test_res2net50_has_the_public_names_and_widths():
    encoder = build_encoder("res2net50")
    state = encoder.state_dict()
    assert state["conv1.0.weight"].shape == (32, 3, 3, 3)
    assert state["conv1.6.weight"].shape == (64, 32, 3, 3)
    assert state["layer1.0.convs.2.weight"].shape == (26, 26, 3, 3)
    assert state["layer1.0.downsample.1.weight"].shape == (256, 64, 1, 1)
    assert state["layer4.2.bns.0.weight"].shape == (208,)
    # Public res2net50d: 25,720,000 parameters with its classifier, to three digits 25.7 M.
    assert parameter_count(encoder) + 2_049_000 == pytest.approx(25.72e6, rel=2e-3)


def test_stride_placement_changes_the_function_not_the_names():
    caffe, torchvision = ResNet50(stride_at="1x1").eval(), ResNet50().eval()
    caffe.load_state_dict(torchvision.state_dict())
    x = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        a, b = caffe(x)[-1], torchvision(x)[-1]
    assert a.shape == b.shape
    assert not torch.allclose(a, b)


def test_res2net_splits_are_chained_after_the_first_block():
    block = Res2NetBlock(256, 64, 1, project=False, base_width=26, scale=4).eval()
    seen: list[torch.Tensor] = []
    block.convs[1].register_forward_hook(lambda _m, args, _o: seen.append(args[0]))
    first: list[torch.Tensor] = []
    block.bns[0].register_forward_hook(lambda _m, _a, out: first.append(out))
    with torch.inference_mode():
        x = torch.rand(1, 256, 8, 8)
        block(x)
        second_split = torch.relu(block.bn1(block.conv1(x))).chunk(4, 1)[1]
    torch.testing.assert_close(seen[0], torch.relu(first[0]) + second_split)


@pytest.mark.parametrize("encoder", ["resnet50", "res2net50"])
def test_refnet_maps_lie_at_their_levels(encoder):
    network = build_network({"network": "refnet", "encoder": encoder}).eval()
    x = torch.rand(1, 3, 96, 64)
    with torch.inference_mode():
        maps = network(x)
        logits = network.predict_logits(x)
    sizes = {name: tuple(m.shape[-2:]) for name, m in maps.items()}
    assert sizes == {
        "m5": (3, 2),
        "m4": (6, 4),
        "m3": (12, 8),
        "m2": (24, 16),
        "edge": (24, 16),
    }
    assert logits.shape == (1, 1, 96, 64)
    assert parameter_count(network) == pytest.approx(48e6, rel=0.01)


@pytest.mark.parametrize("attention", [None, "f2", "f3", "f4", "f5"])
@pytest.mark.parametrize("context", [True, False])
@pytest.mark.parametrize("edge", [True, False])
def test_every_module_can_be_switched(attention, context, edge):
    network = build_network(
        {
            "network": "refnet",
            "encoder": "resnet50",
            "attention": attention,
            "context": context,
            "edge": edge,
        }
    ).eval()
    with torch.inference_mode():
        maps = network(torch.rand(1, 3, 32, 32))
    expected = {"m5"} | ({"m4", "m3", "m2"} if context else set()) | ({"edge"} if edge else set())
    assert set(maps) == expected


def test_input_that_is_no_multiple_of_32_is_refused():
    network = build_network({"network": "refnet", "encoder": "resnet50"})
    with pytest.raises(ValueError, match="multiples of 32"):
        network(torch.zeros(1, 3, 100, 100))


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


def test_lung_network_is_small_and_keeps_the_size():
    network = build_network({"network": "lungnet"}).eval()
    with torch.inference_mode():
        assert network.predict_logits(torch.rand(2, 1, 64, 96)).shape == (2, 2, 64, 96)
    assert parameter_count(network) <= 2e6


def test_unknown_network_names_the_known_ones():
    with pytest.raises(ValueError, match="refnet"):
        build_network({"network": "nonsense"})
