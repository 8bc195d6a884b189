"""Confusion matrices: the measures read from one (paper, equations 6 to 9), and its picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from CovidLesionSegLogic.assess.figures import new_figure, save_figure
from CovidLesionSegLogic.assess.volumes import ratio

MEASURES = ("accuracy", "recall", "precision", "f1", "specificity")


@dataclass(frozen=True)
class Confusion:
    """Cases by truth and decision. A measure is None where it divides by nothing."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @classmethod
    def of(cls, decided: Sequence[bool], truth: Sequence[bool]) -> Confusion:
        """Count decisions against the truth; ValueError when there are not as many of both."""
        if len(decided) != len(truth):
            raise ValueError(f"{len(decided)} decisions for {len(truth)} truths")
        d, t = np.asarray(decided, bool), np.asarray(truth, bool)
        return cls(*(int(n.sum()) for n in (d & t, d & ~t, ~d & t, ~d & ~t)))

    def swapped(self) -> Confusion:
        """The same cases with the other class as positive."""
        return Confusion(
            true_positive=self.true_negative,
            false_positive=self.false_negative,
            false_negative=self.false_positive,
            true_negative=self.true_positive,
        )

    @property
    def total(self) -> int:
        """All cases."""
        return sum(map(sum, self.matrix()))

    def matrix(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows: truth, negative then positive; columns: decision, negative then positive."""
        return (
            (self.true_negative, self.false_positive),
            (self.false_negative, self.true_positive),
        )

    def fractions(self) -> dict[str, tuple[int, int]]:
        """Numerator and denominator of each measure; F1 is 2 TP / (2 TP + FP + FN)."""
        tp, fp = self.true_positive, self.false_positive
        fn, tn = self.false_negative, self.true_negative
        return {
            "accuracy": (tp + tn, self.total),
            "recall": (tp, tp + fn),
            "precision": (tp, tp + fp),
            "f1": (2 * tp, 2 * tp + fp + fn),
            "specificity": (tn, tn + fp),
        }

    def measures(self) -> dict[str, float | None]:
        """Accuracy, recall, precision, F1 (equations 6 to 9) and specificity."""
        return {name: ratio(*pair) for name, pair in self.fractions().items()}


def draw_confusions(
    path: Path, matrices: Mapping[str, Confusion], *, names: tuple[str, str]
) -> None:
    """Write the matrices side by side to a PNG (as in Figure 5).

    Parameters
    ----------
    matrices
        By title.
    names
        Of the negative and of the positive class.
    """
    figure = new_figure(3.6 * max(1, len(matrices)), 3.6)
    panels = figure.subplots(1, max(1, len(matrices)), squeeze=False)[0]
    for axes, (title, one) in zip(panels, matrices.items(), strict=False):
        cells = np.array(one.matrix())
        shares = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(cells):
            color = "white" if shares[row, column] > 0.5 else "black"
            said = f"{count}\n{shares[row, column]:.1%}"
            axes.text(column, row, said, ha="center", va="center", color=color)
        axes.set_xticks([0, 1], names)
        axes.set_yticks([0, 1], names, rotation=90, va="center")
        axes.set(xlabel="decision", ylabel="truth", title=title)
    save_figure(figure, path)
