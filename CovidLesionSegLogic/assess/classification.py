"""Slice and patient classification in both conventions (paper, equations 6 to 9, Table 6).

The printed precision, recall and accuracy of Table 6 fit together only with the patients without
COVID-19 as the positive class; equations 6 to 9 read as if those with it were. Both are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from CovidLesionSegLogic.assess.confusion import MEASURES, Confusion
from CovidLesionSegLogic.assess.intervals import Interval, resample_counts
from CovidLesionSegLogic.assess.ratios import patient_indices, ratio_interval, sums_by_patient
from CovidLesionSegLogic.assess.roc import Roc, roc
from CovidLesionSegLogic.assess.statistics import agreement_tests
from CovidLesionSegLogic.engine import patient_decision
from CovidLesionSegLogic.models import GateSpec

POSITIVE, NEGATIVE = "COVID-19", "non-COVID"


@dataclass(frozen=True, eq=False)
class LevelFigures:
    """Figures of slices or of patients.

    Attributes
    ----------
    confusion
        With ``positive`` as the positive class.
    measures
        By positive class, then measure, each with its interval over patients.
    decided, truth
        Of each case, as the tests of section 3.5 want them.
    """

    confusion: Confusion
    measures: dict[str, dict[str, Interval]]
    roc: Roc
    decided: tuple[bool, ...]
    truth: tuple[bool, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the curve's points."""
        return {
            "cases": self.confusion.total,
            "confusion_matrix": {
                "rows": "truth, negative then positive",
                "columns": "decision, negative then positive",
                "cells": [list(row) for row in self.confusion.matrix()],
            },
            "measures": {
                f"{name} as positive": {key: one.to_dict() for key, one in measures.items()}
                for name, measures in self.measures.items()
            },
            "auc": self.roc.auc.to_dict(),
            "tests": agreement_tests(self.decided, self.truth),
        }


@dataclass(frozen=True, eq=False)
class ClassificationFigures:
    """What :class:`Classification` computes, and by which rule."""

    slices: LevelFigures
    patients: LevelFigures
    gate: GateSpec

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        rule = {key: getattr(self.gate, key) for key in ("threshold", "rule", "run")}
        return {
            "rule": rule,
            "slices": self.slices.to_dict(),
            "patients": self.patients.to_dict(),
        }


class Classification:
    """Slice probabilities against the truth: ``update`` with each slice, then ``compute``.

    A patient's slices must come in slice order (others may come between); the patient is positive
    when any of its slices is, and is decided on by
    :func:`~CovidLesionSegLogic.engine.patient_decision`.

    Parameters
    ----------
    gate
        Threshold and patient rule; None: the paper's, 0.5 and any slice.
    positive, negative
        Names of the two classes.
    """

    def __init__(
        self,
        gate: GateSpec | None = None,
        *,
        positive: str = POSITIVE,
        negative: str = NEGATIVE,
    ) -> None:
        self.gate = gate or GateSpec()
        self.positive, self.negative = positive, negative
        self._probabilities: list[float] = []
        self._truth: list[bool] = []
        self._patients: list[str] = []

    def update(self, probability: float, truth: bool, *, patient: str) -> None:
        """Add a slice: its probability 0...1, and whether it (or its patient) is positive."""
        self._probabilities.append(float(probability))
        self._truth.append(bool(truth))
        self._patients.append(patient)

    def compute(self) -> ClassificationFigures:
        """Figures of everything so far; ValueError when there is nothing."""
        if not self._patients:
            raise ValueError("there is no slice to classify")
        names, index = patient_indices(self._patients)
        p = np.array(self._probabilities)
        members = [p[index == i].tolist() for i in range(len(names))]
        spec = self.gate
        decided = [
            patient_decision(one, threshold=spec.threshold, rule=spec.rule, run=spec.run)
            for one in members
        ]
        truth = sums_by_patient(np.array(self._truth, np.int64), index, len(names)) > 0
        scores = [patient_score(one, spec) for one in members]
        return ClassificationFigures(
            slices=self._level(
                (p > spec.threshold).tolist(), self._truth, self._probabilities, self._patients
            ),
            patients=self._level(decided, truth.tolist(), scores, names),
            gate=spec,
        )

    def _level(
        self,
        decided: Sequence[bool],
        truth: Sequence[bool],
        scores: Sequence[float],
        patients: Sequence[str],
    ) -> LevelFigures:
        names, index = patient_indices(patients)
        by_patient: list[tuple[list[bool], list[bool]]] = [([], []) for _ in names]
        for i, d, t in zip(index, decided, truth, strict=True):
            by_patient[i][0].append(d)
            by_patient[i][1].append(t)
        matrices = [Confusion.of(*one) for one in by_patient]
        draws = resample_counts(len(names))
        measures: dict[str, dict[str, Interval]] = {}
        for name, ours in (
            (self.positive, matrices),
            (self.negative, [one.swapped() for one in matrices]),
        ):
            fractions = [one.fractions() for one in ours]
            measures[name] = {}
            for key in MEASURES:
                above, below = np.array([f[key] for f in fractions]).T
                measures[name][key] = ratio_interval(above, below, draws)
        return LevelFigures(
            confusion=Confusion.of(decided, truth),
            measures=measures,
            roc=roc(scores, truth, patients),
            decided=tuple(decided),
            truth=tuple(truth),
        )


def patient_score(probabilities: Sequence[float], gate: GateSpec) -> float:
    """The threshold below which the patient is called positive by the rule of ``gate``.

    The largest probability for any slice; for runs the largest that all slices of one run reach.
    0 where there are fewer slices than the run needs.
    """
    if len(probabilities) < gate.run:
        return 0.0
    return float(sliding_window_view(np.asarray(probabilities), gate.run).min(axis=1).max())
