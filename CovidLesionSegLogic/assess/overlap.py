"""Overlap of hard masks: Dice, IoU, pixel precision and pixel recall (paper, equations 2 to 5).

The coarse-refine paper averages over images: its printed Dice is not that of its printed precision
and recall, as it would be with pooled pixels. Pooled and per-patient figures stand beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.assess.intervals import Interval, mean_interval, resample_counts
from CovidLesionSegLogic.assess.ratios import patient_indices, ratio_interval, sums_by_patient
from CovidLesionSegLogic.assess.volumes import ratio

MEASURES = ("dice", "iou", "precision", "recall")
WAYS = ("per_image", "pooled", "per_patient")


@dataclass(frozen=True)
class PixelCounts:
    """Pixels of a truth G and a prediction P: ``hits`` of both, ``marked`` of P, ``truth`` of G.

    A measure is None where it divides by nothing. With an empty truth and a prediction Dice, IoU
    and precision are 0; with a truth and no prediction Dice, IoU and recall are.
    """

    hits: int
    marked: int
    truth: int

    @classmethod
    def of(cls, predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> PixelCounts:
        """Count two masks of one shape; ValueError when the shapes differ."""
        if predicted.shape != truth.shape:
            raise ValueError(f"prediction {predicted.shape} and truth {truth.shape} differ in size")
        hits = int(np.count_nonzero(predicted & truth))
        return cls(hits, int(np.count_nonzero(predicted)), int(np.count_nonzero(truth)))

    @property
    def dice(self) -> float | None:
        """2 |G ∩ P| / (|G| + |P|), equation 2."""
        return ratio(2 * self.hits, self.truth + self.marked)

    @property
    def iou(self) -> float | None:
        """|G ∩ P| / |G ∪ P|, equation 3."""
        return ratio(self.hits, self.truth + self.marked - self.hits)

    @property
    def precision(self) -> float | None:
        """|G ∩ P| / |P|, equation 4."""
        return ratio(self.hits, self.marked)

    @property
    def recall(self) -> float | None:
        """|G ∩ P| / |G|, equation 5."""
        return ratio(self.hits, self.truth)

    def to_dict(self) -> dict[str, Any]:
        """One image's figures, JSON-ready."""
        pixels = {"truth_pixels": self.truth, "marked_pixels": self.marked}
        return pixels | {name: getattr(self, name) for name in MEASURES}


@dataclass(frozen=True)
class OverlapFigures:
    """The four measures in three ways, each with its interval over patients.

    Attributes
    ----------
    per_image
        Mean over the images where the measure exists: the paper's way.
    pooled
        Of all pixels together.
    per_patient
        Pixels pooled in each patient, then the mean over patients.
    counts
        ``images``, ``patients`` and how many images have an empty truth, an empty prediction, both.
    """

    per_image: dict[str, Interval]
    pooled: dict[str, Interval]
    per_patient: dict[str, Interval]
    counts: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: ``counts`` and ``metrics`` by way and measure."""
        metrics = {
            way: {name: one.to_dict() for name, one in getattr(self, way).items()} for way in WAYS
        }
        return {"counts": self.counts, "metrics": metrics}


class Overlap:
    """Overlap of one class over many images: ``update`` with each, then ``compute``."""

    def __init__(self) -> None:
        self._images: list[PixelCounts] = []
        self._patients: list[str] = []

    def update(
        self, predicted: NDArray[np.bool_], truth: NDArray[np.bool_], *, patient: str
    ) -> PixelCounts:
        """Add an image's masks (H, W); its own counts come back."""
        one = PixelCounts.of(predicted, truth)
        self.add(one, patient=patient)
        return one

    def add(self, counts: PixelCounts, *, patient: str) -> None:
        """Add an image that was counted before."""
        self._images.append(counts)
        self._patients.append(patient)

    def compute(self) -> OverlapFigures:
        """Figures of everything so far; those without images have no value."""
        names, index = patient_indices(self._patients)
        draws = resample_counts(len(names)) if names else np.zeros((0, 0))
        pixels = np.array([(c.hits, c.marked, c.truth) for c in self._images], np.int64)
        sums = sums_by_patient(pixels.reshape(-1, 3), index, len(names))
        hits, marked, truth = sums.T
        fractions = {
            "dice": (2 * hits, truth + marked),
            "iou": (hits, truth + marked - hits),
            "precision": (hits, marked),
            "recall": (hits, truth),
        }
        together = [PixelCounts(*(int(n) for n in row)) for row in sums]
        per_image = {}
        for name in MEASURES:
            values = [getattr(one, name) for one in self._images]
            above = np.array([0.0 if v is None else v for v in values], np.float64)
            there = np.array([v is not None for v in values], np.float64)
            per_image[name] = ratio_interval(
                sums_by_patient(above, index, len(names)),
                sums_by_patient(there, index, len(names)),
                draws,
            )
        return OverlapFigures(
            per_image=per_image,
            pooled={name: ratio_interval(*fractions[name], draws) for name in MEASURES},
            per_patient={
                name: mean_interval([getattr(one, name) for one in together], draws)
                for name in MEASURES
            },
            counts={
                "images": len(self._images),
                "patients": len(names),
                "empty_truth": sum(c.truth == 0 for c in self._images),
                "empty_result": sum(c.marked == 0 for c in self._images),
                "both_empty": sum(c.truth == 0 == c.marked for c in self._images),
            },
        )
