"""Parallel partial decoder of Inf-Net: receptive-field blocks, and what joins three levels.

Receptive-field blocks: Liu, Huang and Wang 2018, doi:10.1007/978-3-030-01252-6_24. Partial decoder:
Wu, Su and Huang 2019, doi:10.1109/CVPR.2019.00403. Both as Fan et al. 2020 use them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..blocks import resize_like


def conv_bn(
    in_channels: int, out_channels: int, kernel: int | tuple[int, int], *, dilation: int = 1
) -> nn.Sequential:
    """Convolution that keeps the size and batch normalisation, without a ReLU."""
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    return nn.Sequential(
        nn.Conv2d(
            in_channels,
            out_channels,
            (height, width),
            padding=(dilation * (height - 1) // 2, dilation * (width - 1) // 2),
            dilation=dilation,
            bias=False,
        ),
        nn.BatchNorm2d(out_channels),
    )


class ReceptiveField(nn.Module):
    """Four branches of growing kernel and dilation beside a 1x1 shortcut."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList([conv_bn(in_channels, channels, 1)])
        for k in (3, 5, 7):
            self.branches.append(
                nn.Sequential(
                    conv_bn(in_channels, channels, 1),
                    conv_bn(channels, channels, (1, k)),
                    conv_bn(channels, channels, (k, 1)),
                    conv_bn(channels, channels, 3, dilation=k),
                )
            )
        self.fuse = conv_bn(4 * channels, channels, 3)
        self.shortcut = conv_bn(in_channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([branch(x) for branch in self.branches], dim=1)
        return F.relu(self.fuse(joined) + self.shortcut(x))


class PartialDecoder(nn.Module):
    """Joins three reduced levels by multiplication and concatenation into one global map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.f5_to_f4 = conv_bn(channels, channels, 3)
        self.f5_to_f3 = conv_bn(channels, channels, 3)
        self.f4_to_f3 = conv_bn(channels, channels, 3)
        self.f5_beside_f4 = conv_bn(channels, channels, 3)
        self.joint_beside_f3 = conv_bn(2 * channels, 2 * channels, 3)
        self.join4 = conv_bn(2 * channels, 2 * channels, 3)
        self.join3 = conv_bn(3 * channels, 3 * channels, 3)
        self.last = conv_bn(3 * channels, 3 * channels, 3)
        self.map = nn.Conv2d(3 * channels, 1, 1)

    def forward(self, f3: Tensor, f4: Tensor, f5: Tensor) -> Tensor:
        """Logits (B, 1, H, W) at the size of ``f3``."""
        f5_at_f4 = resize_like(f5, f4)
        product4 = self.f5_to_f4(f5_at_f4) * f4
        product3 = self.f5_to_f3(resize_like(f5, f3)) * self.f4_to_f3(resize_like(f4, f3)) * f3
        joint = self.join4(torch.cat([product4, self.f5_beside_f4(f5_at_f4)], dim=1))
        joint = torch.cat([product3, self.joint_beside_f3(resize_like(joint, f3))], dim=1)
        return self.map(self.last(self.join3(joint)))
