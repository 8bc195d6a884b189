"""Encoders by name."""

from __future__ import annotations

from typing import Any

from .blocks import Encoder
from .res2net import Res2Net50
from .resnet import ResNet50
from .seresnet import SEResNet34
from .vgg import VGG16

ENCODERS: dict[str, type[Encoder]] = {
    "resnet50": ResNet50,
    "res2net50": Res2Net50,
    "seresnet34": SEResNet34,
    "vgg16": VGG16,
}


def build_encoder(name: str, **options: Any) -> Encoder:
    """The encoder called ``name``; ValueError names the known ones."""
    try:
        encoder = ENCODERS[name]
    except KeyError:
        raise ValueError(f"unknown encoder {name!r}; known: {', '.join(ENCODERS)}") from None
    return encoder(**options)
