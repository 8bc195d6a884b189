"""From a training run's best weights to a released model: int8 weights and a card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from CovidLesionSegLogic.models import ModelCard, WeightsSpec, save_weights, sha256_of
from CovidLesionSegLogic.networks import build_network


def export_model(checkpoint: Path, template: Path | Mapping[str, Any], folder: Path) -> ModelCard:
    """Write ``NAME.safetensors`` and ``NAME.json`` into ``folder``.

    Parameters
    ----------
    checkpoint
        ``best.pt`` of a training run.
    template
        A card without its ``weights`` entry, a JSON file or as read from one; it is filled in here.

    Raises
    ------
    RuntimeError
        The weights do not fit the architecture the card names.
    """
    data: dict[str, Any] = (
        json.loads(template.read_text(encoding="utf-8"))
        if isinstance(template, Path)
        else dict(template)
    )
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["network"]
    build_network(data["architecture"]).load_state_dict(state)
    path = folder / f"{data['name']}.safetensors"
    save_weights(state, path, storage="int8")
    weights = WeightsSpec(path.name, sha256_of(path), "int8", path.stat().st_size)
    card = ModelCard.from_dict({**data, "weights": vars(weights)}, folder)
    card.to_json(folder / f"{card.name}.json")
    return card
