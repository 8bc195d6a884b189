"""What a training on own data is made of: schedule, batches, loss and validation by network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from CovidLesionSegLogic.engine import Cancel
from CovidLesionSegLogic.errors import RequestError

from .batches import LesionBatches, refnet_batch_loss
from .class_batches import ClassBatches, hybrid_batch_loss
from .class_validation import ClassValidation
from .folder import FREE_SOURCE, SOURCE
from .options import REFNET, TrainOptions
from .published_augmentation import FivefoldBatches
from .scales import FACTORS, RandomScale, ThreeScales, scaled_size
from .schedule import Schedule
from .sources import Slice
from .tensors import map_tensors
from .validation import PatientValidation

MIXTURE = {SOURCE: 0.8, FREE_SOURCE: 0.2}
STEPS = 1000
# Of the coarse-refine network the paper's (section 3.1).
LEARNING_RATES = {"refnet": 1e-4, "coarse-refine": 3e-4}


@dataclass(frozen=True)
class Recipe:
    """Of a training, what the trainer calls: step to batch, loss, and validation."""

    make_batch: Callable[[int], Any]
    loss: Callable[[nn.Module, Any], Tensor]
    validate: Callable[[nn.Module], dict[str, float]]


def make_schedule(options: TrainOptions, slices: int, *, pretrained: bool) -> Schedule:
    """How long and how fast, for so many training slices; RequestError where that cannot be."""
    if options.schedule == "published":
        if options.network != REFNET:
            return Schedule.published_coarse_refine(slices, batch_size=options.slices_per_step)
        per_batch = len(FACTORS) if options.scale_rule == "three" else 1
        return Schedule.published(
            slices, batch_size=options.slices_per_step, steps_per_batch=per_batch
        )
    steps = options.steps or STEPS
    try:
        return Schedule(
            steps=steps,
            learning_rate=options.learning_rate or LEARNING_RATES[options.network],
            # What has been learnt already moves less.
            encoder_factor=0.5 if pretrained else 1.0,
            warmup=min(100, steps // 10),
            validate_every=max(1, min(200, steps // 5)),
            save_every=max(1, min(100, steps // 5)),
            precision="auto",
        )
    except ValueError as error:
        raise RequestError(f"The schedule cannot be: {error}.") from error


def make_recipe(
    options: TrainOptions,
    training: Sequence[Slice],
    validation: Sequence[Slice],
    *,
    precision: str,
    cancel: Cancel,
) -> Recipe:
    """Batches, loss and validation of the network that is asked for."""
    if options.network == REFNET:
        judge = PatientValidation(validation, size=options.size, precision=precision, cancel=cancel)
        return Recipe(_refnet_batches(options, training), refnet_batch_loss, judge)
    names = [c.name for c in options.named_classes]
    by_class = ClassValidation(
        validation, names, size=options.size, precision=precision, cancel=cancel
    )
    batches = _class_batches(options, training)
    if options.schedule != "published":
        return Recipe(batches, hybrid_batch_loss, by_class)
    by_loss = LossValidation(
        validation, by_class, batch_size=options.slices_per_step, cancel=cancel
    )
    return Recipe(batches, hybrid_batch_loss, by_loss)


def _refnet_batches(options: TrainOptions, training: Sequence[Slice]) -> Callable[[int], Any]:
    batches = LesionBatches(
        training,
        mixture=MIXTURE,
        batch_size=options.slices_per_step,
        sizes=(options.size,),
        seed=options.seed,
        sampling="epochs" if options.schedule == "published" else "mixture",
    )
    if options.scale_rule == "three":
        return ThreeScales(batches)
    return RandomScale(batches, seed=options.seed) if options.scale_rule == "one" else batches


def _class_batches(options: TrainOptions, training: Sequence[Slice]) -> Callable[[int], Any]:
    n_classes = len(options.named_classes)
    if options.schedule == "published":
        return FivefoldBatches(
            training,
            n_classes,
            batch_size=options.slices_per_step,
            size=options.size,
            seed=options.seed,
        )
    factors = FACTORS if options.scale_rule == "one" else (1.0,)
    return ClassBatches(
        list(training),
        n_classes,
        mixture=MIXTURE,
        batch_size=options.slices_per_step,
        sizes=tuple(scaled_size(options.size, factor) for factor in factors),
        seed=options.seed,
    )


class LossValidation:
    """The mean hybrid loss on the validation slices as they are, besides the figures by class.

    The published schedule stops by ``validation_loss`` ("monitors the loss on the validation
    dataset", section 3.1); ``score``, by which the best weights are kept, is the same with its
    sign changed.
    """

    def __init__(
        self,
        slices: Sequence[Slice],
        by_class: ClassValidation,
        *,
        batch_size: int,
        cancel: Cancel,
    ) -> None:
        self.by_class, self.cancel = by_class, cancel
        size = min(batch_size, len(slices))
        self.steps = math.ceil(len(slices) / size)
        self.batches = ClassBatches(
            list(slices),
            len(by_class.names),
            batch_size=size,
            sizes=(by_class.size,),
            sampling="epochs",
            augment=False,
        )

    @torch.inference_mode()
    def __call__(self, network: nn.Module) -> dict[str, float]:
        device = next(network.parameters()).device
        losses = []
        for step in range(self.steps):
            self.cancel.check()
            batch = map_tensors(self.batches(step), lambda tensor: tensor.to(device))
            losses.append(float(hybrid_batch_loss(network, batch)))
        loss = sum(losses) / len(losses)
        return self.by_class(network) | {"validation_loss": loss, "score": -loss}
