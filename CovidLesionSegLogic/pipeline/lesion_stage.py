"""From a CT and its lungs to labelled lesions, on the canonical grid."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.engine import (
    AUTO,
    Cancel,
    Progress,
    Shortcuts,
    engine_for,
    engine_used,
    floor_for,
    no_progress,
    predict_slices,
)
from CovidLesionSegLogic.models import GateSpec, ModelCard
from CovidLesionSegLogic.pipeline.labelling import label_slice, near_lung, remove_small

if TYPE_CHECKING:
    import torch

    from CovidLesionSegLogic.networks import SegmentationNetwork


@dataclass(frozen=True, eq=False)
class LesionStage:
    """Labels (z, y, x), maps (classes, z, y, x) where kept, and what the gate saw.

    ``seen``: slice index -> the gate's probability, and whether the slice was segmented;
    ``engine``: what computed, as :func:`~CovidLesionSegLogic.engine.parts.engine_used` says.
    """

    labels: NDArray[np.uint8]
    maps: NDArray[np.float16] | None
    seen: dict[int, tuple[float, bool]]
    engine: str


def find_lesions(
    canonical: CTVolume,
    lungs: NDArray[Any],
    network: SegmentationNetwork,
    card: ModelCard,
    *,
    device: torch.device,
    threshold: float | None = None,
    gate: GateSpec | None = None,
    engine: str = AUTO,
    shortcuts: Shortcuts | None = None,
    batch_size: int | None = None,
    probability: bool = False,
    progress: Progress = no_progress,
    cancel: Cancel | None = None,
    notice: Callable[[str], None] | None = None,
) -> LesionStage:
    """Run the network over the slices that have lung, and label what it finds near the lungs.

    Parameters are those of :func:`~CovidLesionSegLogic.engine.predict_slices` and of
    :class:`~CovidLesionSegLogic.pipeline.options.SegmentOptions`.
    """
    labels = np.zeros(canonical.shape, np.uint8)
    maps = np.zeros((len(card.classes), *canonical.shape), np.float16) if probability else None
    row_column = (canonical.spacing[1], canonical.spacing[0])
    if threshold is not None:
        shortcuts = replace(shortcuts or Shortcuts(), floor=floor_for(threshold))
    seen: dict[int, tuple[float, bool]] = {}
    count = sum(bool(plane.any()) for plane in lungs)
    engine = engine_for(engine, device, count)
    for one in predict_slices(
        canonical.array,
        lungs,
        network,
        card,
        device=device,
        batch_size=batch_size,
        gate=gate,
        engine=engine,
        shortcuts=shortcuts,
        progress=progress,
        cancel=cancel,
        notice=notice,
    ):
        if one.gate is not None:
            seen[one.index] = (one.gate, one.segmented)
        if not one.segmented:
            continue
        part = (one.index, *one.box.slices)
        if maps is not None:
            maps[(slice(None), *part)] = one.probability
        found = label_slice(one.probability, card.classes, threshold)
        if found.any():
            labels[part] = found * near_lung(lungs[part], row_column)
    if card.postprocess.min_volume_ml > 0:
        smallest = math.ceil(card.postprocess.min_volume_ml / canonical.voxel_volume_ml)
        remove_small(labels, smallest)
    return LesionStage(labels, maps, seen, engine_used(network, engine))
