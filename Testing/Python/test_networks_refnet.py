"""Ref-Net: its maps, its switches (Tables 3 and 4), its encoders (Table 2)."""

from __future__ import annotations

import pytest
import torch

from CovidLesionSegLogic.networks import build_network

TABLE_4 = [
    {"edge": edge, "attention": attention, "context": context}
    for edge in (False, True)
    for attention in (None, "f5")
    for context in (False, True)
]


def build(**options):
    return build_network({"network": "refnet", **options}).eval()


# Without memory behind the weights networks are built and run in no time; shapes are the same.
def on_meta(**options):
    with torch.device("meta"):
        return build(**options)


def empty(height: int, width: int) -> torch.Tensor:
    return torch.empty(2, 3, height, width, device="meta")


@pytest.mark.parametrize(
    ("encoder", "attention"),
    [
        ("res2net50", "f5"),
        *(("resnet50", level) for level in ("f2", "f3", "f4", "f5")),
        *(("vgg16", level) for level in ("f2", "f5")),
    ],
)
def test_maps_lie_at_the_encoders_levels(encoder, attention):
    network = on_meta(encoder=encoder, attention=attention)
    x = empty(96, 64)
    sizes = {name: tuple(m.shape) for name, m in network(x).items()}
    strides = dict(zip(("m2", "m3", "m4", "m5"), network.encoder.strides[1:], strict=True))
    expected = {name: (2, 1, 96 // s, 64 // s) for name, s in strides.items()}
    assert sizes == expected | {"edge": expected["m2"]}
    assert network.predict_logits(x).shape == (2, 1, 96, 64)


@pytest.mark.parametrize("row", TABLE_4, ids=lambda row: "-".join(str(v) for v in row.values()))
def test_rows_of_table_4(row):
    network = on_meta(encoder="resnet50", **row)
    x = empty(64, 64)
    maps = network(x)
    assert set(maps) == (
        {"m5"}
        | ({"m4", "m3", "m2"} if row["context"] else set())
        | ({"edge"} if row["edge"] else set())
    )
    assert network.predict_logits(x).shape == (2, 1, 64, 64)
    names = {name.split(".")[0] for name, _ in network.named_parameters()}
    assert ("attention" in names) == (row["attention"] is not None)
    assert ("edge" in names) == row["edge"]
    assert ("context" in names) == row["context"]


@pytest.mark.parametrize("level", ["f2", "f3", "f4"])
def test_moved_attention_feeds_its_own_levels_exploration(level):
    """Section 3.3: f5 and its own map enter the first exploration; the moved module's output is
    the low-level input of the exploration at its level; all else stays."""
    network = on_meta(encoder="resnet50", attention=level)
    entered: dict[str, tuple[torch.Tensor, ...]] = {}
    left: dict[str, torch.Tensor] = {}
    for name, module in network.context.items():
        module.register_forward_hook(lambda _m, args, _o, name=name: entered.update({name: args}))
    for name, module in network.reduce.items():
        module.register_forward_hook(lambda _m, _a, out, name=name: left.update({name: out}))
    network.attention.register_forward_hook(
        lambda _m, args, out: left.update(given=args[0], attended=out[0])
    )
    network.map5.register_forward_hook(lambda _m, args, out: left.update(map5_of=args[0], map5=out))
    maps = network(empty(64, 64))
    assert left["given"] is left[level]
    for name, (current, _, _) in entered.items():
        assert current is (left["attended"] if name == level else left[name])
    _, high, high_map = entered["f4"]
    assert high is left["map5_of"] is left["f5"]
    assert high_map is maps["m5"] is left["map5"]


def test_attention_at_f5_makes_the_first_map():
    network = on_meta(encoder="resnet50")
    made: list[torch.Tensor] = []
    network.attention.register_forward_hook(lambda _m, _a, out: made.extend(out))
    first: list[torch.Tensor] = []
    network.context["f4"].register_forward_hook(lambda _m, args, _o: first.extend(args))
    maps = network(empty(64, 64))
    assert maps["m5"] is made[1]
    assert first[1] is made[0]
    assert first[2] is made[1]


@pytest.mark.parametrize("level", ["f2", "f3", "f4"])
def test_attention_without_effect_is_refused(level):
    with pytest.raises(ValueError, match="no effect"):
        on_meta(attention=level, context=False)


def test_unknown_level_names_the_known_ones():
    with pytest.raises(ValueError, match="f2, f3, f4, f5"):
        on_meta(attention="f6")


@pytest.mark.parametrize(("encoder", "multiple"), [("resnet50", 32), ("vgg16", 16)])
def test_input_must_be_a_multiple_of_the_coarsest_stride(encoder, multiple):
    network = on_meta(encoder=encoder)
    assert network.predict_logits(empty(3 * multiple, multiple)).shape[-2:] == (
        3 * multiple,
        multiple,
    )
    with pytest.raises(ValueError, match=f"multiples of {multiple}"):
        network(empty(multiple + multiple // 2, multiple))
    with pytest.raises(ValueError, match="B, C, H, W"):
        network(torch.empty(3, 64, 64, device="meta"))


def test_prediction_is_the_finest_map_upsampled_whatever_else_is_in_the_batch():
    network = build(encoder="resnet50")
    x = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        maps, logits = network(x[1:]), network.predict_logits(x)
    expected = torch.nn.functional.interpolate(maps["m2"], size=(32, 32), mode="bilinear")
    torch.testing.assert_close(logits[1:], expected, rtol=1e-3, atol=1e-4)
