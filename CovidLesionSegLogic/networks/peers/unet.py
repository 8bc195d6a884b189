"""U-Net (Ronneberger, Fischer and Brox 2015, doi:10.1007/978-3-319-24574-4_28)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..blocks import check_input, initialise, resize_like
from .peer import ContractingPath, Peer, double_conv, level_channels


class UNet(Peer):
    """Five levels, skips by concatenation.

    As compared with in Inf-Net's and Ref-Net's tables (7.85 M parameters): half the original's
    width, batch normalisation, convolutions that keep the size, bilinear upsampling.

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
            double_conv(low + high, low)
            for low, high in zip(channels[-2::-1], channels[:0:-1], strict=True)
        )
        self.head = nn.Conv2d(width, n_classes, 1)
        initialise(self)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits {"m1": (B, n_classes, H, W)} for a normalised image (B, 3, H, W)."""
        check_input(x, 16)
        *skips, y = self.encoder(x)
        for block, skip in zip(self.up, reversed(skips), strict=True):
            y = block(torch.cat([skip, resize_like(y, skip)], dim=1))
        return {"m1": self.head(y)}
