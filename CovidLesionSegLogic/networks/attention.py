"""Attention position module of Ref-Net (paper section 2.3, equations 3 to 5, Figure 4)."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """No autocast on the tensor's device, where that device knows autocast at all."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if kind in ("cpu", "cuda") else nullcontext()


class ChannelAttention(nn.Module):
    """F' = gamma * softmax(F F^T) F + F over channels; no convolution (equations 3 and 4).

    Equation 3 prints exp(softmax), whose rows would sum to more than the number of channels: a
    misprint, so the plain softmax is used.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        # Energies are sums over all positions: they need float32 even under reduced precision.
        with full_precision(x):
            flat = x.flatten(2).float()
            weights = torch.softmax(flat @ flat.transpose(1, 2), dim=-1)
            attended = (weights @ flat).view_as(x).to(x.dtype)
        return self.gamma * attended + x


class SpatialAttention(nn.Module):
    """F'' = gamma' * V softmax(Q^T K)^T + F' over positions (equation 5)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 8, 1)
        self.key = nn.Conv2d(channels, channels // 8, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            conv(x).flatten(2).transpose(1, 2)[:, None].float().contiguous()
            for conv in (self.query, self.key, self.value)
        )
        # The fused kernel never holds the N x N matrix, which is large at fine levels (0.24 GB per
        # image at 7744 positions). On a CPU it wants contiguous rows, and queries and keys as wide
        # as the values: zeros do not change their products.
        pad = (0, v.shape[-1] - q.shape[-1])
        with full_precision(x):
            attended = F.scaled_dot_product_attention(F.pad(q, pad), F.pad(k, pad), v, scale=1.0)
        return self.gamma * attended[:, 0].transpose(1, 2).reshape(x.shape).to(x.dtype) + x


class AttentionPosition(nn.Module):
    """Channel attention, spatial attention, and a first map of the lesions.

    ``forward`` takes (B, C, H, W) and returns the feature of the same shape and logits
    (B, 1, H, W), or None with ``predict`` off: at levels other than the coarsest (Table 3) the
    context exploration of that level makes the map.
    """

    def __init__(self, channels: int, n_classes: int = 1, *, predict: bool = True) -> None:
        super().__init__()
        self.channel = ChannelAttention()
        self.spatial = SpatialAttention(channels)
        self.map = nn.Conv2d(channels, n_classes, 7, padding=3) if predict else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        y = self.spatial(self.channel(x))
        return y, None if self.map is None else self.map(y)
