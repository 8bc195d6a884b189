"""Gated U-Net (Schlemper et al. 2019, doi:10.1016/j.media.2019.01.012).

The paper describes grid attention: the gating signal keeps a coarser level's spatial grid instead
of one vector for the image. It is our reading of what the tables of Inf-Net and Ref-Net compare
with: the tables state only the size (175 K parameters, 0.7 GMAC at 352 x 352), which fits a 2-D
network of width 4 with 4x4 transposed convolutions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..blocks import check_input, conv_bn_relu, initialise, resize_like
from .peer import ContractingPath, Peer, double_conv, level_channels


class GridGate(nn.Module):
    """Weighs a skip by a signal from the next coarser level, computed on that level's grid.

    sigmoid(psi(ReLU(theta x + phi g))) with a strided 2x2 theta; the weights are upsampled to the
    skip, and a 1x1 convolution with batch normalisation follows.
    """

    def __init__(self, channels: int, gate_channels: int) -> None:
        super().__init__()
        self.theta = nn.Conv2d(channels, channels, 2, stride=2, bias=False)
        self.phi = nn.Conv2d(gate_channels, channels, 1)
        self.psi = nn.Conv2d(channels, 1, 1)
        self.out = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, skip: Tensor, gate: Tensor) -> Tensor:
        grid = self.theta(skip)
        weights = torch.sigmoid(self.psi(F.relu(grid + resize_like(self.phi(gate), grid))))
        return self.out(resize_like(weights, skip) * skip)


class GatedUNet(Peer):
    """Small U-Net with grid attention on every skip but the finest, which is too shallow to gate.

    Parameters
    ----------
    width
        Channels of the finest level; each level below doubles them.
    n_classes
        Lesion classes, one in the tables.
    """

    def __init__(self, width: int = 4, *, n_classes: int = 1) -> None:
        super().__init__(n_classes)
        channels = level_channels(width)
        lows, highs = channels[-2::-1], channels[:0:-1]
        self.encoder = ContractingPath(channels)
        self.signal = conv_bn_relu(channels[-1], channels[-1], 1)
        self.gates = nn.ModuleList(
            GridGate(low, high) for low, high in zip(lows[:-1], highs[:-1], strict=True)
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(high, low, 4, stride=2, padding=1)
            for low, high in zip(lows, highs, strict=True)
        )
        self.merge = nn.ModuleList(double_conv(2 * low, low) for low in lows)
        self.head = nn.Conv2d(width, n_classes, 1)
        initialise(self)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits {"m1": (B, n_classes, H, W)} for a normalised image (B, 3, H, W)."""
        check_input(x, 16)
        finest, *skips, y = self.encoder(x)
        signal = self.signal(y)
        for i, (up, merge) in enumerate(zip(self.up, self.merge, strict=True)):
            skip = self.gates[i](skips[-1 - i], signal) if i < len(self.gates) else finest
            y = signal = merge(torch.cat([skip, up(y)], dim=1))
        return {"m1": self.head(y)}
