"""Segmentation refinement module of the coarse-refine network (paper section 2.6, Figure 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .aspp import ASPP, FILTERS
from .blocks import conv_bn_relu, resize_like, resize_to

STAGES = 4
HALO = 6
"""By so many pixels more than the tile have the windows of :meth:`Refinement.detail`."""


class Refinement(nn.Module):
    """A small U-Net on the coarse logits that predicts what has to be added to them.

    Four encoder stages of one 3x3 convolution, each followed by 2x2 max-pooling, a bridge, four
    decoder stages of one 3x3 convolution on the upsampled feature and its encoder feature.

    Parameters
    ----------
    n_classes
        Channels in and out.
    aspp
        Whether the bridge is an ASPP module; otherwise there is none.
    """

    def __init__(self, n_classes: int, *, aspp: bool = True) -> None:
        super().__init__()
        widths = (n_classes, *(FILTERS,) * STAGES)
        self.encoder = nn.ModuleList(conv_bn_relu(before, FILTERS, 3) for before in widths[:STAGES])
        self.bridge = ASPP(FILTERS) if aspp else nn.Identity()
        self.decoder = nn.ModuleList(conv_bn_relu(2 * FILTERS, FILTERS, 3) for _ in range(STAGES))
        self.head = nn.Conv2d(FILTERS, n_classes, 3, padding=1)
        # Starts as no change at all: the coarse module is learnt first, then corrected.
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, coarse: Tensor) -> Tensor:
        """Residual logits for coarse logits (B, n_classes, H, W), H and W multiples of 16."""
        first: Tensor = self.encoder[0](coarse)
        x = self.decoder[-2](self._context(first))
        x = self.decoder[-1](torch.cat([resize_like(x, first), first], dim=1))
        residual: Tensor = self.head(x)
        return residual

    def context(self, coarse: Tensor) -> Tensor:
        """What the last two decoder stages start from: (B, 2 * FILTERS, H/2, W/2).

        Two thirds of the arithmetic come after it, and these are local: :meth:`detail` does them
        where they matter.
        """
        return self._context(self.encoder[0](coarse))

    def detail(self, context: Tensor, coarse: Tensor) -> Tensor:
        """Residual logits of tiles, the same as ``forward`` gives there.

        Parameters
        ----------
        context
            (N, 2 * FILTERS, h/2 + HALO, w/2 + HALO), windows of :meth:`context` around tiles of
            h x w pixels that start on even rows and columns.
        coarse
            (N, n_classes, h + HALO, w + HALO), windows of the coarse logits around them. Neither
            window may reach beyond its map.

        Returns
        -------
        Tensor
            (N, n_classes, h, w).
        """
        first = _without_padding(self.encoder[0], coarse)
        x = _without_padding(self.decoder[-2], context)
        x = resize_to(x, (2 * x.shape[-2], 2 * x.shape[-1]))
        # The rows at the rim were interpolated from beyond the window.
        x = torch.cat([x[..., 2:-2, 2:-2], first], dim=1)
        x = _without_padding(self.decoder[-1], x)
        return F.conv2d(x, self.head.weight, self.head.bias)

    def _context(self, first: Tensor) -> Tensor:
        skips = [first]
        for stage in list(self.encoder)[1:]:
            skips.append(stage(F.max_pool2d(skips[-1], 2)))
        x = self.bridge(F.max_pool2d(skips[-1], 2))
        for stage, skip in zip(list(self.decoder)[:-2], reversed(skips[2:]), strict=True):
            x = stage(torch.cat([resize_like(x, skip), skip], dim=1))
        return torch.cat([resize_like(x, skips[1]), skips[1]], dim=1)


def _without_padding(stage: nn.Module, x: Tensor) -> Tensor:
    """A stage of convolution, normalisation and ReLU on (N, C, h, w): (N, C', h - 2, w - 2)."""
    conv, norm, relu = stage.children()
    assert isinstance(conv, nn.Conv2d)
    result: Tensor = relu(norm(F.conv2d(x, conv.weight, conv.bias)))
    return result
