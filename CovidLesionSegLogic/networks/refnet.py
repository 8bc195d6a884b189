"""Ref-Net (Liu et al., Medical Physics 2022, doi:10.1002/mp.15882)."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from .attention import AttentionPosition
from .blocks import SegmentationNetwork, check_input, conv_bn_relu, resize_like
from .context import ContextExploration
from .encoders import build_encoder

Level = Literal["f2", "f3", "f4", "f5"]
LEVELS: tuple[Level, ...] = ("f2", "f3", "f4", "f5")
# Widths of Ref-Net's own modules, the same whatever the encoder ("the same network parameter
# settings", section 3.2): the reduction brings the encoder's channels to these.
REDUCED = {"f2": 64, "f3": 128, "f4": 256, "f5": 512}


class RefNet(SegmentationNetwork):
    """Encoder, edge attention, attention position, three context explorations (Figure 2).

    Parameters
    ----------
    encoder
        Name of the encoder: "res2net50" (the paper's), "resnet50" or "vgg16" (Table 2).
    encoder_options
        Keyword options of the encoder.
    edge
        Edge attention module on f2, supervised by the lesion's border (section 2.2).
    attention
        The level whose reduced feature passes through the attention position module, "f5" in the
        paper, or None to leave the module out (Table 4). At f2, f3 or f4 (Table 3) its output is
        the current feature of that level's context exploration, and f5 goes to the first context
        exploration directly, with a map of its own (section 3.3).
    context
        Context exploration at f4, f3 and f2; without it the map of f5 is the prediction.

    Raises ValueError for attention at a level that has no effect on the prediction.
    """

    n_classes = 1

    def __init__(
        self,
        encoder: str = "res2net50",
        *,
        encoder_options: dict[str, Any] | None = None,
        edge: bool = True,
        attention: Level | None = "f5",
        context: bool = True,
    ) -> None:
        super().__init__()
        if attention is not None and attention not in LEVELS:
            raise ValueError(f"unknown level {attention!r}; known: {', '.join(LEVELS)}")
        if attention not in (None, "f5") and not context:
            raise ValueError(f"attention at {attention} has no effect without context exploration")
        self.encoder = build_encoder(encoder, **(encoder_options or {}))
        channels = dict(zip(LEVELS, self.encoder.channels[1:], strict=True))
        used = LEVELS if context else LEVELS[-1:]
        self.reduce = nn.ModuleDict({lv: conv_bn_relu(channels[lv], REDUCED[lv], 3) for lv in used})
        self.attention_level = attention
        self.attention = (
            AttentionPosition(REDUCED[attention], predict=attention == "f5") if attention else None
        )
        self.map5 = nn.Conv2d(REDUCED["f5"], 1, 7, padding=3) if attention != "f5" else None
        self.context = nn.ModuleDict(
            {
                low: ContextExploration(REDUCED[low], REDUCED[high])
                for low, high in (("f4", "f5"), ("f3", "f4"), ("f2", "f3"))
                if context
            }
        )
        self.edge = nn.Conv2d(channels["f2"], 1, 3, padding=1) if edge else None

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits of every supervised map, each at its own level's size.

        Keys: "m5" always; "m4", "m3", "m2" with context exploration; "edge" with edge attention.
        """
        check_input(x, self.encoder.strides[-1])
        features = dict(zip(LEVELS, self.encoder(x)[1:], strict=True))
        reduced = {lv: reduce(features[lv]) for lv, reduce in self.reduce.items()}
        attended_map = None
        if self.attention is not None and self.attention_level is not None:
            reduced[self.attention_level], attended_map = self.attention(
                reduced[self.attention_level]
            )
        high = reduced["f5"]
        if self.map5 is not None:
            high_map = self.map5(high)
        else:
            assert attended_map is not None
            high_map = attended_map
        maps = {"m5": high_map}
        for level, module in self.context.items():
            high, high_map = module(reduced[level], high, high_map)
            maps[f"m{level[1]}"] = high_map
        if self.edge is not None:
            maps["edge"] = self.edge(features["f2"])
        return maps

    def predict_logits(self, x: Tensor) -> Tensor:
        """Logits (B, 1, H, W) of the finest map, upsampled to the input (section 2.6)."""
        maps = self(x)
        return resize_like(maps["m2"] if self.context else maps["m5"], x)
