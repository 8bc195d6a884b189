"""A real, tiny model for tests: grey above a limit is lesion, exactly known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from CovidLesionSegLogic import networks
from CovidLesionSegLogic.models import ModelCard, registry, save_weights, sha256_of
from CovidLesionSegLogic.networks import SegmentationNetwork

NAME = "tiny"
WINDOW = (-1000.0, 0.0)
LIMIT_HU = -600.0
STEEPNESS = 40.0


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
    monkeypatch.setitem(networks.NETWORKS, "tiny-lungs", TinyLungNet)
    monkeypatch.setattr(registry, "shipped_folders", lambda: [folder])
    monkeypatch.delenv("COVIDLESIONSEG_MODELS", raising=False)
