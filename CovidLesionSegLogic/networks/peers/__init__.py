"""The networks that the papers compare with, for development and tables only.

All six stand in the Ref-Net paper (Table 1), U-Net and U-Net++ also in the coarse-refine paper
(Table 4), there with three classes: all but Inf-Net take ``n_classes``.

A model card never names one of these: ``networks.build_network`` does not build them.
Each gives a mapping of logits from ``forward`` and one map at the input's size from
``predict_logits``, as Ref-Net does, so that one loss and one trainer serve all.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..blocks import SegmentationNetwork
from ..registry import build_named
from .attention_unet import AttentionUNet
from .dense_unet import DenseUNet
from .gated_unet import GatedUNet
from .infnet import InfNet
from .unet import UNet
from .unetpp import UNetPlusPlus

PEERS: dict[str, type[SegmentationNetwork]] = {
    "unet": UNet,
    "unet++": UNetPlusPlus,
    "attention-unet": AttentionUNet,
    "gated-unet": GatedUNet,
    "dense-unet": DenseUNet,
    "inf-net": InfNet,
}

__all__ = ["PEERS", "build_peer"]


def build_peer(spec: Mapping[str, object]) -> SegmentationNetwork:
    """The compared network ``{"network": NAME, ...keyword options}``.

    Raises ValueError, naming the known ones, when the name is not known.
    """
    return build_named(PEERS, spec)
