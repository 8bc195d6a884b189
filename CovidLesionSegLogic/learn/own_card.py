"""The card of a model trained on own data: what it is and what it learnt from."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

import CovidLesionSegLogic
from CovidLesionSegLogic.engine import describe_device

from .options import FOLDER, SPLIT, TrainOptions
from .schedule import Schedule
from .sources import Slice
from .start import Start
from .trainer import Trainer


def card_template(
    options: TrainOptions,
    start: Start,
    schedule: Schedule,
    trainer: Trainer[Any],
    training: Sequence[Slice],
    validation: Sequence[Slice],
) -> dict[str, Any]:
    """The model card without its weights and measured figures."""
    base = start.card

    def census(slices: Sequence[Slice]) -> str:
        patients = len({s.patient for s in slices})
        lesion = sum(bool(s.mask.any()) for s in slices)
        return f"{len(slices)} slices, {lesion} of them with lesion, of {patients} patients"

    kind = "8-bit pictures" if options.images else "CT volumes, slices cropped to the lungs"
    licence = "not stated by who trained it"
    if base is not None and base.licence:
        licence += f"; it started from {base.name} {base.version}: {base.licence}"
    details: Mapping[str, Any] = asdict(schedule)
    infection = {"name": "infection", "label": 1, "threshold": 0.5, "color": [220, 50, 50]}
    if base is not None:
        terminology = base.classes[0].terminology
        infection = asdict(base.classes[0]) | {"threshold": 0.5, "terminology": terminology}
    return {
        "name": options.name,
        "version": "1.0.0",
        "title": f"Ref-Net with the encoder {start.architecture['encoder']}, trained on own data",
        "task": "lesion",
        "architecture": start.architecture,
        "input": asdict(start.input),
        "classes": [infection],
        "training": {
            "start": start.story,
            "data": f"own {kind}: {census(training)}",
            "validation data": f"{census(validation)} (patients apart; {FOLDER}/{SPLIT})",
            "schedule": {
                **details,
                "scales": options.scales,
                "batch_size": options.slices_per_step,
            },
            "weights": f"of step {trainer.best_step}, best on validation",
            "encoder batch-norm statistics": "frozen" if start.pretrained else "trained",
            "seed": options.seed,
            "hardware": f"{describe_device(trainer.device)}, {platform.machine()}, computed in "
            f"{trainer.precision}",
            "software": f"CovidLesionSeg {CovidLesionSegLogic.__version__}, "
            f"PyTorch {torch.__version__}",
        },
        "validation": {},
        "licence": licence,
        "citation": base.citation
        if base
        else "Liu et al., COVID-19 CT image segmentation based on improved Res2Net, Medical "
        "Physics 2022, doi:10.1002/mp.15882",
    }
