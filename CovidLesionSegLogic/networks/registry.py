"""Networks by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .blocks import SegmentationNetwork


def build_named(
    known: Mapping[str, type[SegmentationNetwork]], spec: Mapping[str, Any]
) -> SegmentationNetwork:
    """The network of ``known`` that ``{"network": NAME, ...keyword options}`` describes.

    Raises ValueError, naming the known ones, when the name is not among them.
    """
    options = dict(spec)
    name = options.pop("network", None)
    if name not in known:
        raise ValueError(f"unknown network {name!r}; known: {', '.join(known)}")
    return known[name](**options)
