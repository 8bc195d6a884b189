"""What the compared networks share."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from ..blocks import SegmentationNetwork, conv_bn_relu, resize_like

LEVELS = 5


class Peer(SegmentationNetwork):
    """``forward`` gives logits by name, ``final`` names the prediction.

    Parameters
    ----------
    n_classes
        Lesion classes, a map with a sigmoid of its own for each.

    Raises
    ------
    ValueError
        There is no class.
    """

    final = "m1"

    def __init__(self, n_classes: int = 1) -> None:
        super().__init__()
        if n_classes < 1:
            raise ValueError(f"n_classes must be at least 1, not {n_classes}")
        self.n_classes = n_classes

    def predict_logits(self, x: Tensor) -> Tensor:
        """Logits (B, n_classes, H, W) of the final map, upsampled where it is smaller."""
        return resize_like(self(x)[self.final], x)


def level_channels(width: int) -> list[int]:
    """Channels of the five levels of a U-Net: ``width``, doubled from level to level."""
    return [width * 2**i for i in range(LEVELS)]


def double_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    """Two 3x3 convolutions that keep the size, each with batch normalisation and ReLU."""
    return nn.Sequential(
        conv_bn_relu(in_channels, out_channels, 3), conv_bn_relu(out_channels, out_channels, 3)
    )


class ContractingPath(nn.Module):
    """The encoder of a U-Net: double convolutions with 2x2 max-pooling between them."""

    def __init__(self, channels: Sequence[int], in_channels: int = 3) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            double_conv(before, after)
            for before, after in zip((in_channels, *channels[:-1]), channels, strict=True)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """One feature per level, finest first."""
        features: list[Tensor] = []
        for block in self.blocks:
            x = block(F.max_pool2d(x, 2) if features else x)
            features.append(x)
        return features
