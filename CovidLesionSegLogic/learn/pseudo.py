"""Pseudo-labels: a trained network marks the slices that no radiologist has outlined.

Self-training is the future work the Ref-Net paper names. The teacher's soft maps of a slice and
its mirror image are averaged and made hard; slices it is unsure about are left out.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct import atomic_path

from .sources import Slice

logger = logging.getLogger(__name__)
Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class Confidence:
    """When a teacher's map may stand for a radiologist's mask.

    Attributes
    ----------
    threshold
        Probability above which a pixel is lesion.
    band
        Pixels whose probability is within ``band`` of the threshold are unsure.
    unsure_share
        Largest number of unsure pixels, as a share of the marked ones.
    unsure_area
        Unsure pixels up to this share of the image are always accepted: small lesions and
        lesion-free slices have few marked pixels to compare with.
    """

    threshold: float = 0.5
    band: float = 0.2
    unsure_share: float = 0.35
    unsure_area: float = 0.005

    def accepts(self, soft: NDArray[np.floating]) -> bool:
        """True where the map is sure enough; ``soft`` is (H, W), 0..1."""
        unsure = int((np.abs(soft - self.threshold) < self.band).sum())
        marked = int((soft > self.threshold).sum())
        return unsure <= max(self.unsure_share * marked, self.unsure_area * soft.size)


def pseudo_label(
    slices: Sequence[Slice],
    predict: Predict,
    *,
    confidence: Confidence = Confidence(),
    keep_empty: bool = True,
) -> list[Slice]:
    """The slices the teacher is sure about, with its marks as masks.

    Parameters
    ----------
    slices
        Their own masks are ignored.
    predict
        (H, W) uint8 image to (H, W) soft map.
    keep_empty
        Whether slices on which nothing is marked stay; False where each is known to show lesion.
    """
    labelled = []
    for done, item in enumerate(slices, 1):
        soft = (predict(item.image) + predict(item.image[:, ::-1])[:, ::-1]) / 2
        mask = (soft > confidence.threshold).astype(np.uint8)
        if confidence.accepts(soft) and (keep_empty or mask.any()):
            labelled.append(replace(item, mask=mask, source=f"{item.source}_pseudo"))
        if done % 100 == 0:
            logger.info("%d of %d slices seen, %d kept", done, len(slices), len(labelled))
    return labelled


def save_slices(slices: Sequence[Slice], path: Path) -> None:
    """Keep ``slices`` in one compressed file (.npz): a teacher need not be asked twice."""
    arrays: dict[str, NDArray[np.uint8]] = {}
    for index, item in enumerate(slices):
        arrays[f"image{index}"], arrays[f"mask{index}"] = item.image, item.mask
    labels = json.dumps([[s.patient, s.source, s.name] for s in slices])
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, labels=np.array(labels), **arrays)  # type: ignore[arg-type]


def read_slices(path: Path) -> list[Slice]:
    """What ``save_slices`` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return [
            Slice(file[f"image{index}"], file[f"mask{index}"], *names)
            for index, names in enumerate(json.loads(str(file["labels"])))
        ]
