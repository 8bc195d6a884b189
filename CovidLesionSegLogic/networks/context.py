"""Context exploration module of Ref-Net (paper section 2.4, equations 6 to 8, Figure 5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import conv_bn_relu, resize_like

KERNELS = (1, 3, 5, 7)
DILATIONS = (1, 2, 4, 8)


class ExplorationBlock(nn.Module):
    """Four branches of growing kernel and dilation, each fed the previous one's output."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        reduced = channels // 4
        self.reduce = nn.ModuleList(conv_bn_relu(channels, reduced, 3) for _ in KERNELS)
        self.local = nn.ModuleList(conv_bn_relu(reduced, reduced, k) for k in KERNELS)
        self.context = nn.ModuleList(
            conv_bn_relu(reduced, reduced, 3, dilation=d) for d in DILATIONS
        )
        self.fuse = conv_bn_relu(4 * reduced, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        outputs: list[Tensor] = []
        for reduce, local, context in zip(self.reduce, self.local, self.context, strict=True):
            y = reduce(x)
            if outputs:
                y = y + outputs[-1]
            outputs.append(context(local(y)))
        return self.fuse(torch.cat(outputs, dim=1))


class ContextExploration(nn.Module):
    """Removes false positives and adds false negatives of the level above.

    Parameters
    ----------
    channels, high_channels
        Channels of the current feature and of the feature from the level above.
    """

    def __init__(self, channels: int, high_channels: int, n_classes: int = 1) -> None:
        super().__init__()
        if n_classes != 1:
            raise ValueError("context exploration separates one foreground from the background")
        self.from_high = conv_bn_relu(high_channels, channels, 7)
        self.false_positives = ExplorationBlock(channels)
        self.false_negatives = ExplorationBlock(channels)
        self.alpha = nn.Parameter(torch.ones(1))
        self.beta = nn.Parameter(torch.ones(1))
        self.norm1 = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.norm2 = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.map = nn.Conv2d(channels, n_classes, 7, padding=3)

    def forward(self, current: Tensor, high: Tensor, high_map: Tensor) -> tuple[Tensor, Tensor]:
        """Feature and logits at the current level.

        ``current`` is (B, channels, H, W); ``high`` and the logits ``high_map`` may be of any
        smaller size and are brought to H x W.
        """
        foreground = torch.sigmoid(resize_like(high_map, current))
        f1 = resize_like(self.from_high(high), current)
        f2 = self.norm1(f1 - self.alpha * self.false_positives(current * foreground))
        out = self.norm2(f2 + self.beta * self.false_negatives(current * (1 - foreground)))
        return out, self.map(out)
