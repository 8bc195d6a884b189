"""The plain loop that the engine is measured against."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.engine import Box, SlicePrediction, lung_boxes, prepare_slice
from CovidLesionSegLogic.engine.preprocess import resize
from CovidLesionSegLogic.lungs import lungs_from_predictions
from CovidLesionSegLogic.models import LUNG_MODEL, ModelCard, get_card, load_network
from CovidLesionSegLogic.pipeline.labelling import label_slice, near_lung

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from CovidLesionSegLogic.networks import SegmentationNetwork


PUBLISHED_SIDE = {"coarse-refine": 512, "refnet": 352}
"""Pixels of the frame that the papers' networks work on (Huang et al. 2022, Liu et al. 2022)."""


def plain_loop(
    canonical: CTVolume,
    card: ModelCard,
    device: torch.device,
    begin: Callable[[str], None],
    *,
    side: int | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Lesions and lungs (z, y, x) as one would write it at first, with the same weights.

    Every slice goes through the networks, one at a time, in float32, whole, with its mirror image
    where the card asks for it; there is no gate. A slice with lung is cut out around it, as the
    network has learnt it; one without goes in as it is.

    ``begin`` is told of the stages "load", "lungs" and "segment". With ``side`` every slice goes in
    with its whole frame, resized to so many pixels, as the papers have it.
    """
    begin("load")
    lung_card = get_card(LUNG_MODEL, "lungs")
    lung_network, network = (load_network(c, device) for c in (lung_card, card))
    begin("lungs")
    whole = Box(0, canonical.shape[1], 0, canonical.shape[2])
    frames = dict.fromkeys(range(canonical.shape[0]), whole)
    lungs = lungs_from_predictions(
        _predictions(canonical, frames, lung_network, lung_card, device),
        canonical.shape,
        canonical.spacing,
        hu=canonical.array,
    ).array
    begin("segment")
    labels = np.zeros(canonical.shape, np.uint8)
    row_column = (canonical.spacing[1], canonical.spacing[0])
    if side is None:
        boxes = frames | lung_boxes(lungs, card.input)
    else:
        boxes, card = frames, replace(card, input=replace(card.input, size=side))
    for one in _predictions(canonical, boxes, network, card, device):
        part = (one.index, *one.box.slices)
        found = label_slice(one.probability, card.classes, None)
        labels[part] = found * near_lung(lungs[part], row_column)
    return labels, lungs


def _predictions(
    canonical: CTVolume,
    boxes: dict[int, Box],
    network: SegmentationNetwork,
    card: ModelCard,
    device: torch.device,
) -> Iterator[SlicePrediction]:
    for k, box in boxes.items():
        image = prepare_slice(canonical.array[k][box.slices], card.input)[None].to(device)
        logits = _logits(network, image, card)
        planes = (logits / card.inference.temperature).sigmoid().cpu()[0]
        yield SlicePrediction(k, box, resize(planes, box.size).numpy())


def _logits(network: SegmentationNetwork, image: Tensor, card: ModelCard) -> Tensor:
    import torch

    with torch.inference_mode():
        logits = network.predict_logits(image)
        if card.inference.flips:
            logits = (logits + network.predict_logits(image.flip(-1)).flip(-1)) / 2
    return logits
