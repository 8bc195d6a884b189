"""Res2Net-50 encoder in its "v1b" form, with the public state-dict names (timm ``res2net50d``).

Gao et al. 2019; Ref-Net paper, section 2.1 and equation 1. Equation 1 hands the first split
through untouched, public code the last: the same up to a permutation of channels. The public order
is kept so that public weights load.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import ResidualEncoder, initialise

EXPANSION = 4


class Res2NetBlock(nn.Module):
    """Bottleneck whose 3x3 convolution is a chain over channel splits (Figure 3b)."""

    def __init__(
        self,
        in_channels: int,
        planes: int,
        stride: int,
        *,
        project: bool,
        base_width: int,
        scale: int,
    ) -> None:
        super().__init__()
        width = planes * base_width // 64
        out_channels = planes * EXPANSION
        # A stage's first block strides and projects; its splits are then not chained.
        self.is_first = project
        self.conv1 = nn.Conv2d(in_channels, width * scale, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width * scale)
        self.convs = nn.ModuleList(
            nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
            for _ in range(scale - 1)
        )
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(scale - 1))
        self.pool = nn.AvgPool2d(3, stride=stride, padding=1) if project else nn.Identity()
        self.conv3 = nn.Conv2d(width * scale, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            nn.Sequential(
                nn.AvgPool2d(stride, stride=stride, ceil_mode=True, count_include_pad=False)
                if stride > 1
                else nn.Identity(),
                nn.Conv2d(in_channels, out_channels, 1, bias=False),
                nn.BatchNorm2d(out_channels),
            )
            if project
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        splits = torch.chunk(y, len(self.convs) + 1, dim=1)
        outputs: list[Tensor] = []
        for i, (conv, bn) in enumerate(zip(self.convs, self.bns, strict=True)):
            chained = splits[i] if i == 0 or self.is_first else outputs[-1] + splits[i]
            outputs.append(self.relu(bn(conv(chained))))
        outputs.append(self.pool(splits[-1]))
        y = self.bn3(self.conv3(torch.cat(outputs, dim=1)))
        return self.relu(y + shortcut)


class Res2Net50(ResidualEncoder):
    """Features at strides 2, 4, 8, 16, 32 with 64, 256, 512, 1024, 2048 channels.

    Deep stem of three 3x3 convolutions, average-pool shortcuts, width planes * 26 / 64, scale 4.
    """

    def __init__(self, *, base_width: int = 26, scale: int = 4) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 64, 3, padding=1, bias=False),
        )
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        stages = []
        in_channels = 64
        for planes, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            layers = []
            for i in range(blocks):
                layers.append(
                    Res2NetBlock(
                        in_channels,
                        planes,
                        stride if i == 0 else 1,
                        project=i == 0,
                        base_width=base_width,
                        scale=scale,
                    )
                )
                in_channels = planes * EXPANSION
            stages.append(nn.Sequential(*layers))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        initialise(self)
