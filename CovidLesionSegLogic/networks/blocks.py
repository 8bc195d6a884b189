"""Building blocks that several networks share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


def conv_bn_relu(
    in_channels: int, out_channels: int, kernel: int, *, dilation: int = 1
) -> nn.Sequential:
    """Convolution that keeps the size, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            padding=dilation * (kernel - 1) // 2,
            dilation=dilation,
            bias=False,
        ),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def resize_like(x: Tensor, reference: Tensor) -> Tensor:
    """Resize (B, C, h, w) bilinearly to the height and width of ``reference``."""
    return resize_to(x, (reference.shape[-2], reference.shape[-1]))


def resize_to(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (B, C, h, w) bilinearly to ``size`` = (height, width)."""
    if (x.shape[-2], x.shape[-1]) == tuple(size):
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class SegmentationNetwork(nn.Module):
    """What every network of the product offers, whatever it is inside.

    ``predict_logits`` is the only method that the engine calls.
    """

    n_classes: int

    def predict_logits(self, x: Tensor) -> Tensor:
        """Logits (B, n_classes, H, W) for a normalised input (B, 3 or 1, H, W)."""
        raise NotImplementedError


class Encoder(nn.Module):
    """A feature extractor that says its channels and strides.

    ``forward`` returns five features, finest first. ``channels[i]`` and ``strides[i]`` describe
    feature i; networks take their own sizes from these, never from constants.

    A state dict in the public layout loads strictly: what starts with ``classifier`` is the public
    model's image classifier, which is not built here, and is passed over.
    """

    channels: tuple[int, int, int, int, int]
    strides: tuple[int, int, int, int, int]
    classifier = "fc."

    def forward(self, x: Tensor) -> list[Tensor]:
        raise NotImplementedError

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """As in torch, without the entries of the public model's classifier."""
        kept = {k: v for k, v in state_dict.items() if not k.startswith(self.classifier)}
        return super().load_state_dict(kept, strict=strict, assign=assign)


class ResidualEncoder(Encoder):
    """What encoders of the ResNet family share: stem, pooling and four stages, by public names."""

    channels = (64, 256, 512, 1024, 2048)
    strides = (2, 4, 8, 16, 32)
    conv1: nn.Module
    bn1: nn.Module
    relu: nn.Module
    maxpool: nn.Module
    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module

    def forward(self, x: Tensor) -> list[Tensor]:
        """Five features of a normalised image (B, 3, H, W), finest first."""
        features = [self.relu(self.bn1(self.conv1(x)))]
        x = self.maxpool(features[0])
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            features.append(x)
        return features


def parameter_count(module: nn.Module) -> int:
    """Number of trainable values."""
    return sum(p.numel() for p in module.parameters())


def initialise(module: nn.Module) -> None:
    """He initialisation of the convolutions, as usual before ReLU; norms start at identity."""
    for m in module.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
            if m.bias is not None:
                nn.init.zeros_(m.bias)
        elif isinstance(m, nn.BatchNorm2d):
            nn.init.ones_(m.weight)
            nn.init.zeros_(m.bias)


def check_input(x: Tensor, multiple: int) -> None:
    """Raise ValueError when the image is not (B, C, H, W) with sides a multiple of ``multiple``."""
    if x.ndim != 4 or x.shape[-1] % multiple or x.shape[-2] % multiple:
        raise ValueError(
            f"expected (B, C, H, W) with H and W multiples of {multiple}, not {tuple(x.shape)}"
        )
