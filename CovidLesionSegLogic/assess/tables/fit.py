"""What the trainings of both papers' tables have in common: trainer, weights, what is left."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from CovidLesionSegLogic.assess.tables.result import ENTRY, RESULT, hardware, read_json
from CovidLesionSegLogic.assess.tables.shared_schedule import SharedSchedule
from CovidLesionSegLogic.assess.tables.stopwatch import Stopwatch
from CovidLesionSegLogic.ct.atomic import atomic_path
from CovidLesionSegLogic.engine import Cancel, Progress, describe_device
from CovidLesionSegLogic.errors import InputError
from CovidLesionSegLogic.learn.schedule import Schedule
from CovidLesionSegLogic.learn.trainer import Trainer
from CovidLesionSegLogic.pipeline import provenance

TRAINING, WEIGHTS, SECONDS = "training", "weights.pt", "seconds.json"
Validate = Callable[[nn.Module], dict[str, float]]


class Fitted(Protocol):
    """A run with a seed or a fold."""

    @property
    def schedule(self) -> SharedSchedule: ...
    def entry(self) -> dict[str, Any]: ...


def fit(
    network: nn.Module,
    job: Fitted,
    schedule: Schedule,
    folder: Path,
    *,
    make_batch: Callable[[int], Any],
    loss: Callable[[nn.Module, Any], Tensor],
    validate: Validate,
    started: bool,
    device: torch.device,
    progress: Progress,
    cancel: Cancel,
) -> Trainer:
    """Train ``network`` in the run's ``folder``, or go on; the trainer holds the weights.

    ``started``: the encoder starts from given weights.
    """
    watch = Stopwatch(folder / SECONDS, progress)
    trainer = Trainer(
        network,
        schedule,
        make_batch=make_batch,
        loss=loss,
        validate=validate,
        folder=folder / TRAINING,
        freeze_encoder_norm=job.schedule.freeze_encoder_norm and started,
        device=device,
        progress=watch.progress,
        cancel=cancel,
        record={"entry": job.entry()},
    )
    with watch.running():
        trainer.run()
    return trainer


def chosen_weights(trainer: Trainer, folder: Path, choose: str) -> dict[str, Tensor]:
    """The averaged weights of the last step, or the "best" by the validation patients."""
    if choose == "best":
        best = torch.load(folder / TRAINING / "best.pt", map_location="cpu", weights_only=True)
        return dict(best["network"])
    return dict(trainer.averaged.state_dict())


def save_weights(folder: Path, states: Mapping[str, Mapping[str, Tensor]]) -> None:
    """State dicts by name as ``weights.pt``, whole or not at all."""
    with atomic_path(folder / WEIGHTS) as temporary:
        torch.save(dict(states), temporary)


def load_weights(folder: Path, name: str) -> dict[str, Tensor]:
    """The state dict of that name in a run's folder; InputError where it cannot be read."""
    path = folder / WEIGHTS
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True)[name])
    except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"{path} cannot be read ({reason}): remove its folder and run again."
        ) from error


def run_record(folder: Path, device: torch.device) -> dict[str, Any]:
    """Of a result: the entry, how long the training took, on what and with what."""
    return {
        **(read_json(folder / ENTRY) or {}),
        "training": read_json(folder / SECONDS),
        "hardware": hardware(),
        "device": describe_device(device),
        "software": provenance.software_record(),
        "created": provenance.now(),
    }


def clear_training(folder: Path) -> None:
    """Take the checkpoints away: the optimiser's state is most of what a run occupies."""
    if (folder / TRAINING).exists():
        shutil.rmtree(folder / TRAINING)


def clear_run(folder: Path) -> None:
    """Take an earlier run away, whatever it has left."""
    for name in (RESULT, WEIGHTS, SECONDS):
        (folder / name).unlink(missing_ok=True)
    for path in folder.glob("scores-*.npz"):
        path.unlink()
    clear_training(folder)
    # Last: as long as it is there, a kill in between leaves a run that is known to be another's.
    (folder / ENTRY).unlink(missing_ok=True)
