"""The coarse-refine network: its modules, switches (Table 7), gate and split evaluation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from CovidLesionSegLogic.networks import build_network
from CovidLesionSegLogic.networks.aspp import ASPP, FILTERS, RATES
from CovidLesionSegLogic.networks.coarse_refine import last_map
from CovidLesionSegLogic.networks.refinement import HALO, STAGES, Refinement

# The rows of Table 7 that differ by their modules.
TABLE_7 = [
    {"aspp": False, "refinement": False},
    {"refinement": False},
    {},
    {"aspp": False},
]


def build(**options):
    torch.manual_seed(0)
    return build_network({"network": "coarse-refine", **options})


def on_meta(**options):
    with torch.device("meta"):
        return build(**options).eval()


def stirred(network: nn.Module) -> nn.Module:
    """Batch normalisation as after some training, and a refinement that changes something."""
    torch.manual_seed(1)
    for m in network.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.normal_(0.0, 0.1)
            m.running_var.uniform_(0.5, 1.5)
    if network.refinement is not None:
        nn.init.normal_(network.refinement.head.weight, std=0.1)
    return network


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return stirred(build(n_classes=2, gate=True)).eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(3, 3, 64, 96, generator=torch.Generator().manual_seed(2))


# -- modules ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "size"), [(512, (16, 16)), (512, (11, 11)), (64, (2, 3))])
def test_aspp_keeps_the_size_and_gives_64_filters(channels, size):
    with torch.device("meta"):
        module = ASPP(channels).eval()
        assert module(torch.empty(2, channels, *size)).shape == (2, FILTERS, *size)


def test_aspp_has_the_papers_five_branches():
    module = ASPP(8)
    convolutions = [branch[0] for branch in module.branches]
    assert [c.kernel_size[0] for c in convolutions] == [1, 3, 3, 3]
    assert [c.dilation[0] for c in convolutions] == [1, *RATES] == [1, 3, 6, 9]
    assert all(c.out_channels == 64 for c in [*convolutions, module.pooling[1]])
    assert module.fuse[0].in_channels == 5 * 64


def test_aspp_sees_as_far_as_its_rates_and_by_pooling_everywhere():
    module = ASPP(1, filters=1).eval()
    for m in module.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.ones_(m.weight)
            if m.bias is not None:
                nn.init.zeros_(m.bias)
    x = torch.zeros(1, 1, 41, 41)
    x[..., 20, 20] = 1.0
    with torch.inference_mode():
        y = module(x)[0, 0]
    everywhere = 1 / 41**2  # the share of image pooling
    row = {int(j) - 20 for j in torch.nonzero(y[20] > 2 * everywhere)}
    assert row == {0, 3, 6, 9, -3, -6, -9}
    assert y.min().item() == pytest.approx(everywhere, rel=1e-3)


@pytest.mark.parametrize("aspp", [False, True])
@pytest.mark.parametrize("classes", [1, 3])
def test_refinement_keeps_the_shape_and_starts_as_no_change(aspp, classes):
    module = Refinement(classes, aspp=aspp).eval()
    coarse = torch.randn(2, classes, 32, 48)
    with torch.inference_mode():
        residual = module(coarse)
    assert residual.shape == coarse.shape
    assert not residual.any()


def test_refinement_has_four_stages_of_one_convolution_each_way():
    module = Refinement(2)
    assert STAGES == len(module.encoder) == len(module.decoder) == 4
    for stage in (*module.encoder, *module.decoder):
        (convolution,) = (m for m in stage.modules() if isinstance(m, nn.Conv2d))
        assert (convolution.kernel_size, convolution.out_channels) == ((3, 3), 64)
    seen = []
    for stage in (*module.encoder, *module.decoder):
        stage.register_forward_hook(lambda _m, _a, out: seen.append(out.shape[-1]))
    with torch.inference_mode():
        module(torch.zeros(1, 2, 64, 64))
    assert seen == [64, 32, 16, 8, 8, 16, 32, 64]


# -- the whole ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("size", [512, 352])
def test_one_slice_at_the_sizes_of_use(network, size):
    with torch.no_grad():
        maps = network(torch.zeros(1, 3, size, size))
    assert {name: tuple(m.shape) for name, m in maps.items()} == dict.fromkeys(
        ("coarse", "final"), (1, 2, size, size)
    )
    assert all(bool(m.isfinite().all()) for m in maps.values())


def test_stages_have_the_stated_channels_at_512():
    network = on_meta(n_classes=3)
    seen = []
    for module in (network.aspp, *network.decoder, network.head):
        module.register_forward_hook(lambda _m, _a, out: seen.append(tuple(out.shape[1:])))
    features = network.encode(torch.empty(1, 3, 512, 512, device="meta"))
    network.decode(features, (512, 512))
    assert [tuple(f.shape[1:]) for f in features] == [
        (64, 256, 256),
        (64, 128, 128),
        (128, 64, 64),
        (256, 32, 32),
        (512, 16, 16),
    ]
    assert seen == [
        (64, 16, 16),
        (256, 16, 16),
        (128, 32, 32),
        (64, 64, 64),
        (64, 128, 128),
        (3, 128, 128),
    ]
    for stage in network.decoder:
        kinds = [type(m) for m in stage.modules() if not isinstance(m, nn.Sequential)]
        assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 3


@pytest.mark.parametrize("row", TABLE_7, ids=lambda row: "-".join(row) or "whole")
@pytest.mark.parametrize("encoder", ["seresnet34", "resnet50", "vgg16"])
def test_switches_and_encoders(row, encoder):
    network = on_meta(n_classes=2, encoder=encoder, gate=True, **row)
    assert (network.aspp is not None) == row.get("aspp", True)
    x = torch.empty(2, 3, 64, 96, device="meta")
    maps = network(x)
    assert set(maps) == {"coarse"} | ({"final"} if row.get("refinement", True) else set())
    assert all(m.shape == (2, 2, 64, 96) for m in maps.values())
    assert network.predict_logits(x).shape == (2, 2, 64, 96)
    assert network.gate_logits(network.encode(x)).shape == (2, 2)


@pytest.mark.parametrize("classes", [1, 2, 3, 4])
def test_any_number_of_classes(classes):
    network = on_meta(n_classes=classes)
    assert network.n_classes == classes
    assert network.predict_logits(torch.empty(1, 3, 32, 32, device="meta")).shape[1] == classes


def test_no_class_and_odd_sizes_are_refused():
    with pytest.raises(ValueError, match="n_classes must be at least 1"):
        build(n_classes=0)
    with pytest.raises(ValueError, match="multiples of 32"):
        on_meta()(torch.empty(1, 3, 48, 64, device="meta"))


def test_the_final_map_is_coarse_plus_residual_exactly(network, images):
    with torch.inference_mode():
        maps = network(images)
        residual = network.refinement(maps["coarse"])
        assert bool(residual.any())
        assert torch.equal(maps["final"], maps["coarse"] + residual)
        assert torch.equal(network.predict_logits(images), maps["final"])


def test_the_prediction_is_the_coarse_map_without_refinement():
    network = build(n_classes=2, refinement=False).eval()
    x = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        maps = network(x)
        assert torch.equal(network.predict_logits(x), maps["coarse"])
        assert last_map(maps) is maps["coarse"]


def test_it_starts_from_the_coarse_map():
    network = build(n_classes=2).eval()
    with torch.inference_mode():
        maps = network(torch.randn(1, 3, 64, 64))
    assert torch.equal(maps["coarse"], maps["final"])


@pytest.mark.parametrize("size", [64, 96])
@pytest.mark.parametrize("row", TABLE_7, ids=lambda row: "-".join(row) or "whole")
def test_a_batch_of_one_trains(size, row):
    network = build(n_classes=2, **row).train()
    maps = network(torch.randn(1, 3, size, size))
    sum(m.square().mean() for m in maps.values()).backward()
    assert all(bool(m.isfinite().all()) for m in maps.values())
    grads = [p.grad for p in network.parameters() if p.grad is not None]
    assert grads
    assert all(bool(g.isfinite().all()) for g in grads)


@pytest.mark.parametrize("row", TABLE_7, ids=lambda row: "-".join(row) or "whole")
def test_gradient_reaches_every_parameter(row):
    network = stirred(build(n_classes=3, gate=True, **row)).train()
    x = torch.randn(2, 3, 64, 64)
    maps = network(x)
    maps["gate"] = network.gate_logits(network.encode(x))
    torch.stack([(m * torch.randn_like(m)).sum() for m in maps.values()]).sum().backward()
    missed = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert missed == []


# -- gate and split evaluation --------------------------------------------------------------------


def test_encoding_and_decoding_are_the_forward_pass(network, images):
    with torch.inference_mode():
        features = network.encode(images)
        split, whole = network.decode(features, (64, 96)), network(images)
    assert split.keys() == whole.keys()
    for name in whole:
        assert torch.equal(split[name], whole[name])


def test_the_slices_that_pass_the_gate_decode_as_in_the_whole_batch(network, images):
    with torch.inference_mode():
        features = network.encode(images)
        some = network.decode([f[[0, 2]] for f in features], (64, 96))
        every = network.decode(features, (64, 96))
    for name in every:
        torch.testing.assert_close(some[name], every[name][[0, 2]], rtol=1e-4, atol=1e-5)


def test_the_gate_reads_the_mean_of_the_last_feature_only(network, images):
    with torch.inference_mode():
        features = network.encode(images)
        logits = network.gate_logits(features)
        blank = [torch.zeros_like(f) for f in features[:-1]]
        assert torch.equal(network.gate_logits([*blank, features[-1]]), logits)
        mean = features[-1].mean((2, 3))
        expected = mean @ network.gate.weight.T + network.gate.bias
        torch.testing.assert_close(logits, expected)
    assert logits.shape == (3, 2)


def test_the_gate_is_no_part_of_the_segmentation(network, images):
    """A network without a gate has the same maps; its weights are the rest of the state dict."""
    plain = build(n_classes=2).eval()
    state = {k: v for k, v in network.state_dict().items() if not k.startswith("gate.")}
    assert network.state_dict().keys() - state.keys() == {"gate.weight", "gate.bias"}
    plain.load_state_dict(state)
    with torch.inference_mode():
        assert torch.equal(plain.predict_logits(images), network.predict_logits(images))
        with pytest.raises(ValueError, match="no gate"):
            plain.gate_logits(plain.encode(images))


def test_a_coarse_network_s_weights_fit_the_whole_one():
    """Table 7 adds module by module: what was trained without refinement can be gone on with."""
    coarse, whole = build(n_classes=2, refinement=False), build(n_classes=2)
    left = whole.load_state_dict(coarse.state_dict(), strict=False)
    assert not left.unexpected_keys
    assert {k.split(".")[0] for k in left.missing_keys} == {"refinement"}


def test_refinement_of_a_tile_is_that_of_the_whole(network):
    coarse = torch.randn(2, 2, 96, 128, generator=torch.Generator().manual_seed(3))
    refinement = network.refinement
    half = HALO // 2
    with torch.inference_mode():
        whole, context = refinement(coarse), refinement.context(coarse)
        for row, column, height, width in ((6, 6, 16, 16), (74, 106, 16, 16), (30, 52, 24, 32)):
            tile = slice(row, row + height), slice(column, column + width)
            around = tuple(slice(s.start - half, s.stop + half) for s in tile)
            context_around = tuple(slice(s.start // 2 - half, s.stop // 2 + half) for s in tile)
            residual = refinement.detail(context[(..., *context_around)], coarse[(..., *around)])
            torch.testing.assert_close(residual, whole[(..., *tile)], rtol=1e-4, atol=1e-4)


def test_coarse_logits_are_those_of_the_whole_network(network, images):
    with torch.inference_mode():
        maps = network(images)
        torch.testing.assert_close(network.coarse(*network.encode(images)), maps["coarse"])
