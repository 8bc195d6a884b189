"""One run of a plan, from its start to its result file."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from CovidLesionSegLogic.assess.tables.build import Starts, build, build_started
from CovidLesionSegLogic.assess.tables.images import Images, training_slices
from CovidLesionSegLogic.assess.tables.plan import Evaluation, Job, RunSchedule
from CovidLesionSegLogic.assess.tables.result import (
    ENTRY,
    RESULT,
    WITH_IMAGES,
    hardware,
    lacking,
    read_json,
    write_arrays,
    write_entry,
)
from CovidLesionSegLogic.assess.tables.scoring import THRESHOLD, score_network
from CovidLesionSegLogic.assess.tables.stopwatch import Stopwatch
from CovidLesionSegLogic.ct.atomic import atomic_path
from CovidLesionSegLogic.engine import Cancel, Progress, describe_device
from CovidLesionSegLogic.errors import InputError
from CovidLesionSegLogic.pipeline import provenance
from CovidLesionSegLogic.quantify.export import write_json

if TYPE_CHECKING:
    import torch
    from torch import nn

    from CovidLesionSegLogic.learn.sources import Slice
    from CovidLesionSegLogic.learn.trainer import Schedule

TRAINING, WEIGHTS, SECONDS = "training", "weights.pt", "seconds.json"


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


def clear(place: Place, job: Job) -> None:
    """Take an earlier run away, whatever it has left."""
    folder = place.folder(job)
    for name in (RESULT, WEIGHTS, SECONDS):
        (folder / name).unlink(missing_ok=True)
    for path in folder.glob("scores-*.npz"):
        path.unlink()
    if (folder / TRAINING).exists():
        shutil.rmtree(folder / TRAINING)
    # Last: as long as it is there, a kill in between leaves a run that is known to be another's.
    (folder / ENTRY).unlink(missing_ok=True)


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
            **(read_json(folder / ENTRY) or {}),
            "plan": job.plan.name,
            "run": job.run.name,
            "seed": job.seed,
            "counts": images.counts(slices),
            "training": read_json(folder / SECONDS),
            "hardware": hardware(),
            "device": describe_device(place.device),
            "software": provenance.software_record(),
            "created": provenance.now(),
            "weights": ["averaged", "raw"] if needs_raw(job) else ["averaged"],
            "evaluations": {},
        }
    for evaluation in lacking(result, job.evaluations):
        _evaluate(job, images, place, evaluation, result, progress=progress, cancel=cancel)
    # Last, and at once: a run without this file is not finished.
    write_json(result, folder / RESULT)
    if (folder / TRAINING).exists():  # the optimiser's state is most of what a run occupies
        shutil.rmtree(folder / TRAINING)


def needs_raw(job: Job) -> bool:
    """Whether a table judges the weights of the last step, too."""
    return any(not e.average for e in job.evaluations)


def to_schedule(schedule: RunSchedule, *, started: bool) -> Schedule:
    """The trainer's schedule; ``started``: the encoder starts from given weights."""
    from CovidLesionSegLogic.learn.trainer import Schedule

    half = (max(1, schedule.steps // 2),) if schedule.decay == "steps" else ()
    return Schedule(
        steps=schedule.steps,
        learning_rate=schedule.learning_rate,
        encoder_factor=schedule.encoder_factor if started else 1.0,
        warmup=round(schedule.warmup_share * schedule.steps),
        weight_decay=schedule.weight_decay,
        clip=schedule.clip,
        average=schedule.average,
        validate_every=schedule.validate_every if schedule.choose == "best" else schedule.steps,
        save_every=100,
        precision=schedule.precision,
        optimiser=schedule.optimiser,
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
    import torch

    from CovidLesionSegLogic.learn.lesions import refnet_batch_loss
    from CovidLesionSegLogic.learn.trainer import Trainer

    folder, schedule = place.folder(job), job.schedule
    if (folder / WEIGHTS).exists():  # stopped between training and evaluation
        return
    torch.manual_seed(job.seed)
    network = build_started(job.run, place.starts).to(place.device)
    started = job.run.init != "random"
    watch = Stopwatch(folder / SECONDS, progress)
    trainer = Trainer(
        network,
        to_schedule(schedule, started=started),
        make_batch=_batches(job, slices),
        loss=refnet_batch_loss,
        validate=_validation(images, schedule),
        folder=folder / TRAINING,
        freeze_encoder_norm=schedule.freeze_encoder_norm and started,
        device=place.device,
        progress=watch.progress,
        cancel=cancel,
        record={"entry": job.entry()},
    )
    with watch.running():
        trainer.run()
    averaged = trainer.averaged.state_dict()
    if schedule.choose == "best":
        best = torch.load(folder / TRAINING / "best.pt", map_location="cpu", weights_only=True)
        averaged = best["network"]
    state = {"averaged": averaged}
    if needs_raw(job):
        state["raw"] = trainer.network.state_dict()
    with atomic_path(folder / WEIGHTS) as temporary:
        torch.save(state, temporary)


def _batches(job: Job, slices: Sequence[Slice]) -> Callable[[int], Any]:
    from CovidLesionSegLogic.learn.lesions import LesionBatches
    from CovidLesionSegLogic.learn.scales import RandomScale, ThreeScales

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
    from CovidLesionSegLogic.assess.slices import dice_at
    from CovidLesionSegLogic.learn.lesions import predict_slice

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


def _kept_weights(path: Path) -> dict[str, Any]:
    import pickle

    import torch

    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"{path} cannot be read ({reason}): remove its folder and run again."
        ) from error


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
    from CovidLesionSegLogic.networks import parameter_count

    folder = place.folder(job)
    state = _kept_weights(folder / WEIGHTS)
    network = build(job.run.network)
    network.load_state_dict(state["averaged" if evaluation.average else "raw"])
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
