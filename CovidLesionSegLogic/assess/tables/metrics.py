"""The figures a table can have: how they are called, and which way is better."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.assess.slices import SliceScores


@dataclass(frozen=True)
class Metric:
    """One column.

    Attributes
    ----------
    short
        As the paper heads its column.
    meaning
        What exactly is computed, for the report.
    higher
        Whether a larger value is better.
    """

    short: str
    meaning: str
    higher: bool = True


METRICS = {
    "dice_mean_256": Metric("Dice", "mean over 256 thresholds of the stretched map, as published"),
    "sensitivity": Metric("Sen", "sensitivity, mean over 256 thresholds"),
    "specificity": Metric("Spec", "specificity, mean over 256 thresholds"),
    "s_measure": Metric("S", "structure measure, α = 0.5, on the stretched map"),
    "e_measure_mean": Metric("E mean", "enhanced-alignment measure, mean over 256 thresholds"),
    "mae": Metric("MAE", "mean absolute error of the stretched map", higher=False),
    "dice_max": Metric("max Dice", "maximum over 256 thresholds of the mean Dice over the images"),
    "dice_at_0.5": Metric(
        "Dice at 0.5", "Dice of the map cut at 0.5, neither stretched nor rounded"
    ),
}
"""By the names that plans and result files use; the paper prints the first six."""


def image_figures(score: SliceScores) -> dict[str, float | None]:
    """One image's figures; ``dice_max`` is of the mean curve, so no image has it."""
    return {
        "dice_mean_256": score.mean_dice,
        "sensitivity": score.mean_sensitivity,
        "specificity": score.mean_specificity,
        "s_measure": score.s_measure,
        "e_measure_mean": score.mean_e_measure,
        "mae": score.mae,
        "dice_at_0.5": score.dice_at_threshold,
    }


def curve_arrays(scores: list[SliceScores]) -> dict[str, NDArray[np.float64]]:
    """The curves of all images, (images, 256) each, by the names of :class:`SliceScores`."""
    names = ("dice", "sensitivity", "specificity", "precision", "e_measure")
    return {name: np.stack([getattr(s, f"{name}_curve") for s in scores]) for name in names}
