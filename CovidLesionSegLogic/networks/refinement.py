"""Segmentation refinement module of the coarse-refine network (paper section 2.6, Figure 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .aspp import ASPP, FILTERS
from .blocks import conv_bn_relu, resize_like

STAGES = 4


class Refinement(nn.Module):
    """A small U-Net on the coarse logits that predicts what has to be added to them.

    Four encoder stages of one 3x3 convolution, each followed by 2x2 max-pooling, a bridge, four
    decoder stages of one 3x3 convolution on the upsampled feature and its encoder feature.

    Parameters
    ----------
    n_classes
        Channels in and out.
    aspp
        Whether the bridge is an ASPP module; otherwise there is none.
    """

    def __init__(self, n_classes: int, *, aspp: bool = True) -> None:
        super().__init__()
        widths = (n_classes, *(FILTERS,) * STAGES)
        self.encoder = nn.ModuleList(conv_bn_relu(before, FILTERS, 3) for before in widths[:STAGES])
        self.bridge = ASPP(FILTERS) if aspp else nn.Identity()
        self.decoder = nn.ModuleList(conv_bn_relu(2 * FILTERS, FILTERS, 3) for _ in range(STAGES))
        self.head = nn.Conv2d(FILTERS, n_classes, 3, padding=1)
        # Starts as no change at all: the coarse module is learnt first, then corrected.
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, coarse: Tensor) -> Tensor:
        """Residual logits for coarse logits (B, n_classes, H, W), H and W multiples of 16."""
        skips: list[Tensor] = []
        x = coarse
        for stage in self.encoder:
            skips.append(stage(x))
            x = F.max_pool2d(skips[-1], 2)
        x = self.bridge(x)
        for stage, skip in zip(self.decoder, reversed(skips), strict=True):
            x = stage(torch.cat([resize_like(x, skip), skip], dim=1))
        residual: Tensor = self.head(x)
        return residual
