"""The lung network: a small U-Net that tells the right lung, the left lung and the rest apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import SegmentationNetwork, check_input, conv_bn_relu, initialise, resize_like


class LungNet(SegmentationNetwork):
    """U-Net with five levels on one grey channel (Ronneberger et al. 2015).

    Consolidated lung looks like soft tissue, so its borders must come from anatomy: five levels
    give a receptive field of the whole frame at 256 x 256, where the network is run.

    Parameters
    ----------
    width
        Channels of the finest level; each level below doubles them, up to eight times.
    """

    n_classes = 2

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        channels = [width * min(2**i, 8) for i in range(5)]
        self.down = nn.ModuleList()
        previous = 1
        for c in channels:
            self.down.append(nn.Sequential(conv_bn_relu(previous, c, 3), conv_bn_relu(c, c, 3)))
            previous = c
        self.bottom = nn.Sequential(
            conv_bn_relu(previous, previous, 3, dilation=2),
            conv_bn_relu(previous, previous, 3, dilation=4),
        )
        self.up = nn.ModuleList()
        for c in reversed(channels[:-1]):
            self.up.append(nn.Sequential(conv_bn_relu(previous + c, c, 3), conv_bn_relu(c, c, 3)))
            previous = c
        self.head = nn.Conv2d(previous, self.n_classes, 1)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, 2, H, W): right lung, left lung, as independent classes."""
        check_input(x, 16)
        skips: list[Tensor] = []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else nn.functional.max_pool2d(x, 2))
            skips.append(x)
        x = self.bottom(x)
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = block(torch.cat([resize_like(x, skip), skip], dim=1))
        return self.head(x)

    def predict_logits(self, x: Tensor) -> Tensor:
        """Same as ``forward``."""
        return self(x)
