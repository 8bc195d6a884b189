"""Attention U-Net (Oktay et al. 2018, arXiv:1804.03999)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..blocks import check_input, conv_bn_relu, initialise, resize_like
from .peer import ContractingPath, Peer, double_conv, level_channels


class AdditiveGate(nn.Module):
    """Weighs a skip by sigmoid(psi(ReLU(W_x x + W_g g))), one weight per pixel.

    The gating signal is the decoder's feature at the same size. Batch normalisation after each
    1x1 convolution, as in the 2-D implementations that the tables' parameter counts (8.73 M) fit.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.skip = nn.Sequential(nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner))
        self.gate = nn.Sequential(nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner))
        self.psi = nn.Sequential(nn.Conv2d(inner, 1, 1, bias=False), nn.BatchNorm2d(1))

    def forward(self, skip: Tensor, gate: Tensor) -> Tensor:
        return skip * torch.sigmoid(self.psi(F.relu(self.skip(skip) + self.gate(gate))))


class AttentionUNet(Peer):
    """U-Net whose four skips pass additive attention gates.

    Parameters
    ----------
    width
        Channels of the finest level; each level below doubles them.
    n_classes
        Lesion classes, one in the tables.
    """

    def __init__(self, width: int = 32, *, n_classes: int = 1) -> None:
        super().__init__(n_classes)
        channels = level_channels(width)
        self.encoder = ContractingPath(channels)
        self.up = nn.ModuleList(
            conv_bn_relu(high, low, 3)
            for low, high in zip(channels[-2::-1], channels[:0:-1], strict=True)
        )
        self.gates = nn.ModuleList(AdditiveGate(c) for c in channels[-2::-1])
        self.merge = nn.ModuleList(double_conv(2 * c, c) for c in channels[-2::-1])
        self.head = nn.Conv2d(width, n_classes, 1)
        initialise(self)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits {"m1": (B, n_classes, H, W)} for a normalised image (B, 3, H, W)."""
        check_input(x, 16)
        *skips, y = self.encoder(x)
        for up, gate, merge, skip in zip(
            self.up, self.gates, self.merge, reversed(skips), strict=True
        ):
            y = up(resize_like(y, skip))
            y = merge(torch.cat([gate(skip, y), y], dim=1))
        return {"m1": self.head(y)}
