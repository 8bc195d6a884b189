"""Precision, recall and Dice of each class at every threshold, all pixels together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.assess.figures import new_figure, save_figure
from CovidLesionSegLogic.assess.slices import THRESHOLDS
from CovidLesionSegLogic.quantify.export import write_csv


class ClassCurves:
    """Curves over the levels of 8-bit maps (not stretched): ``update``, then ``compute``.

    Parameters
    ----------
    names
        Of the classes.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._counts = {name: np.zeros((2, THRESHOLDS), np.int64) for name in names}

    def update(self, name: str, grey: NDArray[np.uint8], truth: NDArray[np.bool_]) -> None:
        """Add one image's map and mask (H, W) of a class."""
        for row, chosen in zip(self._counts[name], (truth, ~truth), strict=True):
            row += np.bincount(grey[chosen], minlength=THRESHOLDS)

    def compute(self) -> dict[str, dict[str, NDArray[np.float64]]]:
        """By class "precision", "recall" and "dice", each (256,), from threshold 255 down to 0.

        NaN where a figure divides by nothing.
        """
        curves = {}
        for name, counts in self._counts.items():
            hits, false = counts[:, ::-1].cumsum(axis=1).astype(np.float64)
            with np.errstate(invalid="ignore"):
                curves[name] = {
                    "precision": hits / (hits + false),
                    "recall": hits / hits[-1],
                    "dice": 2 * hits / (hits + false + hits[-1]),
                }
        return curves


def write_class_curves(curves: ClassCurves, folder: Path, title: str) -> None:
    """Write ``curves.csv``, ``precision_recall.png`` and ``dice.png`` into ``folder``."""
    found = curves.compute()
    thresholds = np.linspace(1, 0, THRESHOLDS)
    rows: list[dict[str, float | None]] = [{"threshold": float(t)} for t in thresholds]
    for name, figures in found.items():
        for key, values in figures.items():
            for row, value in zip(rows, values.tolist(), strict=True):
                row[f"{name}, {key}"] = None if np.isnan(value) else value
    write_csv(rows, folder / "curves.csv")
    for file, across, up in (
        ("precision_recall", "recall", "precision"),
        ("dice", "threshold", "dice"),
    ):
        figure = new_figure(6, 5)
        axes = figure.add_subplot()
        for name, figures in found.items():
            axes.plot({**figures, "threshold": thresholds}[across], figures[up], label=name)
        axes.set(xlabel=across, ylabel=up, xlim=(0, 1.02), ylim=(0, 1.02), title=title)
        axes.grid(alpha=0.3)
        axes.legend()
        save_figure(figure, folder / f"{file}.png")
