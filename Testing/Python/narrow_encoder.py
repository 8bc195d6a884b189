"""A narrow encoder: trainings around it step in milliseconds."""

from __future__ import annotations

import sys

import pytest
import torch

from CovidLesionSegLogic import networks
from CovidLesionSegLogic.networks.blocks import ResidualEncoder, conv_bn_relu
from CovidLesionSegLogic.networks.encoders import ENCODERS


class NarrowEncoder(ResidualEncoder):
    """Five levels of few channels: a network around it steps in milliseconds."""

    channels = (4, 4, 4, 4, 4)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(4)
        self.relu = torch.nn.ReLU()
        self.maxpool = torch.nn.MaxPool2d(2)
        self.layer1 = conv_bn_relu(4, 4, 3)
        self.layer2, self.layer3, self.layer4 = (
            torch.nn.Sequential(torch.nn.MaxPool2d(2), conv_bn_relu(4, 4, 3)) for _ in range(3)
        )


def narrow_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offer the narrow encoder, and make the levels and the decoder behind it narrow too."""
    monkeypatch.setitem(ENCODERS, "narrow", NarrowEncoder)
    module = sys.modules[networks.NETWORKS["refnet"].__module__]
    monkeypatch.setattr(module, "REDUCED", dict.fromkeys(module.REDUCED, 8))
    module = sys.modules[networks.NETWORKS["coarse-refine"].__module__]
    monkeypatch.setattr(module, "DECODER_WIDTHS", (8, 8, 8, 8))
