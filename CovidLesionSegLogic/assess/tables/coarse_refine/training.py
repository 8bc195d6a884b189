"""The training of a run: the same trainer, batches and schedule for every network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from CovidLesionSegLogic.assess.tables.build import build_started
from CovidLesionSegLogic.assess.tables.coarse_refine.data import FREE, LESION, Part, spread
from CovidLesionSegLogic.assess.tables.coarse_refine.place import Place
from CovidLesionSegLogic.assess.tables.coarse_refine.plan import Job, RunSchedule
from CovidLesionSegLogic.assess.tables.stopwatch import Stopwatch
from CovidLesionSegLogic.ct.atomic import atomic_path
from CovidLesionSegLogic.engine import Cancel, Progress
from CovidLesionSegLogic.errors import InputError
from CovidLesionSegLogic.learn.class_batches import ClassBatch, ClassBatches
from CovidLesionSegLogic.learn.classification import train_classifier
from CovidLesionSegLogic.learn.hybrid import hybrid_loss
from CovidLesionSegLogic.learn.labelled import LabelledSlice
from CovidLesionSegLogic.learn.published_augmentation import FivefoldBatches
from CovidLesionSegLogic.learn.schedule import VARIANTS, Schedule
from CovidLesionSegLogic.learn.sources import Slice
from CovidLesionSegLogic.learn.tensors import map_tensors
from CovidLesionSegLogic.learn.trainer import Trainer
from CovidLesionSegLogic.networks.classifier import SliceClassifier

TRAINING, WEIGHTS, SECONDS = "training", "weights.pt", "seconds.json"
VALIDATIONS = {"segmentation": 10, "classification": 5}
"""So often a run of given steps is validated, where anything depends on it."""
VALIDATION_LOSS = "validation_loss"


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
        steps=steps,
        learning_rate=schedule.learning_rate,
        encoder_factor=schedule.encoder_factor if started else 1.0,
        warmup=round(schedule.warmup_share * steps),
        weight_decay=schedule.weight_decay,
        clip=schedule.clip,
        average=schedule.average,
        validate_every=every,
        save_every=min(every, 50),
        precision=schedule.precision,
        optimiser=schedule.optimiser,
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
    watch = Stopwatch(folder / SECONDS, progress)
    trainer = Trainer(
        network,
        to_schedule(schedule, len(seen), started=started),
        make_batch=_batches(job, seen),
        loss=loss,
        validate=LossValidation(held_out, job, loss, cancel) if judged else _unjudged,
        folder=folder / TRAINING,
        freeze_encoder_norm=schedule.freeze_encoder_norm and started,
        device=place.device,
        progress=watch.progress,
        cancel=cancel,
        record={"entry": job.entry()},
    )
    with watch.running():
        trainer.run()
    weights = trainer.averaged.state_dict()
    if schedule.choose == "best":
        best = torch.load(folder / TRAINING / "best.pt", map_location="cpu", weights_only=True)
        weights = best["network"]
    save_weights(folder, weights)


def save_weights(folder: Path, weights: dict[str, Tensor]) -> None:
    """``weights.pt``, whole or not at all."""
    with atomic_path(folder / WEIGHTS) as temporary:
        torch.save({"network": weights}, temporary)


def segmentation_loss(parts: Sequence[str]) -> Callable[[nn.Module, ClassBatch], Tensor]:
    """The named parts of the hybrid loss, on every output of a network."""

    def loss(network: nn.Module, batch: ClassBatch) -> Tensor:
        return hybrid_loss(network(batch.images), batch.masks, batch.known, parts=parts)

    return loss


def _batches(job: Job, slices: Sequence[Slice]) -> Callable[[int], ClassBatch]:
    schedule, seed = job.schedule, job.plan.seed
    if schedule.batches == "fivefold":
        return FivefoldBatches(
            slices, job.channels, batch_size=schedule.batch_size, size=schedule.size, seed=seed
        )
    share = schedule.lesion_share
    return ClassBatches(
        list(slices),
        job.channels,
        mixture={LESION: share} | ({FREE: 1 - share} if share < 1 else {}),
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
    save_weights(folder, network.state_dict())


def check_labels(fold: int, sides: dict[str, list[LabelledSlice]]) -> None:
    """InputError where a side is of one label only."""
    for name, side in sides.items():
        if len({s.positive for s in side}) < 2:
            raise InputError(
                f"The {name} images of fold {fold} are all of one label, infected or not: add "
                "patients of the other kind."
            )


def load_state(folder: Path) -> dict[str, Any]:
    """The weights in a run's folder; InputError where they cannot be read."""
    import pickle

    path = folder / WEIGHTS
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True)["network"])
    except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"{path} cannot be read ({reason}): remove its folder and run again."
        ) from error
