"""Atrous spatial pyramid pooling of the coarse-refine network (paper section 2.5, Figure 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import conv_bn_relu

RATES = (3, 6, 9)
FILTERS = 64


class ASPP(nn.Module):
    """A 1x1 convolution, three atrous ones and image pooling side by side, then a 1x1 fusion.

    The branch of image pooling has a bias in place of batch normalisation: it holds one value per
    channel and image, of which a batch of one knows no variance and a small batch a poor one.
    """

    def __init__(self, in_channels: int, filters: int = FILTERS) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [conv_bn_relu(in_channels, filters, 1)]
            + [conv_bn_relu(in_channels, filters, 3, dilation=rate) for rate in RATES]
        )
        self.pooling = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(in_channels, filters, 1), nn.ReLU(inplace=True)
        )
        self.fuse = conv_bn_relu(filters * (len(RATES) + 2), filters, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, filters, H, W)."""
        parts = [branch(x) for branch in self.branches]
        parts.append(self.pooling(x).expand(-1, -1, *x.shape[-2:]))
        return self.fuse(torch.cat(parts, dim=1))
