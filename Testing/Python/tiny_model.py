"""A real, tiny model for tests: grey above a limit is lesion, exactly known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from CovidLesionSegLogic import networks
from CovidLesionSegLogic.models import ModelCard, registry, save_weights, sha256_of
from CovidLesionSegLogic.networks import SegmentationNetwork
from CovidLesionSegLogic.networks.coarse_refine import CoarseRefineNet

NAME = "tiny"
WINDOW = (-1000.0, 0.0)
LIMIT_HU = -600.0
STEEPNESS = 40.0
LESION_TYPES: list[dict[str, Any]] = [
    {"name": "ground-glass opacity", "label": 1, "color": [220, 50, 50]},
    {"name": "consolidation", "label": 2, "color": [60, 180, 75]},
    {"name": "fibrosis", "label": 3, "color": [60, 110, 220]},
    {"name": "crazy paving", "label": 4, "color": [240, 200, 40]},
]
"""The last one is not in the shipped terminology."""
GATE = {"threshold": 0.5, "segment_above": 0.5, "rule": "any-slice", "run": 1}


class TinyNet(SegmentationNetwork):
    """One 1x1 convolution; class c is positive above ``LIMIT_HU + 200 c`` HU."""

    def __init__(self, n_classes: int = 1) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.conv = torch.nn.Conv2d(1, n_classes, 1)
        low, high = WINDOW
        with torch.no_grad():
            for c in range(n_classes):
                self.conv.weight[c] = STEEPNESS * (c + 1)
                limit = (LIMIT_HU + 200 * c - low) / (high - low)
                self.conv.bias[c] = -STEEPNESS * (c + 1) * limit

    def predict_logits(self, x: torch.Tensor) -> torch.Tensor:
        """Logits at the input's size."""
        return self.conv(x)


class TinyLungNet(SegmentationNetwork):
    """Says "lung" between -950 and -400 HU: right in the left half of the frame, else left."""

    n_classes = 2

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(100.0))

    def predict_logits(self, x: torch.Tensor) -> torch.Tensor:
        """Logits at the input's size."""
        lung = self.scale * (0.275 - (x - 0.325).abs())
        middle = x.shape[-1] // 2
        logits = lung.repeat(1, 2, 1, 1)
        logits[:, 0, :, middle:] = -10
        logits[:, 1, :, :middle] = -10
        return logits


class TinyGatedNet(SegmentationNetwork):
    """One class from ``LIMIT_HU`` on; the gate's logit is ``GATE_SLOPE`` times (mean grey - 0.5).

    ``encoded`` and ``decoded`` are the batch sizes of the calls so far.
    """

    GATE_SLOPE = 20.0
    n_classes = 1
    refinement = None

    def __init__(self, n_classes: int = 1, gate: bool = True) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.conv = TinyNet(n_classes).conv
        self.encoded: list[int] = []
        self.decoded: list[int] = []

    def encode(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The image and its mean."""
        self.encoded.append(len(x))
        return [x, x.mean((2, 3), keepdim=True)]

    def gate_logits(self, features: list[torch.Tensor]) -> torch.Tensor:
        """(B, 2)."""
        logit = self.GATE_SLOPE * (features[-1].flatten(1)[:, :1] - 0.5)
        return torch.cat([torch.zeros_like(logit), logit], dim=1)

    def coarse(self, *features: torch.Tensor) -> torch.Tensor:
        """One map, at the input's size."""
        self.decoded.append(len(features[0]))
        logits: torch.Tensor = self.conv(features[0])
        return logits

    def predict_logits(self, x: torch.Tensor) -> torch.Tensor:
        """Logits at the input's size."""
        return self.coarse(*self.encode(x))


def coarse_refine(n_classes: int, *, gate: bool = False, seed: int = 0) -> CoarseRefineNet:
    """A coarse-refine network of random weights, in eval mode, in which every part has a say."""
    torch.manual_seed(seed)
    network = CoarseRefineNet(n_classes, gate=gate)
    assert network.refinement is not None
    torch.nn.init.normal_(network.refinement.head.weight, std=0.05)
    if network.gate is not None:
        torch.nn.init.normal_(network.gate.weight)
    network.eval()
    # No class is everywhere or nowhere: noise gives every class a mean logit of 0.
    with torch.inference_mode():
        noise = torch.randn(2, 3, 64, 64)
        mean = network.predict_logits(noise).mean((0, 2, 3))
        if network.gate is not None:
            chance = network.gate_logits(network.encode(noise)).mean(0)
    with torch.no_grad():
        network.refinement.head.bias -= mean.clone()
        if network.gate is not None:
            network.gate.bias -= chance.clone()
    return network


def card_data(weights: Path, **changes: Any) -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": NAME,
        "version": "1.0",
        "title": "Grey above a limit",
        "task": "lesion",
        "architecture": {"network": "tiny"},
        "input": {
            "size": 128,
            "window": list(WINDOW),
            "mean": [0.0],
            "std": [1.0],
            "channels": 1,
            "crop": "none",
        },
        "classes": [{"name": "infection", "label": 1, "threshold": 0.5, "color": [255, 0, 0]}],
        "weights": {
            "file": weights.name,
            "sha256": sha256_of(weights),
            "storage": "float32",
            "bytes": weights.stat().st_size,
        },
        "validation": {"made up": {"Dice": 0.5}},
        "licence": "MIT",
    }
    data.update(changes)
    return data


