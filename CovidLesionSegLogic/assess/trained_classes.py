"""Figures by class, and of the gate, of a model trained on own data, for its card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from CovidLesionSegLogic.assess.classification import Classification
from CovidLesionSegLogic.assess.intervals import Interval, mean_interval
from CovidLesionSegLogic.assess.overlap import Overlap, PixelCounts
from CovidLesionSegLogic.assess.ratios import patient_indices, ratio_interval, sums_by_patient
from CovidLesionSegLogic.assess.slice_maps import ANY_LESION, class_maps
from CovidLesionSegLogic.engine import Cancel, Progress, no_progress
from CovidLesionSegLogic.learn.sources import UNKNOWN_CLASS, Slice
from CovidLesionSegLogic.models import GateSpec, ModelCard, load_fast_network
from CovidLesionSegLogic.pipeline.labelling import label_slice

BY_CLASS = "validation patients, pixels pooled by patient, mean over those who have the class"
BY_GATE = "gate on the validation slices, intervals over patients"
MEASURES = {"dice": "Dice", "precision": "pixel precision", "recall": "pixel recall"}
INFECTED, FREE = "with lesion", "without lesion"


def measure_classes(
    card: ModelCard,
    slices: Sequence[Slice],
    *,
    device: torch.device,
    progress: Progress = no_progress,
    cancel: Cancel | None = None,
) -> dict[str, Any]:
    """Overlap of what the installed model marks with the masks, by class, every slice segmented.

    Pixels are pooled over a patient's slices, and patients without the class are not counted for
    it: what is marked where there is no lesion stands by itself. With several classes there is
    also any lesion, for which alone slices with lesion of unnamed class count.

    Parameters
    ----------
    slices
        Their masks hold 1 to n in the order of the card's classes, 0 and ``UNKNOWN_CLASS``.
    """
    cancel = cancel or Cancel()
    network = load_fast_network(card, device)
    names = [c.name for c in card.classes]
    seen: dict[str, list[tuple[str, PixelCounts]]] = {name: [] for name in names}
    if len(names) > 1:
        seen[ANY_LESION] = []
    false_share: dict[str, list[float]] = {s.patient: [] for s in slices}
    for done, item in enumerate(slices):
        cancel.check()
        progress("evaluate", done, len(slices))
        maps = class_maps(item.image, network, card, device, cancel=cancel)
        labels = label_slice(maps, card.classes, None)
        if not item.mask.any():
            false_share[item.patient].append(float((labels > 0).mean()))
        if not (item.mask == UNKNOWN_CLASS).any():
            for i, c in enumerate(card.classes, start=1):
                counts = PixelCounts.of(labels == c.label, item.mask == i)
                seen[c.name].append((item.patient, counts))
        if ANY_LESION in seen:
            counts = PixelCounts.of(labels > 0, item.mask > 0)
            seen[ANY_LESION].append((item.patient, counts))
    progress("evaluate", len(slices), len(slices))
    result: dict[str, Any] = {"patients": len(false_share), "slices": len(slices)}
    for name, rows in seen.items():
        figures = _of_those_who_have_it(rows).compute().per_patient
        for key, said in MEASURES.items():
            result[f"{name}: {said}"] = rounded(figures[key])
    shares = [float(np.mean(values)) if values else None for values in false_share.values()]
    result["marked share of slices without lesion"] = rounded(mean_interval(shares))
    return result


def _of_those_who_have_it(rows: Sequence[tuple[str, PixelCounts]]) -> Overlap:
    have = {patient for patient, counts in rows if counts.truth}
    overlap = Overlap()
    for patient, counts in rows:
        if patient in have:
            overlap.add(counts, patient=patient)
    return overlap


def measure_gate(
    spec: GateSpec, probabilities: NDArray[np.float64], slices: Sequence[Slice]
) -> dict[str, Any]:
    """How the gate's probabilities (N,) tell slices with lesion from those without."""
    truth = [bool(s.mask.any()) for s in slices]
    patients = [s.patient for s in slices]
    judge = Classification(spec, positive=INFECTED, negative=FREE)
    for p, positive, patient in zip(probabilities, truth, patients, strict=True):
        judge.update(float(p), positive, patient=patient)
    figures = judge.compute().slices
    sensitivity = figures.measures[INFECTED]["recall"]
    specificity = figures.measures[FREE]["recall"]
    left_out = probabilities <= spec.segment_above
    names, index = patient_indices(patients)
    areas = np.array([np.count_nonzero(s.mask) for s in slices], np.float64)
    free = ~np.array(truth)

    def share(of: NDArray[Any], among: NDArray[Any]) -> Interval:
        sums = [sums_by_patient(values, index, len(names)) for values in (of * among, among)]
        return ratio_interval(sums[0], sums[1])

    return {
        "slices": len(slices),
        "patients": len(names),
        "area under the ROC curve": rounded(figures.roc.auc),
        f"sensitivity at {spec.threshold:g}": rounded(sensitivity),
        f"specificity at {spec.threshold:g}": rounded(specificity),
        "lesion area on slices left out": rounded(share(left_out, areas)),
        "share of the lesion-free slices left out": rounded(share(left_out, free.astype(float))),
    }


def rounded(found: Interval) -> dict[str, Any]:
    """Value, 95 % interval and the patients it rests on, for a card."""

    def short(value: float | None) -> float | None:
        return None if value is None else round(value, 4)

    limits = [short(found.low), short(found.high)]
    return {"value": short(found.value), "95 % interval": limits, "patients": found.n}
