"""The networks, one file each, blocks above and networks below; torch only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .blocks import SegmentationNetwork, parameter_count
from .lungnet import LungNet
from .refnet import RefNet

NETWORKS: dict[str, type[SegmentationNetwork]] = {"refnet": RefNet, "lungnet": LungNet}

__all__ = ["NETWORKS", "SegmentationNetwork", "build_network", "parameter_count"]


def build_network(architecture: Mapping[str, Any]) -> SegmentationNetwork:
    """The network a model card describes: ``{"network": NAME, ...keyword options}``.

    Raises ValueError when the name is not known.
    """
    options = dict(architecture)
    name = options.pop("network", None)
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}; known: {', '.join(NETWORKS)}")
    return NETWORKS[name](**options)
