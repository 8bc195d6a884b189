"""Train on own data, then measure the model as it is installed on the patients kept apart."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from CovidLesionSegLogic.assess import intervals
from CovidLesionSegLogic.assess.evaluate_slices import soft_map
from CovidLesionSegLogic.assess.slices import score_slice, to_grey
from CovidLesionSegLogic.assess.trained_classes import (
    BY_CLASS,
    BY_GATE,
    measure_classes,
    measure_gate,
    rounded,
)
from CovidLesionSegLogic.engine import Cancel, Progress, no_progress
from CovidLesionSegLogic.learn.own import TrainOptions, train_own
from CovidLesionSegLogic.learn.sources import Slice
from CovidLesionSegLogic.models import ModelCard, load_fast_network

logger = logging.getLogger(__name__)
PER_PATIENT = "validation patients, figures of the published protocol, mean over patients"
CAVEAT = "the best step was chosen on these patients: data of other patients tell more"


def train_and_measure(
    options: TrainOptions,
    *,
    progress: Progress = no_progress,
    cancel: Cancel | None = None,
    notice: Callable[[str], None] = logger.warning,
) -> ModelCard:
    """Train, write the model, measure it on its validation slices and add that to its card.

    The stages of :func:`~CovidLesionSegLogic.learn.own.train_own`, then "evaluate"; raises what
    that raises. Ref-Net is measured by its published protocol, the coarse-refine network by class
    (:func:`~CovidLesionSegLogic.assess.trained_classes.measure_classes`), a gate by slice.
    """
    cancel = cancel or Cancel()
    trained = train_own(options, progress=progress, cancel=cancel, notice=notice)
    refnet = options.network == "refnet"
    measure = measure_slices if refnet else measure_classes
    figures: dict[str, Any] = {
        PER_PATIENT if refnet else BY_CLASS: measure(
            trained.card,
            trained.validation,
            device=trained.device,
            progress=progress,
            cancel=cancel,
        )
    }
    if trained.gate is not None and trained.card.gate is not None:
        figures[BY_GATE] = measure_gate(trained.card.gate, trained.gate, trained.validation)
    card = replace(trained.card, validation=figures | {"note": CAVEAT})
    card.to_json(trained.folder / f"{card.name}.json")
    return card


def measure_slices(
    card: ModelCard,
    slices: Sequence[Slice],
    *,
    device: torch.device,
    progress: Progress = no_progress,
    cancel: Cancel | None = None,
) -> dict[str, Any]:
    """Figures of an installed model on slices, with bootstrap intervals over patients.

    A patient's figure is the mean over its slices with lesion, where the published protocol means
    something; on slices without lesion the share of marked pixels is taken.
    """
    cancel = cancel or Cancel()
    network = load_fast_network(card, device)
    threshold = card.classes[0].threshold
    rows: dict[str, dict[str, list[float]]] = {}
    for done, item in enumerate(slices):
        cancel.check()
        progress("evaluate", done, len(slices))
        soft = soft_map(item.image, network, card, device, cancel=cancel)
        patient = rows.setdefault(item.patient, {})
        if item.mask.any():
            found = score_slice(to_grey(soft) / 255, item.mask > 0, threshold=threshold)
            figures = {
                "Dice, mean over 256 thresholds": found.mean_dice,
                f"Dice at {threshold:g}": found.dice_at_threshold or 0.0,
                "sensitivity": found.mean_sensitivity,
                "specificity": found.mean_specificity,
                "S-measure": found.s_measure,
                "E-measure": found.mean_e_measure,
                "MAE": found.mae,
            }
        else:
            figures = {"marked share of slices without lesion": float((soft >= threshold).mean())}
        for name, value in figures.items():
            patient.setdefault(name, []).append(value)
    progress("evaluate", len(slices), len(slices))
    counts = intervals.resample_counts(len(rows))
    result: dict[str, Any] = {"patients": len(rows), "slices": len(slices)}
    for name in dict.fromkeys(name for row in rows.values() for name in row):
        values = [float(np.mean(row[name])) if name in row else None for row in rows.values()]
        result[name] = rounded(intervals.mean_interval(values, counts))
    return result
