"""The published protocol for single slices, and the Dice values it is so easily confused with.

Inf-Net's evaluation, which Ref-Net's tables follow: the soft map is brought to the ground truth's
own size, stretched to 0..1 by its minimum and maximum, cut at 256 thresholds; Dice, sensitivity and
specificity are averaged over the thresholds of an image, then over the images.
The stretch belongs to this protocol alone: on an empty map it turns noise into lesions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.assess.structure import e_measure_curve, s_measure

THRESHOLDS = 256


@dataclass(frozen=True, eq=False)
class SliceScores:
    """Scores of one image; ``*_curve`` arrays have 256 values, from threshold 1 down to 0.

    ``dice_at_threshold`` is None where neither map nor ground truth marks anything: there is
    nothing to agree on.
    """

    dice_curve: NDArray[np.float64]
    sensitivity_curve: NDArray[np.float64]
    specificity_curve: NDArray[np.float64]
    precision_curve: NDArray[np.float64]
    e_measure_curve: NDArray[np.float64]
    dice_at_threshold: float | None
    s_measure: float
    mae: float

    @property
    def mean_dice(self) -> float:
        """Mean Dice over the 256 thresholds: the published "Dice"."""
        return float(self.dice_curve.mean())

    @property
    def mean_sensitivity(self) -> float:
        """Mean sensitivity over the 256 thresholds: the published "Sen"."""
        return float(self.sensitivity_curve.mean())

    @property
    def mean_specificity(self) -> float:
        """Mean specificity over the 256 thresholds: the published "Spec"."""
        return float(self.specificity_curve.mean())

    @property
    def mean_e_measure(self) -> float:
        """Mean E-measure over the 256 thresholds."""
        return float(self.e_measure_curve.mean())


def stretch(soft: NDArray[np.floating]) -> NDArray[np.float64]:
    """Min-max normalisation of the published protocol; a constant map stays as it is."""
    low, high = float(soft.min()), float(soft.max())
    values = np.asarray(soft, np.float64)
    return values if high <= low else (values - low) / (high - low)


def to_grey(soft: NDArray[np.floating]) -> NDArray[np.uint8]:
    """A soft map in 0..1 as the 8-bit grey in which the published code reads it."""
    return np.rint(np.clip(np.asarray(soft, np.float64), 0, 1) * 255).astype(np.uint8)


def dice_at(soft: NDArray[np.floating], truth: NDArray[np.bool_], threshold: float) -> float | None:
    """Dice of the map cut at ``threshold`` (inclusive); None when both are empty."""
    hard = soft >= threshold
    total = int(hard.sum()) + int(truth.sum())
    return 2 * int((hard & truth).sum()) / total if total else None


def score_slice(
    soft: NDArray[np.floating], truth: NDArray[np.bool_], *, threshold: float = 0.5
) -> SliceScores:
    """Score a soft map (H, W) in 0..1 against a binary ground truth of the same size.

    As published, Dice, sensitivity, specificity and precision are 0 at thresholds without a true
    positive, so at all of them where the ground truth is empty.

    Parameters
    ----------
    threshold
        The model's own, for ``dice_at_threshold``, on the map as it is (not stretched).

    Raises
    ------
    ValueError
        The shapes differ.
    """
    if soft.shape != truth.shape:
        raise ValueError(f"map {soft.shape} and ground truth {truth.shape} differ in size")
    truth = truth.astype(bool)
    stretched = stretch(soft)
    # Counting levels instead of thresholding 256 times; bin i holds maps of at least i / 255.
    level = np.floor(stretched * (THRESHOLDS - 1)).astype(np.int64)
    hits = np.bincount(level[truth], minlength=THRESHOLDS)[::-1].cumsum().astype(float)
    false = np.bincount(level[~truth], minlength=THRESHOLDS)[::-1].cumsum().astype(float)
    positives, negatives = float(truth.sum()), float((~truth).sum())
    found = hits > 0
    return SliceScores(
        dice_curve=np.where(found, 2 * hits / np.maximum(hits + false + positives, 1), 0.0),
        sensitivity_curve=np.where(found, hits / max(positives, 1), 0.0),
        specificity_curve=np.where(found, (negatives - false) / max(negatives, 1), 0.0),
        precision_curve=hits / np.maximum(hits + false, 1),
        e_measure_curve=e_measure_curve(hits, false, positives, truth.size),
        dice_at_threshold=dice_at(soft, truth, threshold),
        s_measure=s_measure(stretched, truth),
        mae=float(np.abs(stretched - truth).mean()),
    )
