"""Losses of Ref-Net (paper sections 2.2 and 2.5, equations 2 and 9 to 11)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from CovidLesionSegLogic.networks.blocks import resize_like

BORDER_WINDOW = 31
BORDER_GAIN = 5.0


def border_weight(mask: Tensor) -> Tensor:
    """w = 1 + 5 |avgpool31(G) - G|: pixels near a border count more.

    The padding is not counted in the average, so that the image's frame is no border. Rows and
    columns are averaged one after the other: the same value for a fifteenth of the work.
    """
    half = BORDER_WINDOW // 2
    rows = F.avg_pool2d(
        mask, (BORDER_WINDOW, 1), stride=1, padding=(half, 0), count_include_pad=False
    )
    mean = F.avg_pool2d(
        rows, (1, BORDER_WINDOW), stride=1, padding=(0, half), count_include_pad=False
    )
    return 1 + BORDER_GAIN * (mean - mask).abs()


def structure_loss(
    logits: Tensor, mask: Tensor, *, weight: Tensor | None = None, weighted_bce: bool = True
) -> Tensor:
    """Weighted IoU plus weighted BCE (equation 9 with mu = 1), mean over the batch.

    Parameters
    ----------
    logits, mask
        (B, 1, H, W); the mask is 0 or 1.
    weight
        ``border_weight(mask)``, where it is known already.
    weighted_bce
        The public relatives of the paper average the BCE without weights by accident; False
        does as they do.
    """
    if weight is None:
        weight = border_weight(mask)
    bce = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    dims = (1, 2, 3)
    bce = (weight * bce).sum(dims) / weight.sum(dims) if weighted_bce else bce.mean(dims)
    p = torch.sigmoid(logits)
    intersection = (weight * p * mask).sum(dims)
    union = (weight * (p + mask)).sum(dims) - intersection
    iou = 1 - (intersection + 1) / (union + 1)
    return (bce + iou).mean()


def lesion_edge(mask: Tensor) -> Tensor:
    """Edge of a binary mask (B, 1, H, W): where its central-difference gradient is not zero."""
    padded = F.pad(mask, (1, 1, 1, 1), mode="replicate")
    dx = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    dy = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return ((dx != 0) | (dy != 0)).to(mask.dtype)


def refnet_loss(maps: Mapping[str, Tensor], mask: Tensor, *, weighted_bce: bool = True) -> Tensor:
    """Total loss (equation 11): structure loss of m2 to m5 plus the edge's mean BCE.

    Equation 2 prints a sum over pixels, which would outweigh everything else; the mean is used.

    Parameters
    ----------
    maps
        What ``RefNet.forward`` returns: logits at their own levels.
    mask
        (B, 1, H, W), 0 or 1, at the input's size.
    """
    total = mask.new_zeros(())
    weight = border_weight(mask)
    for name, logits in maps.items():
        full = resize_like(logits.float(), mask)
        if name == "edge":
            total = total + F.binary_cross_entropy_with_logits(full, lesion_edge(mask))
        else:
            total = total + structure_loss(full, mask, weight=weight, weighted_bce=weighted_bce)
    return total


def lung_loss(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """BCE plus soft Dice for (right, left) lung, with slices whose sides are not known.

    Parameters
    ----------
    logits
        (B, 2, H, W).
    target
        (B, 2, H, W): right and left lung; where the sides are not known both channels hold the
        union of the lungs.
    known
        (B,), bool: the sides are known. Otherwise only the union (the larger logit) is judged.
    """
    union_logits = logits.amax(1, keepdim=True).expand_as(logits)
    judged = torch.where(known[:, None, None, None], logits, union_logits)
    bce = F.binary_cross_entropy_with_logits(judged, target)
    p = torch.sigmoid(judged)
    overlap = (p * target).sum((2, 3))
    dice = (2 * overlap + 1) / (p.sum((2, 3)) + target.sum((2, 3)) + 1)
    return bce + (1 - dice).mean()
