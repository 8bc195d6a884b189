"""Inf-Net (Fan et al. 2020, doi:10.1109/TMI.2020.2996645)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..blocks import check_input, resize_like
from ..encoders import build_encoder
from .partial_decoder import PartialDecoder, ReceptiveField, conv_bn
from .peer import Peer

REDUCED = 32
EDGE = 64


class EdgeAttention(nn.Module):
    """An edge map from f2, and the feature behind it that guides the reverse attention."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = conv_bn(channels, EDGE, 1)
        self.conv1 = conv_bn(EDGE, EDGE, 3)
        self.conv2 = conv_bn(EDGE, EDGE, 3)
        self.map = conv_bn(EDGE, 1, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        guidance = F.relu(self.conv2(F.relu(self.conv1(self.reduce(x)))))
        return guidance, self.map(guidance)


class ReverseAttention(nn.Module):
    """Looks where the coarser map sees no lesion and corrects that map by what it finds.

    Parameters
    ----------
    channels, width
        Channels of the encoder's feature and of the module's own convolutions.
    kernel, depth
        Size and number of the convolutions between reduction and map.
    map_kernel
        Size of the map's convolution.
    guidance
        Channels of the edge feature that is concatenated; 0 without edge attention.
    """

    def __init__(
        self, channels: int, width: int, *, kernel: int, depth: int, map_kernel: int, guidance: int
    ) -> None:
        super().__init__()
        self.reduce = conv_bn(channels, width, 1)
        self.convs = nn.ModuleList(
            conv_bn(width + (guidance if i == 0 else 0), width, kernel) for i in range(depth)
        )
        self.map = conv_bn(width, 1, map_kernel)

    def forward(self, feature: Tensor, coarse: Tensor, guidance: Tensor | None) -> Tensor:
        """Logits (B, 1, H, W) at the feature's size; ``coarse`` are logits of any size."""
        coarse = resize_like(coarse, feature)
        y = self.reduce(feature * (1 - torch.sigmoid(coarse)))
        if guidance is not None:
            y = torch.cat([y, resize_like(guidance, y)], dim=1)
        for conv in self.convs:
            y = F.relu(conv(y))
        return self.map(y) + coarse


class InfNet(Peer):
    """Parallel partial decoder, edge attention, and three cascaded reverse attentions.

    One lesion class only: each reverse attention looks away from one map.

    Parameters
    ----------
    encoder, encoder_options
        Name of the encoder, "res2net50" in the paper, and its keyword options.
    edge
        Edge attention on f2, whose feature guides each reverse attention.
    """

    final = "m3"

    def __init__(
        self,
        encoder: str = "res2net50",
        *,
        encoder_options: dict[str, Any] | None = None,
        edge: bool = True,
    ) -> None:
        super().__init__()
        self.encoder = build_encoder(encoder, **(encoder_options or {}))
        _, f2, f3, f4, f5 = self.encoder.channels
        guidance = EDGE if edge else 0
        self.reduce = nn.ModuleList(ReceptiveField(c, REDUCED) for c in (f3, f4, f5))
        self.decoder = PartialDecoder(REDUCED)
        self.edge = EdgeAttention(f2) if edge else None
        self.reverse = nn.ModuleDict(
            {
                "m5": ReverseAttention(f5, 256, kernel=5, depth=3, map_kernel=1, guidance=guidance),
                "m4": ReverseAttention(f4, 64, kernel=3, depth=2, map_kernel=3, guidance=guidance),
                "m3": ReverseAttention(f3, 64, kernel=3, depth=2, map_kernel=3, guidance=guidance),
            }
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits of every supervised map, each at its own level's size.

        Keys: "global" (the partial decoder's), "m5", "m4", "m3", and "edge" with edge attention.
        """
        check_input(x, self.encoder.strides[-1])
        _, f2, f3, f4, f5 = self.encoder(x)
        high = self.decoder(*(m(f) for m, f in zip(self.reduce, (f3, f4, f5), strict=True)))
        maps = {"global": high}
        guidance = None
        if self.edge is not None:
            guidance, maps["edge"] = self.edge(f2)
        for (name, module), feature in zip(self.reverse.items(), (f5, f4, f3), strict=True):
            high = maps[name] = module(feature, high, guidance)
        return maps