def install(folder: Path, monkeypatch: Any, **changes: Any) -> ModelCard:
    """Put the model into ``folder`` and make that the only model folder; return its card."""
    name = changes.get("name", NAME)
    network = TinyNet(len(changes.get("classes", [1])))
    weights = folder / f"{name}.safetensors"
    save_weights(network.state_dict(), weights, "float32")
    architecture = {"network": "tiny", "n_classes": network.n_classes}
    data = card_data(weights, **{"architecture": architecture, **changes})
    card = ModelCard.from_dict(data, folder)
    card.to_json(folder / f"{name}.json")
    _register(folder, monkeypatch)
    return card


def install_coarse_refine(
    folder: Path,
    monkeypatch: Any,
    n_classes: int,
    *,
    gate: dict[str, Any] | None = None,
    name: str = "coarse-refine",
) -> ModelCard:
    """Put a coarse-refine model of the first classes into ``folder``, as :func:`install` does."""
    network = coarse_refine(n_classes, gate=gate is not None)
    weights = folder / f"{name}.safetensors"
    save_weights(network.state_dict(), weights, "int8")
    data = card_data(weights, **coarse_refine_values(n_classes, gate))
    card = ModelCard.from_dict({**data, "name": name}, folder)
    card.to_json(folder / f"{name}.json")
    _register(folder, monkeypatch)
    return card


def coarse_refine_values(n_classes: int, gate: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the card of a coarse-refine model has other than that of "tiny"."""
    name = "coarse-refine"
    return {
        "name": name,
        "architecture": {"network": name, "n_classes": n_classes, "gate": gate is not None},
        "input": {"size": 64, "window": [-1350, 150]},
        "classes": LESION_TYPES[:n_classes],
        "training": {"not trained": "fibrosis"},
        "gate": gate,
    }


def install_gated(folder: Path, monkeypatch: Any, **gate: Any) -> ModelCard:
    """Put :class:`TinyGatedNet` into ``folder`` as the model "tiny"."""
    weights = folder / f"{NAME}.safetensors"
    save_weights(TinyGatedNet().state_dict(), weights, "float32")
    architecture = {"network": "tiny-gated", "gate": True}
    data = card_data(weights, architecture=architecture, gate={**GATE, **gate})
    card = ModelCard.from_dict(data, folder)
    card.to_json(folder / f"{NAME}.json")
    _register(folder, monkeypatch)
    return card


def install_lungs(folder: Path, monkeypatch: Any) -> ModelCard:
    """Add the lung model; return its card."""
    weights = folder / "lungs.safetensors"
    save_weights(TinyLungNet().state_dict(), weights, "float32")
    data = card_data(
        weights,
        name="lungs",
        task="lungs",
        architecture={"network": "tiny-lungs"},
        classes=[{"name": "right lung", "label": 1}, {"name": "left lung", "label": 2}],
    )
    card = ModelCard.from_dict(data, folder)
    card.to_json(folder / "lungs.json")
    _register(folder, monkeypatch)
    return card


def _register(folder: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(networks.NETWORKS, "tiny", TinyNet)
    monkeypatch.setitem(networks.NETWORKS, "tiny-gated", TinyGatedNet)
    monkeypatch.setitem(networks.NETWORKS, "tiny-lungs", TinyLungNet)
    monkeypatch.setattr(registry, "shipped_folders", lambda: [folder])
    monkeypatch.delenv("COVIDLESIONSEG_MODELS", raising=False)
