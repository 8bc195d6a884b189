"""Batch normalisation folded into the convolution before it: fewer passes over the features."""

from __future__ import annotations

from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """Fold, in place, each batch normalisation that directly follows a convolution.

    Convolution and normalisation are a pair when they are registered one after the other in the
    same module with equal channels, as everywhere in this package. The outputs stay the same up
    to rounding; the network can no longer be trained.

    Raises ValueError for a network in training mode.
    """
    if any(module.training for module in network.modules()):
        raise ValueError("only a network in eval mode can be folded")
    for parent in list(network.modules()):
        for (name, conv), (norm_name, norm) in pairwise(parent.named_children()):
            if (
                isinstance(conv, nn.Conv2d)
                and isinstance(norm, nn.BatchNorm2d)
                and conv.out_channels == norm.num_features
            ):
                folded = fuse_conv_bn_eval(conv, norm)
                setattr(parent, name, folded.requires_grad_(False))
                setattr(parent, norm_name, nn.Identity())
    return network
