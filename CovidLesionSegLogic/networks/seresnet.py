"""SE-ResNet-34 encoder (He et al. 2016; Hu, Shen and Sun 2018), public names (timm ``seresnet34``).

The coarse-refine paper takes "an input layer and four stages comprised of basic se-res-blocks ...
from SE-ResNet-34" (sections 2.5 and 2.8).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import ResidualEncoder, initialise

REDUCTION, DIVISOR = 16, 8


def squeezed(channels: int) -> int:
    """Channels between the two layers of squeeze-and-excitation: a sixteenth, a multiple of 8."""
    return max(DIVISOR, (channels // REDUCTION + DIVISOR // 2) // DIVISOR * DIVISOR)


class SqueezeExcitation(nn.Module):
    """Each channel times a weight from 0 to 1 that depends on the means of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed(channels), 1)
        self.fc2 = nn.Conv2d(squeezed(channels), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.relu(self.fc1(x.mean((2, 3), keepdim=True)))
        return x * torch.sigmoid(self.fc2(weight))


class SEBasicBlock(nn.Module):
    """Two 3x3 convolutions, squeeze-and-excitation, residual."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.se = SqueezeExcitation(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(channels),
            )
            if stride != 1 or in_channels != channels
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.se(self.bn2(self.conv2(y))) + shortcut)


class SEResNet34(ResidualEncoder):
    """Features at strides 2, 4, 8, 16, 32 with 64, 64, 128, 256, 512 channels."""

    channels = (64, 64, 128, 256, 512)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = self._stage(64, 64, 3, 1)
        self.layer2 = self._stage(64, 128, 4, 2)
        self.layer3 = self._stage(128, 256, 6, 2)
        self.layer4 = self._stage(256, 512, 3, 2)
        initialise(self)

    @staticmethod
    def _stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
        first = SEBasicBlock(in_channels, channels, stride)
        return nn.Sequential(
            first, *(SEBasicBlock(channels, channels, 1) for _ in range(blocks - 1))
        )
