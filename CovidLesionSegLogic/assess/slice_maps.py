"""Probability maps of 8-bit slices, by the path of a CT in HU but without window and crop."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.engine import Cancel, predict_slices
from CovidLesionSegLogic.models import LesionClass, ModelCard
from CovidLesionSegLogic.outputs.names import file_stem

if TYPE_CHECKING:
    import torch

    from CovidLesionSegLogic.networks import SegmentationNetwork

GREY = (0.0, 255.0)
ANY_LESION = "any lesion"


def class_maps(
    image: NDArray[np.uint8],
    network: SegmentationNetwork,
    card: ModelCard,
    device: torch.device,
    *,
    cancel: Cancel | None = None,
) -> NDArray[np.float32]:
    """Probabilities (classes, H, W) for one 8-bit picture (H, W); a gate is not asked."""
    as_grey = replace(card, input=replace(card.input, window=GREY, crop="none"))
    array = image.astype(np.float32)[None]
    one = next(
        predict_slices(array, None, network, as_grey, device=device, batch_size=1, cancel=cancel)
    )
    return one.probability


def soft_map(
    image: NDArray[np.uint8],
    network: SegmentationNetwork,
    card: ModelCard,
    device: torch.device,
    *,
    cancel: Cancel | None = None,
) -> NDArray[np.float32]:
    """Probability (H, W) of any lesion, the maximum over the classes, for one picture (H, W)."""
    largest: NDArray[np.float32] = class_maps(image, network, card, device, cancel=cancel).max(0)
    return largest


def folder_names(classes: Sequence[LesionClass]) -> list[str]:
    """A folder for each class: its name with underscores; with the label where two are alike."""
    names = [re.sub(r"\s+", "_", file_stem(c.name)) for c in classes]
    folded = [name.casefold() for name in names]
    return [
        name if folded.count(name.casefold()) == 1 else f"{name}_{c.label}"
        for name, c in zip(names, classes, strict=True)
    ]


def write_png(grey: NDArray[np.uint8], path: Path) -> None:
    """Write an 8-bit picture (H, W)."""
    from skimage import io

    io.imsave(path, grey, check_contrast=False)
