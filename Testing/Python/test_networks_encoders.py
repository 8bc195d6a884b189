"""Encoders: features, public names and sizes, and what their blocks compute."""

from __future__ import annotations

from collections.abc import Callable

import public_layouts
import pytest
import torch
from torch.nn import functional as F

from CovidLesionSegLogic.networks import build_network, parameter_count
from CovidLesionSegLogic.networks.blocks import Encoder
from CovidLesionSegLogic.networks.encoders import ENCODERS, build_encoder
from CovidLesionSegLogic.networks.peers.densenet import DenseNet161
from CovidLesionSegLogic.networks.res2net import Res2NetBlock
from CovidLesionSegLogic.networks.resnet import ResNet50
from CovidLesionSegLogic.networks.seresnet import SEBasicBlock
from CovidLesionSegLogic.networks.vgg import VGG16

ALL: dict[str, Callable[[], Encoder]] = {**ENCODERS, "densenet161": DenseNet161}
# Name, layout of the public weights, all parameters of the public model, and of its classifier.
PUBLIC = [
    ("resnet50", public_layouts.resnet50, 25_557_032, 2_049_000),
    ("res2net50", public_layouts.res2net50d, 25_720_000, 2_049_000),
    ("seresnet34", public_layouts.seresnet34, 21_960_416, 513_000),
    ("vgg16", public_layouts.vgg16, 138_357_544, 123_642_856),
    ("densenet161", public_layouts.densenet161, 28_681_000, 2_209_000),
]


def on_meta(name: str) -> Encoder:
    with torch.device("meta"):
        return ALL[name]()


@pytest.mark.parametrize("name", ALL)
def test_features_have_the_stated_channels_and_strides(name):
    encoder = on_meta(name).eval()
    features = encoder(torch.empty(1, 3, 64, 96, device="meta"))
    for feature, channels, stride in zip(features, encoder.channels, encoder.strides, strict=True):
        assert feature.shape == (1, channels, 64 // stride, 96 // stride)


@pytest.mark.parametrize(("name", "layout", "total", "classifier"), PUBLIC)
def test_public_layout_loads_strictly(name, layout, total, classifier):
    state = public_layouts.empty_state(layout())
    encoder = on_meta(name)
    encoder.load_state_dict(state, strict=True, assign=True)
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    values = sum(v.numel() for k, v in state.items() if not k.endswith(buffers))
    assert values == pytest.approx(total, rel=1e-3)
    assert parameter_count(encoder) == pytest.approx(total - classifier, rel=1e-3)


@pytest.mark.parametrize(("name", "layout"), [entry[:2] for entry in PUBLIC])
def test_a_layout_with_a_gap_or_a_stranger_is_refused(name, layout):
    state = public_layouts.empty_state(layout())
    state.pop(next(iter(state)))
    with pytest.raises(RuntimeError, match="Missing key"):
        on_meta(name).load_state_dict(state, assign=True)
    state = public_layouts.empty_state(layout()) | {"extra.weight": torch.zeros(1)}
    with pytest.raises(RuntimeError, match=r"extra\.weight"):
        on_meta(name).load_state_dict(state, assign=True)


def test_loaded_values_arrive_and_the_classifier_is_passed_over():
    encoder = VGG16()
    state = {name: torch.full_like(value, 0.5) for name, value in encoder.state_dict().items()}
    encoder.load_state_dict({**state, "classifier.6.bias": torch.zeros(1000)})
    assert all(bool((p == 0.5).all()) for p in encoder.parameters())


def test_weights_with_batch_normalisation_do_not_pass_for_plain_vgg16():
    state = public_layouts.empty_state(public_layouts.vgg16())
    state["features.1.running_mean"] = torch.zeros(64)
    with pytest.raises(RuntimeError, match="running_mean"):
        on_meta("vgg16").load_state_dict(state, assign=True)


def test_vgg16_computes_convolution_relu_and_pooling_in_the_public_order():
    encoder = VGG16().eval()
    state = encoder.state_dict()
    y = x = torch.rand(1, 3, 32, 32)
    expected = []
    layers = iter((0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28))
    for block, count in enumerate((2, 2, 3, 3, 3)):
        y = F.max_pool2d(y, 2) if block else y
        for _ in range(count):
            p = f"features.{next(layers)}"
            y = F.relu(F.conv2d(y, state[f"{p}.weight"], state[f"{p}.bias"], padding=1))
        expected.append(y)
    with torch.inference_mode():
        for feature, wanted in zip(encoder(x), expected, strict=True):
            torch.testing.assert_close(feature, wanted)


def test_densenet_skips_are_not_overwritten_by_later_layers():
    """In-place ReLUs must not reach a feature that was handed out."""
    encoder = on_meta("densenet161").eval()
    names = ("relu0", "denseblock1", "denseblock2", "denseblock3", "relu5")
    versions: list[int] = []
    for name in names:
        encoder.features[name].register_forward_hook(
            lambda _m, _a, out: versions.append(out._version)
        )
    features = encoder(torch.empty(1, 3, 32, 32, device="meta"))
    assert [feature._version for feature in features] == versions


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


def test_squeeze_and_excitation_weighs_the_residual_before_it_is_added():
    block = SEBasicBlock(32, 32, 1).eval()
    x = torch.rand(2, 32, 8, 8)
    with torch.inference_mode():
        y = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x)))))
        squeezed = torch.relu(block.se.fc1.weight[..., 0, 0] @ y.mean((2, 3)).T)
        weight = torch.sigmoid(block.se.fc2.weight[..., 0, 0] @ squeezed).T
        expected = torch.relu(weight[..., None, None] * y + x)
        torch.nn.init.zeros_(block.se.fc1.bias)
        torch.nn.init.zeros_(block.se.fc2.bias)
        torch.testing.assert_close(block(x), expected)


def test_unknown_encoder_names_the_known_ones():
    with pytest.raises(ValueError, match="resnet50, res2net50, seresnet34, vgg16"):
        build_encoder("nonsense")
    with pytest.raises(ValueError, match="vgg16"):
        build_network({"network": "refnet", "encoder": "nonsense"})
