"""What the schedules of both papers' plans have in common: values, reading, the trainer's form."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from CovidLesionSegLogic.assess.tables.fields import Fields
from CovidLesionSegLogic.errors import RequestError


@dataclass(frozen=True, kw_only=True)
class SharedSchedule:
    """How fast and at which size a run trains.

    Attributes
    ----------
    size
        Side of the square images, pixels; also that of the evaluation.
    warmup_share
        Share of the steps in which the learning rate rises.
    decay
        Of the learning rate; each paper's plans have their own names.
    encoder_factor, freeze_encoder_norm
        Factor on the learning rate of an encoder that starts from given weights, and whether its
        batch statistics stay as they are; an encoder with a random start has neither.
    choose
        "last": the last weights; "best": the best by the validation patients.
    """

    batch_size: int
    size: int
    learning_rate: float
    warmup_share: float
    decay: str
    encoder_factor: float
    freeze_encoder_norm: bool
    optimiser: str
    weight_decay: float
    clip: float
    average: float
    precision: str
    choose: str

    def trainer_options(self, steps: int, *, started: bool) -> dict[str, Any]:
        """Arguments of the trainer's ``Schedule`` for so many steps.

        ``started``: the encoder starts from given weights.
        """
        return {
            "steps": steps,
            "learning_rate": self.learning_rate,
            "encoder_factor": self.encoder_factor if started else 1.0,
            "warmup": round(self.warmup_share * steps),
            "weight_decay": self.weight_decay,
            "clip": self.clip,
            "average": self.average,
            "precision": self.precision,
            "optimiser": self.optimiser,
        }


@dataclass(frozen=True)
class ScheduleDefaults:
    """What a plan need not say, and what it may choose from."""

    decays: Collection[str]
    decay: str
    optimiser: str
    clip: float
    least_clip: float
    average: float
    precisions: Collection[str]
    precision: str
    least_batch: int = 1


def read_shared(part: Fields, defaults: ScheduleDefaults) -> dict[str, Any]:
    """The fields of :class:`SharedSchedule`; RequestError where one is wrong."""
    return {
        "batch_size": part.whole("batch_size", least=defaults.least_batch),
        "size": check_size(part.whole("size", least=32), f"In the plan, 'size' of {part.where}"),
        "learning_rate": part.number("learning_rate", low=1e-9, high=1),
        "warmup_share": part.number("warmup_share", 0, low=0, high=1),
        "decay": part.choice("decay", defaults.decays, defaults.decay),
        "encoder_factor": part.number("encoder_factor", 1, low=0, high=100),
        "freeze_encoder_norm": part.flag("freeze_encoder_norm", False),
        "optimiser": part.choice("optimiser", ("adamw", "adam"), defaults.optimiser),
        "weight_decay": part.number("weight_decay", 0, low=0, high=1),
        "clip": part.number("clip", defaults.clip, low=defaults.least_clip, high=1e6),
        "average": part.number("average", defaults.average, low=0, high=0.999999),
        "precision": part.choice("precision", defaults.precisions, defaults.precision),
        "choose": part.choice("choose", ("last", "best"), "last"),
    }


def check_size(size: int, what: str) -> int:
    """The side; RequestError where no network takes it."""
    if size < 32 or size % 32:
        raise RequestError(f"{what} must be a multiple of 32.")
    return size
