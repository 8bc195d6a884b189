"""A trained run on its fold's test images: numbers from which every table is made."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from CovidLesionSegLogic.assess.overlap import PixelCounts
from CovidLesionSegLogic.assess.tables.coarse_refine.data import Image
from CovidLesionSegLogic.learn.class_validation import predict_classes
from CovidLesionSegLogic.learn.labelled import LabelledSlice
from CovidLesionSegLogic.learn.sources import UNKNOWN_CLASS

THRESHOLD = 0.5


@dataclass(frozen=True, eq=False)
class Scores:
    """One row per test image, label maps of those that were asked for, and seconds."""

    rows: list[dict[str, Any]]
    maps: dict[str, NDArray[np.uint8]]
    seconds: float


def label_map(soft: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Maps (n, H, W) to the most probable class 1 to n where that is above 0.5, else 0."""
    best = soft.argmax(0).astype(np.uint8) + 1
    return np.where(soft.max(0) > THRESHOLD, best, 0).astype(np.uint8)


def score_segmentation(
    network: nn.Module,
    images: Sequence[Image],
    *,
    classes: str,
    size: int,
    lungs: dict[str, int],
    keep: Sequence[str] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scores:
    """Predict each image at ``size`` and count pixels at the picture's own size, in float32.

    A row has ``image``, ``patient``, ``severity``, ``covid`` (the patient's label), ``known``
    (whether every lesion's class is), ``pixels``, ``lung`` (area or None) and ``counts``:
    (hits, marked, truth) of each channel's class and, last, of any lesion.

    Parameters
    ----------
    keep
        Keys of the images whose label maps are wanted.
    progress
        Is told images; may raise to stop.
    """
    network.eval()
    started, rows, maps = time.monotonic(), [], {}
    for done, image in enumerate(images):
        progress(done, len(images))
        sample = image.sample(classes)
        soft = predict_classes(network, sample.image, size)
        found = label_map(soft)
        if image.key in keep:
            maps[image.key] = found
        counts = [
            PixelCounts.of(found == label, sample.mask == label)
            for label in range(1, len(soft) + 1)
        ]
        counts.append(PixelCounts.of(found > 0, sample.mask > 0))
        rows.append(
            {
                "image": image.key,
                "patient": image.patient,
                "severity": image.record.severity,
                "covid": image.record.positive,
                "known": not bool((sample.mask == UNKNOWN_CLASS).any()),
                "pixels": int(found.size),
                "lung": lungs.get(image.key),
                "counts": [[c.hits, c.marked, c.truth] for c in counts],
            }
        )
    progress(len(images), len(images))
    return Scores(rows, maps, time.monotonic() - started)


def classification_rows(
    slices: Sequence[LabelledSlice], probabilities: Sequence[float]
) -> list[dict[str, Any]]:
    """``image``, ``patient``, ``infected`` and ``probability`` of each slice, in slice order."""
    return [
        {
            "image": s.name,
            "patient": s.patient,
            "infected": s.positive,
            "probability": float(p),
        }
        for s, p in zip(slices, probabilities, strict=True)
    ]
