"""One run of a plan, from its start to its result file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from CovidLesionSegLogic.assess.slices import dice_at
from CovidLesionSegLogic.assess.tables.build import Starts, build, build_started
from CovidLesionSegLogic.assess.tables.fit import (
    WEIGHTS,
    chosen_weights,
    clear_training,
    fit,
    load_weights,
    run_record,
    save_weights,
)
from CovidLesionSegLogic.assess.tables.images import Images, training_slices
from CovidLesionSegLogic.assess.tables.plan import Evaluation, Job, RunSchedule
from CovidLesionSegLogic.assess.tables.result import (
    RESULT,
    WITH_IMAGES,
    lacking,
    read_json,
    write_arrays,
    write_entry,
)
from CovidLesionSegLogic.assess.tables.scoring import THRESHOLD, score_network
from CovidLesionSegLogic.engine import Cancel, Progress
from CovidLesionSegLogic.learn.lesions import LesionBatches, predict_slice, refnet_batch_loss
from CovidLesionSegLogic.learn.scales import RandomScale, ThreeScales
from CovidLesionSegLogic.learn.schedule import Schedule
from CovidLesionSegLogic.learn.sources import Slice
from CovidLesionSegLogic.networks import parameter_count
from CovidLesionSegLogic.quantify.export import write_json


@dataclass(frozen=True)
class Place:
    """Where a plan's runs read and write, and on what they compute."""

    data: Path
    output: Path
    starts: Starts
    device: torch.device

    def folder(self, job: Job) -> Path:
        """The run's own folder."""
        return self.output / "runs" / job.folder

    def maps(self, job: Job, evaluation: Evaluation) -> Path:
        """Where the run's soft maps go: they show images."""
        return self.output / WITH_IMAGES / f"{job.folder}-{evaluation.key}.npz"


def perform(job: Job, images: Images, place: Place, *, progress: Progress, cancel: Cancel) -> None:
    """Train (or go on training) and evaluate; the run's folder then holds its result.

    Raises
    ------
    CancelledError
        Stopping was asked for; the next call goes on.
    InputError, RequestError
        The run cannot be done: weights that do not fit, data that are missing.
    """
    folder = place.folder(job)
    result = read_json(folder / RESULT)
    if result is None:
        write_entry(folder, job, place.starts.files(job.run))
        slices = training_slices(place.data, job.run, images, place.starts.slices)
        _train(job, slices, images, place, progress=progress, cancel=cancel)
        result = {
            **run_record(folder, place.device),
            "plan": job.plan.name,
            "run": job.run.name,
            "seed": job.seed,
            "counts": images.counts(slices),
            "weights": ["averaged", "raw"] if needs_raw(job) else ["averaged"],
            "evaluations": {},
        }
    for evaluation in lacking(result, job.evaluations):
        _evaluate(job, images, place, evaluation, result, progress=progress, cancel=cancel)
    # Last, and at once: a run without this file is not finished.
    write_json(result, folder / RESULT)
    clear_training(folder)


def needs_raw(job: Job) -> bool:
    """Whether a table judges the weights of the last step, too."""
    return any(not e.average for e in job.evaluations)


def to_schedule(schedule: RunSchedule, *, started: bool) -> Schedule:
    """The trainer's schedule; ``started``: the encoder starts from given weights."""
    half = (max(1, schedule.steps // 2),) if schedule.decay == "steps" else ()
    return Schedule(
        **schedule.trainer_options(schedule.steps, started=started),
        validate_every=schedule.validate_every if schedule.choose == "best" else schedule.steps,
        save_every=100,
        decay=schedule.decay,
        decay_at=half,
    )


def _train(
    job: Job,
    slices: Sequence[Slice],
    images: Images,
    place: Place,
    *,
    progress: Progress,
    cancel: Cancel,
) -> None:
    folder, schedule = place.folder(job), job.schedule
    if (folder / WEIGHTS).exists():  # stopped between training and evaluation
        return
    torch.manual_seed(job.seed)
    network = build_started(job.run, place.starts).to(place.device)
    started = job.run.init != "random"
    trainer = fit(
        network,
        job,
        to_schedule(schedule, started=started),
        folder,
        make_batch=_batches(job, slices),
        loss=refnet_batch_loss,
        validate=_validation(images, schedule),
        started=started,
        device=place.device,
        progress=progress,
        cancel=cancel,
    )
    states = {"averaged": chosen_weights(trainer, folder, schedule.choose)}
    if needs_raw(job):
        states["raw"] = trainer.network.state_dict()
    save_weights(folder, states)


def _batches(job: Job, slices: Sequence[Slice]) -> Callable[[int], Any]:
    schedule = job.schedule
    batches = LesionBatches(
        slices,
        mixture=job.run.data,
        batch_size=schedule.batch_size,
        sizes=(schedule.size,),
        seed=job.seed,
        sampling=schedule.sampling,
        augment=job.run.augmentation,
    )
    if schedule.scales == "three":
        return ThreeScales(batches)
    return RandomScale(batches, seed=job.seed) if schedule.scales == "one" else batches


def _validation(images: Images, schedule: RunSchedule) -> Callable[[nn.Module], dict[str, float]]:
    """Mean Dice at 0.5 over the validation slices; without any, nothing is chosen by a score."""

    def validate(network: nn.Module) -> dict[str, float]:
        if schedule.choose == "last":
            return {"score": 0.0}
        dice = [
            dice_at(
                predict_slice(network, s.image, schedule.size, reduced=False),
                s.mask > 0,
                THRESHOLD,
            )
            for s in images.validation
        ]
        return {"score": float(np.mean([1.0 if d is None else d for d in dice]))}

    return validate


def _evaluate(
    job: Job,
    images: Images,
    place: Place,
    evaluation: Evaluation,
    result: dict[str, Any],
    *,
    progress: Progress,
    cancel: Cancel,
) -> None:
    folder = place.folder(job)
    network = build(job.run.network)
    network.load_state_dict(load_weights(folder, "averaged" if evaluation.average else "raw"))
    network.to(place.device)

    def told(done: int, total: int) -> None:
        cancel.check()
        progress("evaluate", done, total)

    scores = score_network(
        network,
        images.test,
        job.schedule.size,
        flips=evaluation.flips,
        progress=told,
    )
    write_arrays(folder / f"scores-{evaluation.key}.npz", scores.curves)
    write_arrays(place.maps(job, evaluation), scores.maps)
    result["parameters"] = parameter_count(network)
    result["evaluations"][evaluation.key] = {
        "images": scores.images,
        "seconds": scores.seconds,
        "precision": "float32",
    }
