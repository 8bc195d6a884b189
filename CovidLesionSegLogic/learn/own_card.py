"""The card of a model trained on own data: what it is and what it learnt from."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

import CovidLesionSegLogic
from CovidLesionSegLogic.engine import describe_device

from .class_names import card_classes, not_trained
from .options import FOLDER, REFNET, SPLIT, TrainOptions
from .schedule import Schedule
from .sources import Slice
from .start import PAPERS_ENCODERS, Start
from .trainer import Trainer

TITLES = {"refnet": "Ref-Net", "coarse-refine": "Coarse-refine network"}
CITATIONS = {
    "refnet": "Liu et al., COVID-19 CT image segmentation based on improved Res2Net, Medical "
    "Physics 2022, doi:10.1002/mp.15882",
    "coarse-refine": "Huang et al., IET Image Processing 2022, doi:10.1049/ipr2.12278",
}


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
    same = base is not None and base.architecture["network"] == options.network
    names = [c.name for c in options.named_classes]
    missing = [] if options.network == REFNET else not_trained(names)
    return {
        "name": options.model_name,
        "version": "1.0.0",
        "title": f"{TITLES[options.network]} with the encoder {_encoder(start)}, trained on own "
        "data",
        "task": "lesion",
        "architecture": start.architecture,
        "input": asdict(start.input),
        "classes": _classes(options, start),
        "training": {
            "start": start.story,
            "data": f"own {kind}: {census(training)}",
            "validation data": f"{census(validation)} (patients apart; {FOLDER}/{SPLIT})",
            "schedule": {
                **details,
                "scales": options.scale_rule,
                "batch_size": options.slices_per_step,
            },
            "weights": f"of step {trainer.best_step}, best on validation",
            "encoder batch-norm statistics": "frozen" if start.pretrained else "trained",
            "seed": options.seed,
            "hardware": f"{describe_device(trainer.device)}, {platform.machine()}, computed in "
            f"{trainer.precision}",
            "software": f"CovidLesionSeg {CovidLesionSegLogic.__version__}, "
            f"PyTorch {torch.__version__}",
            **({"not trained": missing} if missing else {}),
        },
        "validation": {},
        "licence": licence,
        "citation": base.citation if base and same else CITATIONS[options.network],
    }


def _encoder(start: Start) -> str:
    return str(start.architecture.get("encoder", PAPERS_ENCODERS[start.architecture["network"]]))


def _classes(options: TrainOptions, start: Start) -> list[dict[str, Any]]:
    base = start.card
    if options.network == REFNET and base is not None:  # trained further with its own class
        return [asdict(base.classes[0]) | {"threshold": 0.5}]
    return card_classes(options.named_classes, base.classes if base is not None else ())
