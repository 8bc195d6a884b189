"""The training of a run: the same trainer, batches and schedule for every network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from CovidLesionSegLogic.assess.tables.build import build_started
from CovidLesionSegLogic.assess.tables.coarse_refine.data import FREE, LESION, Part, spread
from CovidLesionSegLogic.assess.tables.coarse_refine.place import Place
from CovidLesionSegLogic.assess.tables.coarse_refine.plan import Job, RunSchedule
from CovidLesionSegLogic.assess.tables.fit import (
    SECONDS,
    TRAINING,
    chosen_weights,
    fit,
    save_weights,
)
from CovidLesionSegLogic.assess.tables.stopwatch import Stopwatch
from CovidLesionSegLogic.engine import Cancel, Progress
from CovidLesionSegLogic.errors import InputError
from CovidLesionSegLogic.learn.class_batches import ClassBatch, ClassBatches, by_rarest_class
from CovidLesionSegLogic.learn.classification import train_classifier
from CovidLesionSegLogic.learn.hybrid import hybrid_loss
from CovidLesionSegLogic.learn.labelled import LabelledSlice
from CovidLesionSegLogic.learn.published_augmentation import FivefoldBatches
from CovidLesionSegLogic.learn.schedule import VARIANTS, Schedule
from CovidLesionSegLogic.learn.sources import Slice
from CovidLesionSegLogic.learn.tensors import map_tensors
from CovidLesionSegLogic.networks.classifier import SliceClassifier

VALIDATIONS = {"segmentation": 10, "classification": 5}
"""So often a run of given steps is validated, where anything depends on it."""
VALIDATION_LOSS = "validation_loss"
NETWORK = "network"
"""Of the weights in a run's ``weights.pt``."""


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Steps that show the five variants of every image once."""
    return math.ceil(VARIANTS * images / batch_size)


def to_schedule(
    schedule: RunSchedule, images: int, *, started: bool, kind: str = "segmentation"
) -> Schedule:
    """The trainer's schedule for so many training images.

    ``started``: the encoder starts from given weights.
    """
    epoch = steps_per_epoch(images, schedule.batch_size)
    steps = schedule.steps if schedule.steps is not None else (schedule.epochs or 1) * epoch
    if schedule.epochs is not None:
        every = epoch
    elif schedule.patience or schedule.choose == "best" or kind == "classification":
        every = max(1, math.ceil(steps / VALIDATIONS[kind]))
    else:
        every = steps
    return Schedule(
        **schedule.trainer_options(steps, started=started),
        validate_every=every,
        save_every=min(every, 50),
        # Without a step to decay at the rate stays as it is.
        decay="cosine" if schedule.decay == "cosine" else "steps",
        patience=schedule.patience,
        stop_on=VALIDATION_LOSS,
    )


def train_segmentation(
    job: Job,
    training: Part,
    validation: Part,
    place: Place,
    *,
    progress: Progress,
    cancel: Cancel,
) -> None:
    """Train, or go on; ``weights.pt`` in the run's folder then holds the weights.

    Raises
    ------
    InputError
        No training image has lesion, or a start does not fit.
    """
    folder, schedule, run = place.folder(job), job.schedule, job.run
    seen = [image.sample(run.classes) for image in training.segmented]
    if not any(s.source == LESION for s in seen):
        raise InputError(
            f"No training image of fold {job.fold} has outlined lesion: add patients with masks."
        )
    torch.manual_seed(job.plan.seed)
    run = run.built_for(len(job.plan.classes))
    network = build_started(run, place.starts).to(place.device)
    started = run.init != "random"
    loss = segmentation_loss(run.loss)
    judged = schedule.choose == "best" or schedule.patience > 0
    held_out = [image.sample(run.classes) for image in validation.segmented]
    planned = to_schedule(schedule, len(seen), started=started)
    trainer = fit(
        network,
        job,
        planned,
        folder,
        make_batch=_with_beginning(_batches(job, seen), round(run.bce_share * planned.steps)),
        loss=loss,
        validate=LossValidation(held_out, job, loss, cancel) if judged else _unjudged,
        started=started,
        device=place.device,
        progress=progress,
        cancel=cancel,
    )
    save_weights(folder, {NETWORK: chosen_weights(trainer, folder, schedule.choose)})


def segmentation_loss(parts: Sequence[str]) -> Callable[[nn.Module, ClassBatch], Tensor]:
    """The named parts of the hybrid loss, on every output of a network; early BCE alone."""

    def loss(network: nn.Module, batch: ClassBatch) -> Tensor:
        judged = ("bce",) if batch.early else parts
        return hybrid_loss(network(batch.images), batch.masks, batch.known, parts=judged)

    return loss


def _with_beginning(
    make_batch: Callable[[int], ClassBatch], steps: int
) -> Callable[[int], ClassBatch]:
    """The same batches, those of the first ``steps`` marked as early."""
    if not steps:
        return make_batch
    return lambda step: replace(make_batch(step), early=step < steps)


def _batches(job: Job, slices: Sequence[Slice]) -> Callable[[int], ClassBatch]:
    schedule, seed = job.schedule, job.plan.seed
    if schedule.batches == "fivefold":
        return FivefoldBatches(
            slices, job.channels, batch_size=schedule.batch_size, size=schedule.size, seed=seed
        )
    drawn = by_rarest_class(slices)
    kinds = sorted({s.source for s in drawn} - {FREE})
    shares = {kind: schedule.lesion_share / len(kinds) for kind in kinds}
    return ClassBatches(
        drawn,
        job.channels,
        mixture=shares | ({FREE: 1 - schedule.lesion_share} if schedule.lesion_share < 1 else {}),
        batch_size=schedule.batch_size,
        sizes=(schedule.size,),
        seed=seed,
    )


def _unjudged(network: nn.Module) -> dict[str, float]:
    """Nothing depends on a validation."""
    return {"score": 0.0}


class LossValidation:
    """Mean loss over the validation images as they are: what the paper stops by (3.1)."""

    def __init__(
        self,
        slices: Sequence[Slice],
        job: Job,
        loss: Callable[[nn.Module, ClassBatch], Tensor],
        cancel: Cancel,
    ) -> None:
        if not slices:
            raise InputError(
                f"The validation patients of fold {job.fold} have no image with a mask: add "
                "patients with masks, or give other --folds."
            )
        size = job.schedule.batch_size
        self.steps = math.ceil(len(slices) / size)
        self.batches = ClassBatches(
            list(slices),
            job.channels,
            batch_size=size,
            sizes=(job.schedule.size,),
            sampling="epochs",
            augment=False,
        )
        self.loss, self.cancel = loss, cancel

    @torch.inference_mode()
    def __call__(self, network: nn.Module) -> dict[str, float]:
        device = next(network.parameters()).device
        total = 0.0
        for step in range(self.steps):
            self.cancel.check()
            batch = map_tensors(self.batches(step), lambda t: t.to(device))
            total += float(self.loss(network, batch))
        mean = total / self.steps
        return {"score": -mean, VALIDATION_LOSS: mean}


def labelled(part: Part, most: int) -> list[LabelledSlice]:
    """Images of a part for gate and classifier, at most ``most`` of a patient."""
    chosen = spread(part.images, [image.patient for image in part.images], most)
    return [image.labelled() for image in chosen]


def train_baseline(
    job: Job,
    training: Part,
    validation: Part,
    place: Place,
    *,
    progress: Progress,
    cancel: Cancel,
) -> None:
    """The classifier "trained from scratch" of Table 6.

    Raises
    ------
    InputError
        Training or validation images are of one label only.
    """
    folder, schedule, most = place.folder(job), job.schedule, job.plan.per_patient
    seen, held_out = labelled(training, most), labelled(validation, most)
    check_labels(job.fold, {"training": seen, "validation": held_out})
    torch.manual_seed(job.plan.seed)
    network = SliceClassifier(**job.run.network).to(place.device)
    watch = Stopwatch(folder / SECONDS, progress)
    with watch.running():
        train_classifier(
            network,
            seen,
            held_out,
            to_schedule(schedule, len(seen), started=False, kind="classification"),
            folder / TRAINING,
            size=schedule.size,
            batch_size=schedule.batch_size,
            seed=job.plan.seed,
            sampling="published" if schedule.batches == "fivefold" else "balanced",
            device=place.device,
            progress=watch.progress,
            cancel=cancel,
        )
    save_weights(folder, {NETWORK: network.state_dict()})


def check_labels(fold: int, sides: dict[str, list[LabelledSlice]]) -> None:
    """InputError where a side is of one label only."""
    for name, side in sides.items():
        if len({s.positive for s in side}) < 2:
            raise InputError(
                f"The {name} images of fold {fold} are all of one label, infected or not: add "
                "patients of the other kind."
            )
