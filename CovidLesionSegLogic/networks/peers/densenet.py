"""DenseNet-161 encoder (Huang et al. 2017) with the public state-dict names (torchvision)."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from ..blocks import Encoder, initialise

GROWTH = 48
BOTTLENECK = 4 * GROWTH
STEM = 96
LAYERS = (6, 12, 36, 24)


class DenseLayer(nn.Module):
    """Norm-ReLU-1x1, norm-ReLU-3x3; its new channels are appended to what it was given."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, BOTTLENECK, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(BOTTLENECK)
        self.conv2 = nn.Conv2d(BOTTLENECK, GROWTH, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        new = self.conv1(self.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(self.relu(self.norm2(new)))], dim=1)


def _dense_block(channels: int, layers: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            (f"denselayer{i + 1}", DenseLayer(channels + i * GROWTH)) for i in range(layers)
        )
    )


def _transition(channels: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(channels),
            relu=nn.ReLU(),  # not in place: the block's output is a skip
            conv=nn.Conv2d(channels, channels // 2, 1, bias=False),
            pool=nn.AvgPool2d(2, stride=2),
        )
    )


class DenseNet161(Encoder):
    """Features at strides 2, 4, 8, 16, 32 with 96, 384, 768, 2112, 2208 channels.

    They are the stem's output, the outputs of dense blocks 1 to 3 before their transitions, and
    the normalised output of the fourth.
    """

    channels = (96, 384, 768, 2112, 2208)
    strides = (2, 4, 8, 16, 32)
    classifier = "classifier."

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleDict()
        self.features["conv0"] = nn.Conv2d(3, STEM, 7, stride=2, padding=3, bias=False)
        self.features["norm0"] = nn.BatchNorm2d(STEM)
        self.features["relu0"] = nn.ReLU(inplace=True)
        self.features["pool0"] = nn.MaxPool2d(3, stride=2, padding=1)
        channels = STEM
        for i, layers in enumerate(LAYERS, start=1):
            self.features[f"denseblock{i}"] = _dense_block(channels, layers)
            channels += layers * GROWTH
            if i < len(LAYERS):
                self.features[f"transition{i}"] = _transition(channels)
                channels //= 2
        self.features["norm5"] = nn.BatchNorm2d(channels)
        self.features["relu5"] = nn.ReLU(inplace=True)
        initialise(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Five features of a normalised image (B, 3, H, W), finest first."""
        skips = ("relu0", "denseblock1", "denseblock2", "denseblock3", "relu5")
        features: list[Tensor] = []
        for name, layer in self.features.items():
            x = layer(x)
            if name in skips:
                features.append(x)
        return features
