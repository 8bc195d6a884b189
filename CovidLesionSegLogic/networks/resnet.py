"""ResNet-50 encoder (He et al. 2016) with the public state-dict names (timm ``resnet50``)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from .blocks import ResidualEncoder, initialise

StrideAt = Literal["1x1", "3x3"]
EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with a residual; the paper's Figure 3a."""

    def __init__(
        self, in_channels: int, planes: int, stride: int, *, stride_at: StrideAt, project: bool
    ) -> None:
        super().__init__()
        out_channels = planes * EXPANSION
        first, second = (stride, 1) if stride_at == "1x1" else (1, stride)
        self.conv1 = nn.Conv2d(in_channels, planes, 1, stride=first, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride=second, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )
            if project
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + shortcut)


class ResNet50(ResidualEncoder):
    """Features at strides 2, 4, 8, 16, 32 with 64, 256, 512, 1024, 2048 channels.

    Parameters
    ----------
    stride_at
        Which convolution of a stage's first block carries the stride: "3x3" as in timm and
        torchvision, "1x1" as in the original (Caffe, Keras) placement. The state dict is the
        same; weights trained with one placement should run with it.
    """

    def __init__(self, *, stride_at: StrideAt = "3x3") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = self._stage(64, 64, 3, 1, stride_at)
        self.layer2 = self._stage(256, 128, 4, 2, stride_at)
        self.layer3 = self._stage(512, 256, 6, 2, stride_at)
        self.layer4 = self._stage(1024, 512, 3, 2, stride_at)
        initialise(self)

    @staticmethod
    def _stage(
        in_channels: int, planes: int, blocks: int, stride: int, stride_at: StrideAt
    ) -> nn.Sequential:
        layers = [Bottleneck(in_channels, planes, stride, stride_at=stride_at, project=True)]
        layers += [
            Bottleneck(planes * EXPANSION, planes, 1, stride_at=stride_at, project=False)
            for _ in range(blocks - 1)
        ]
        return nn.Sequential(*layers)
