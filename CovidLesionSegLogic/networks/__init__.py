"""The networks, one file each, blocks above and networks below; torch only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .blocks import SegmentationNetwork, parameter_count
from .coarse_refine import CoarseRefineNet
from .lungnet import LungNet
from .refnet import RefNet
from .registry import build_named

NETWORKS: dict[str, type[SegmentationNetwork]] = {
    "refnet": RefNet,
    "coarse-refine": CoarseRefineNet,
    "lungnet": LungNet,
}

__all__ = ["NETWORKS", "SegmentationNetwork", "build_network", "parameter_count"]


def build_network(architecture: Mapping[str, Any]) -> SegmentationNetwork:
    """The network a model card describes: ``{"network": NAME, ...keyword options}``.

    Raises ValueError, naming the known ones, when the name is not known. The networks that the
    papers compare with are in ``networks.peers`` and are not built here: a model card never names
    one.
    """
    return build_named(NETWORKS, architecture)
