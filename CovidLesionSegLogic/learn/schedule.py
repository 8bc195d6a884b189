"""How long, how fast and by which optimiser a network is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
OPTIMISERS = ("adamw", "adam")
DECAYS = ("cosine", "steps")
VARIANTS = 5
"""Of each slice in the coarse-refine paper's augmentation (section 2.3)."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes
    ----------
    steps, warmup
        Optimiser steps in all, and those of the linear warm-up; the decay follows.
    learning_rate, encoder_factor
        Peak rate, and its factor for parameters under ``encoder.`` (pretrained ones move less).
    weight_decay
        Decoupled with "adamw", an L2 penalty with "adam".
    clip
        Element-wise gradient clip: every gradient value is cut to -clip...clip; 0: none.
    average
        Decay of the exponential moving average of the weights, which is what gets released; 0:
        the weights themselves.
    validate_every, save_every
        In steps; the last step does both.
    precision
        "float32", "bfloat16", "float16" (CUDA only, with scaled gradients) or "auto", the fastest
        that the device has; autocast: weights and losses stay float32.
    optimiser
        "adamw" or "adam".
    decay
        "cosine": to zero at the end. "steps": times ``decay_factor`` from each step of
        ``decay_at`` on.
    patience, stop_on
        The training ends early after ``patience`` validations in a row without a better figure
        ``stop_on``: "score", or the name of a loss (lower is better); 0: it runs to its last step.

    Raises
    ------
    ValueError
        A value is out of its range; the message names it.
    """

    steps: int
    learning_rate: float = 1.5e-4
    encoder_factor: float = 1.0
    warmup: int = 100
    weight_decay: float = 1e-4
    clip: float = 0.5
    average: float = 0.998
    validate_every: int = 500
    save_every: int = 200
    precision: str = "bfloat16"
    optimiser: str = "adamw"
    decay: str = "cosine"
    decay_at: tuple[int, ...] = ()
    decay_factor: float = 0.1
    patience: int = 0
    stop_on: str = "score"

    def __post_init__(self) -> None:
        for name in ("steps", "validate_every", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("encoder_factor", "warmup", "weight_decay", "clip", "patience"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, not {getattr(self, name)}")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise ValueError(f"learning_rate must be positive, not {self.learning_rate}")
        if not 0 <= self.average < 1:
            raise ValueError(f"average must be from 0 to below 1, not {self.average}")
        for name, known in (
            ("precision", PRECISIONS),
            ("optimiser", OPTIMISERS),
            ("decay", DECAYS),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}, not {getattr(self, name)!r}")

    @classmethod
    def published(
        cls,
        slices: int,
        *,
        batch_size: int = 2,
        epochs: int = 100,
        steps_per_batch: int = 3,
        precision: str = "auto",
    ) -> Schedule:
        """Ref-Net's own (paper section 3.2; Adam, clip and decay as in its public relatives).

        Adam at 1e-4, gradients clipped to 0.5 by element, rate times 0.1 from half of the epochs
        on, no warm-up, no weight decay, no averaging.

        Parameters
        ----------
        slices
            Training slices, from which the steps of an epoch follow.
        steps_per_batch
            3 with :class:`~CovidLesionSegLogic.learn.scales.ThreeScales`, otherwise 1.
        """
        epoch = math.ceil(slices / batch_size) * steps_per_batch
        half = epochs // 2 * epoch
        return cls._as_printed(
            epoch, epochs, precision, learning_rate=1e-4, clip=0.5, decay_at=(half,)
        )

    @classmethod
    def published_coarse_refine(
        cls,
        slices: int,
        *,
        batch_size: int = 8,
        epochs: int = 200,
        patience: int = 20,
        stop_on: str = "validation_loss",
        precision: str = "auto",
    ) -> Schedule:
        """The coarse-refine network's own (paper section 3.1), for all methods of its tables.

        Adam at a constant 3e-4, up to 200 epochs of which each sees the five variants of every
        slice, early stopping; the paper names no clip, warm-up, decay or averaging. It is
        validated once per epoch, so ``patience`` counts epochs (20 is our reading of "increases
        too much").

        Parameters
        ----------
        slices
            Training slices before the augmentation, from which the steps of an epoch follow.
        """
        epoch = math.ceil(VARIANTS * slices / batch_size)
        return cls._as_printed(
            epoch,
            epochs,
            precision,
            learning_rate=3e-4,
            clip=0.0,
            patience=patience,
            stop_on=stop_on,
        )

    @classmethod
    def _as_printed(cls, epoch: int, epochs: int, precision: str, **own: Any) -> Schedule:
        """What both papers leave out: warm-up, weight decay, averaging; validated each epoch."""
        return cls(
            steps=epochs * epoch,
            warmup=0,
            weight_decay=0.0,
            average=0.0,
            validate_every=epoch,
            save_every=epoch,
            precision=precision,
            optimiser="adam",
            decay="steps",
            **own,
        )

    def rate(self, step: int) -> float:
        """Factor on the learning rate at ``step``, from 0 to 1."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        if self.decay == "steps":
            return self.decay_factor ** sum(step >= at for at in self.decay_at)
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
