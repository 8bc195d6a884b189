"""Figures of a network with several lesion classes on validation slices while it is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import nn

from CovidLesionSegLogic.engine import Cancel

from .class_batches import UNKNOWN_CLASS
from .precision import resolve_precision
from .sources import Slice
from .validation import predict_classes, thinned

__all__ = ["ClassValidation", "predict_classes"]

FEWEST_PIXELS = 0.002
"""Share of the lesion pixels below which a patient's Dice of one class says nothing."""


class ClassValidation:
    """Dice at 0.5 by class and of any lesion, pooled by patient, mean over patients.

    Only patients with enough of a class count for it, and only where the classes are known. Images
    of the 100-slice set are each their own patient. ``false_marks``: share of marked pixels on
    lesion-free slices. ``score``: the mean of the classes' Dice and that of any lesion, less the
    false marks.

    Parameters
    ----------
    names
        Of the classes, in the order of the network's channels.
    size, per_patient, precision, cancel
        As for :class:`~CovidLesionSegLogic.learn.validation.PatientValidation`.
    """

    def __init__(
        self,
        slices: Sequence[Slice],
        names: Sequence[str],
        *,
        size: int = 352,
        per_patient: int = 20,
        precision: str = "auto",
        cancel: Cancel | None = None,
    ) -> None:
        self.slices, self.names = thinned(slices, per_patient), tuple(names)
        self.size, self.precision, self.cancel = size, precision, cancel or Cancel()

    def __call__(self, network: nn.Module) -> dict[str, float]:
        device = next(network.parameters()).device
        reduced = resolve_precision(self.precision, device) == "bfloat16"
        counts: dict[str, NDArray[np.float64]] = {}
        false_share: list[float] = []
        for s in self.slices:
            self.cancel.check()
            soft = predict_classes(network, s.image, self.size, reduced=reduced)
            found = np.where(soft.max(0) > 0.5, soft.argmax(0) + 1, 0)
            table = counts.setdefault(s.patient, np.zeros((len(self.names) + 1, 3)))
            table[-1] += _counts(found > 0, s.mask > 0)
            if not (s.mask == UNKNOWN_CLASS).any():
                for k in range(len(self.names)):
                    table[k] += _counts(found == k + 1, s.mask == k + 1)
            if not s.mask.any():
                false_share.append(float((found > 0).mean()))
        figures = {}
        for k, name in enumerate((*self.names, "any lesion")):
            dice = [
                2 * t[k, 0] / (t[k, 1] + t[k, 2])
                for t in counts.values()
                if t[k, 2] > FEWEST_PIXELS * t[-1, 2]
            ]
            figures[f"dice {name}"] = float(np.mean(dice)) if dice else float("nan")
        false_marks = float(np.mean(false_share)) if false_share else 0.0
        score = float(np.nanmean(list(figures.values()))) - false_marks
        return figures | {"false_marks": false_marks, "score": score}


def _counts(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.array([(found & truth).sum(), found.sum(), truth.sum()], float)
