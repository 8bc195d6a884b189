"""What each way to save time is worth: everything on, against each switched off alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.engine import Shortcuts
from CovidLesionSegLogic.engine.parts import ONNX, TORCH, has_onnx
from CovidLesionSegLogic.models import ModelCard, load_fast_network, load_network
from CovidLesionSegLogic.pipeline.lesion_stage import LesionStage, find_lesions

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Variant:
    """A way to run the lesion stage: its name in the table, and what runs it."""

    name: str
    run: Callable[[], LesionStage]


def thinned(lungs: NDArray[np.uint8], most: int) -> NDArray[np.uint8]:
    """Lungs on at most ``most`` evenly spread slices, nothing on the others."""
    with_lung = np.flatnonzero(lungs.any(axis=(1, 2)))
    kept = with_lung[:: max(1, -(-len(with_lung) // most))]
    result = np.zeros_like(lungs)
    result[kept] = lungs[kept]
    return result


def savings(
    canonical: CTVolume,
    lungs: NDArray[np.uint8],
    card: ModelCard,
    device: torch.device,
    repeats: int,
) -> list[dict[str, Any]]:
    """Seconds of each variant, taking turns, and their ratio to everything on.

    The first round, in which networks are handed over and memory is found, does not count.
    """
    variants = _variants(canonical, lungs, card, device)
    seconds: dict[str, list[float]] = {v.name: [] for v in variants}
    labels: dict[str, NDArray[np.uint8]] = {}
    for turn in range(repeats + 1):
        for variant in variants:
            start = time.perf_counter()
            found = variant.run()
            if turn:
                seconds[variant.name].append(time.perf_counter() - start)
            labels[variant.name] = found.labels
    best = seconds[variants[0].name]
    return [
        {
            "model": card.name,
            "variant": name,
            "slices": int(lungs.any(axis=(1, 2)).sum()),
            "seconds": median(taken),
            "ratio": median(t / b for t, b in zip(taken, best, strict=True)),
            "different_voxels": int((labels[name] != labels[variants[0].name]).sum()),
            "lesion_voxels": int((labels[name] > 0).sum()),
        }
        for name, taken in seconds.items()
    ]


def _variants(
    canonical: CTVolume, lungs: NDArray[np.uint8], card: ModelCard, device: torch.device
) -> list[Variant]:
    engine = ONNX if device.type == "cpu" and has_onnx() else TORCH
    fast, slow = load_fast_network(card, device), load_network(card, device)

    def variant(name: str, network: Any = fast, of: ModelCard = card, **changes: Any) -> Variant:
        options = {"engine": engine, "gate": of.gate} | changes

        def run() -> LesionStage:
            return find_lesions(canonical, lungs, network, of, device=device, **options)

        return Variant(name, run)

    found = [variant("everything on")]
    if engine == ONNX:
        found.append(variant("without ONNX Runtime", engine=TORCH))
    found.append(variant("without both folding and ONNX Runtime", slow, engine=TORCH))
    found.append(variant("one slice at a time", batch_size=1))
    if card.gate is not None:
        found.append(variant("without the gate", gate=None))
        closed = replace(card.gate, threshold=1.0, segment_above=1.0)
        found.append(variant("gate alone, nothing decoded", gate=closed))
    if hasattr(fast, "refinement"):
        found.append(variant("whole frame refined", shortcuts=Shortcuts(tiles=False)))
    if card.inference.flips:
        found.append(variant("both views of every slice", shortcuts=Shortcuts(one_view=False)))
        one = replace(card, inference=replace(card.inference, flips=False))
        found.append(variant("no mirror images (other labels)", of=one))
    return found
