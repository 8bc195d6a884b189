"""Hybrid loss of the coarse-refine network (paper section 2.7, equation 1; after BASNet).

Per output and class: binary cross-entropy (pixels), 1 - SSIM (patches), 1 - IoU (the whole map).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

PARTS = ("bce", "ssim", "iou")
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
# (0.01 L)^2 and (0.03 L)^2 of Wang et al. 2004 with the range L = 1 of probabilities.
C1, C2 = 0.01**2, 0.03**2


def _gaussian(n: int, like: Tensor) -> Tensor:
    """(n, n) matrix whose product with n values is their Gaussian mean, zeros beyond the ends."""
    t = torch.arange(n, dtype=like.dtype, device=like.device)
    apart = (t[:, None] - t[None]).abs()
    half = SSIM_WINDOW // 2
    window = torch.exp(-(torch.arange(-half, half + 1.0).to(t) ** 2) / (2 * SSIM_SIGMA**2))
    weights = torch.exp(-(apart**2) / (2 * SSIM_SIGMA**2)) / window.sum()
    return torch.where(apart <= half, weights, 0)


def _local_mean(x: Tensor) -> Tensor:
    """Gaussian mean (11 x 11, sigma 1.5, zero padding) of every channel of (B, C, H, W).

    As products with two matrices: convolutions of one channel take ten times as long on CPUs.
    """
    return _gaussian(x.shape[-2], x) @ x @ _gaussian(x.shape[-1], x)


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) of two maps (B, C, H, W) in 0..1, by pixel.

    Zero padding, as in the public relatives of the paper: near the frame the means are smaller.
    """
    mx, my, xx, yy, xy = _local_mean(torch.cat([x, y, x * x, y * y, x * y])).chunk(5)
    vx, vy, cov = xx - mx * mx, yy - my * my, xy - mx * my
    above = (2 * mx * my + C1) * (2 * cov + C2)
    return above / ((mx * mx + my * my + C1) * (vx + vy + C2))


def iou_loss(p: Tensor, mask: Tensor) -> Tensor:
    """1 - soft IoU of (B, C, H, W) by image and class, (B, C).

    One is added above and below: an image without lesion would divide nothing by nothing.
    """
    both = (p * mask).sum((2, 3))
    either = (p + mask).sum((2, 3)) - both
    return 1 - (both + 1) / (either + 1)


def _one_output(logits: Tensor, mask: Tensor, parts: Sequence[str]) -> Tensor:
    """Sum of the parts by image and class, (B, C)."""
    total = mask.new_zeros(mask.shape[:2])
    if "bce" in parts:
        bce = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
        total = total + bce.mean((2, 3))
    p = torch.sigmoid(logits)
    if "ssim" in parts:
        total = total + 1 - ssim(p, mask).mean((2, 3))
    if "iou" in parts:
        total = total + iou_loss(p, mask)
    return total


def hybrid_loss(
    maps: Mapping[str, Tensor],
    masks: Tensor,
    known: Tensor | None = None,
    *,
    parts: Sequence[str] = PARTS,
) -> Tensor:
    """Sum over the outputs of the mean over images and classes.

    Parameters
    ----------
    maps
        Logits (B, C, H, W) by name: the coarse and the final output.
    masks
        (B, C, H, W), 0 or 1.
    known
        (B,), bool: whether it is known which class each lesion is. Of the other images every
        channel of the mask holds the union of the lesions, and only the union of the
        predictions (the largest logit) is judged. None: known of all.
    parts
        Some of "bce", "ssim" and "iou"; "bce" alone is the loss "without hybrid" of Table 7.

    Raises
    ------
    ValueError
        An unknown part, or none.
    """
    if not parts or not set(parts) <= set(PARTS):
        raise ValueError(f"parts must be some of {', '.join(PARTS)}, not {list(parts)}")
    masks = masks.float()
    total = masks.new_zeros(())
    # Small differences of products: float32 also where the network computes in less.
    with torch.autocast(masks.device.type, enabled=False):
        for logits in maps.values():
            judged = logits.float()
            if known is not None and judged.shape[1] > 1:
                union = judged.amax(1, keepdim=True).expand_as(judged)
                judged = torch.where(known[:, None, None, None], judged, union)
            total = total + _one_output(judged, masks, parts).mean()
    return total
