"""The coarse-refine network (Huang et al., IET Image Processing 2022, doi:10.1049/ipr2.12278)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .aspp import ASPP, FILTERS
from .blocks import (
    SegmentationNetwork,
    check_input,
    conv_bn_relu,
    initialise,
    resize_like,
    resize_to,
)
from .encoders import build_encoder
from .refinement import Refinement

# Of SE-ResNet-34's four stages, deepest first. Features of a wider encoder are brought to these.
ENCODER_WIDTHS = (512, 256, 128, 64)
# Deepest first; the paper says "symmetrical to the encoder" and gives no numbers.
DECODER_WIDTHS = (256, 128, 64, 64)
CONVOLUTIONS = 3


class CoarseRefineNet(SegmentationNetwork):
    """Encoder, ASPP, decoder; then a residual refinement of the coarse logits (Figure 1).

    Parameters
    ----------
    n_classes
        Lesion classes; each has its own sigmoid, for the paper nowhere says that they exclude each
        other.
    encoder, encoder_options
        Name and keyword options of the encoder; "seresnet34" is the paper's. Of an encoder with
        wider features a 1x1 convolution leads to the paper's widths, so that the rest is the same.
    aspp
        Atrous spatial pyramid pooling between encoder and decoder, and in the refinement (Table 7).
    refinement
        The refinement module (Table 7).
    gate
        A slice classifier on the encoder's last feature (section 2.8): what remains of
        SE-ResNet-34, global average pooling and a linear layer with two outputs, without lesion
        and with. It is trained when all the rest is frozen.
    """

    def __init__(
        self,
        n_classes: int = 1,
        encoder: str = "seresnet34",
        *,
        encoder_options: dict[str, Any] | None = None,
        aspp: bool = True,
        refinement: bool = True,
        gate: bool = False,
    ) -> None:
        super().__init__()
        if n_classes < 1:
            raise ValueError(f"n_classes must be at least 1, not {n_classes}")
        self.n_classes = n_classes
        self.encoder = build_encoder(encoder, **(encoder_options or {}))
        self.strides = self.encoder.strides
        channels = self.encoder.channels[:0:-1]  # deepest first, without the input layer's
        levels = [min(pair) for pair in zip(channels, ENCODER_WIDTHS, strict=True)]
        self.reduce = nn.ModuleList(
            conv_bn_relu(own, width, 1) if own > width else nn.Identity()
            for own, width in zip(channels, levels, strict=True)
        )
        self.aspp = ASPP(levels[0]) if aspp else None
        below = (FILTERS if aspp else 0, *DECODER_WIDTHS[:-1])
        self.decoder = nn.ModuleList(
            nn.Sequential(
                conv_bn_relu(from_below + from_encoder, width, 3),
                *(conv_bn_relu(width, width, 3) for _ in range(CONVOLUTIONS - 1)),
            )
            for from_below, from_encoder, width in zip(below, levels, DECODER_WIDTHS, strict=True)
        )
        self.head = nn.Conv2d(DECODER_WIDTHS[-1], n_classes, 3, padding=1)
        for module in (self.reduce, self.aspp, self.decoder):
            if module is not None:
                initialise(module)
        self.refinement = Refinement(n_classes, aspp=aspp) if refinement else None
        self.gate = nn.Linear(self.encoder.channels[-1], 2) if gate else None

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits (B, n_classes, H, W) of a normalised image (B, 3, H, W).

        Keys: "coarse"; with the refinement module also "final", their sum with the residual.
        """
        return self.decode(self.encode(x), (x.shape[-2], x.shape[-1]))

    def encode(self, x: Tensor) -> list[Tensor]:
        """The encoder's features, finest first; ValueError for sides no multiple of 32."""
        check_input(x, self.strides[-1])
        features: list[Tensor] = self.encoder(x)
        return features

    def decode(self, features: Sequence[Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        """What ``forward`` returns, from the encoder's features of an image of ``size``."""
        maps = {"coarse": resize_to(self._coarse(features), size)}
        if self.refinement is not None:
            maps["final"] = maps["coarse"] + self.refinement(maps["coarse"])
        return maps

    def coarse(self, *features: Tensor) -> Tensor:
        """Coarse logits (B, n_classes, H, W) from the encoder's features, finest first."""
        finest, stride = features[0], self.strides[0]
        size = (stride * finest.shape[-2], stride * finest.shape[-1])
        return resize_to(self._coarse(features), size)

    def _coarse(self, features: Sequence[Tensor]) -> Tensor:
        deepest, *finer = (
            reduce(f) for reduce, f in zip(self.reduce, features[:0:-1], strict=True)
        )
        y = deepest if self.aspp is None else torch.cat([self.aspp(deepest), deepest], dim=1)
        y = self.decoder[0](y)
        for stage, feature in zip(list(self.decoder)[1:], finer, strict=True):
            y = stage(torch.cat([resize_like(y, feature), feature], dim=1))
        logits: Tensor = self.head(y)
        return logits

    def gate_logits(self, features: Sequence[Tensor]) -> Tensor:
        """(B, 2), without and with lesion; ValueError where the network has no gate."""
        if self.gate is None:
            raise ValueError("this network has no gate")
        logits: Tensor = self.gate(features[-1].mean((2, 3)))
        return logits

    def predict_logits(self, x: Tensor) -> Tensor:
        """Logits (B, n_classes, H, W) of the last map."""
        return last_map(self(x))


def last_map(maps: dict[str, Tensor]) -> Tensor:
    """The prediction among the logits that ``forward`` returns."""
    return maps["final"] if "final" in maps else maps["coarse"]
