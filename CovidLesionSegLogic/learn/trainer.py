"""One training loop for every network: resumable, averaged weights, validation on the way."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from CovidLesionSegLogic.engine import Cancel, Progress, memory_errors_for, no_progress
from CovidLesionSegLogic.errors import CancelledError, RequestError

from .checkpoint import RunFolder, check_same_run
from .precision import autocast, gradient_scaler, resolve_precision
from .schedule import Schedule
from .stopping import validations_without_gain
from .tensors import map_tensors

__all__ = ["Schedule", "Trainer"]

logger = logging.getLogger(__name__)
Batch = TypeVar("Batch")
MEMORY_FOR = "a training step of this batch and image size (smaller ones need less)"


class Trainer(Generic[Batch]):
    """Trains ``network``; killed at any moment, it goes on from its last checkpoint.

    On a CPU, a run that was killed and gone on with ends with the same bits as one that was not:
    batches are drawn by step number, and the state of PyTorch's random numbers is kept.

    Parameters
    ----------
    make_batch
        Step number to batch; called in a background thread, one step ahead. It must not draw from
        PyTorch's global random numbers.
    loss
        (network, batch) to scalar loss, called under autocast.
    validate
        Averaged network to figures by name; a higher ``score`` is better.
    folder
        Checkpoint ``last.pt``, best averaged weights ``best.pt``, log ``log.csv``.
    freeze_encoder_norm
        Keep the batch-norm statistics of ``network.encoder`` as they are.
    device
        Where to train; None: where the network is.
    progress, cancel
        Stage "train" counts steps; cancelling saves a checkpoint and raises CancelledError.
    record
        What else the run depends on (split, data, architecture, seed), JSON-like. It is kept in
        the checkpoint, and a run that differs is not gone on with.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        *,
        make_batch: Callable[[int], Batch],
        loss: Callable[[nn.Module, Batch], Tensor],
        validate: Callable[[nn.Module], dict[str, float]],
        folder: Path,
        freeze_encoder_norm: bool = False,
        device: torch.device | None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        record: Mapping[str, Any] | None = None,
    ) -> None:
        self.device = device or next(network.parameters()).device
        self.precision = resolve_precision(schedule.precision, self.device)
        # In float32 the CPU kernels of many convolutions are slower with the channels last.
        plain = self.device.type == "cpu" and self.precision == "float32"
        layout = torch.contiguous_format if plain else torch.channels_last
        self.network = network.to(  # type: ignore[call-overload]
            self.device, memory_format=layout
        )
        self.averaged = copy.deepcopy(network).eval().requires_grad_(False)
        self.schedule = schedule
        self.make_batch, self.loss, self.validate = make_batch, loss, validate
        self.files = RunFolder(folder)
        self.freeze_encoder_norm = freeze_encoder_norm
        self.progress, self.cancel = progress or no_progress, cancel or Cancel()
        self.record = dict(record or {})
        groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
        for name, parameter in network.named_parameters():
            groups[name.startswith("encoder.")].append(parameter)
        self.base_rates = [
            schedule.learning_rate * (schedule.encoder_factor if encoder else 1.0)
            for encoder, parameters in groups.items()
            if parameters
        ]
        optimiser = torch.optim.AdamW if schedule.optimiser == "adamw" else torch.optim.Adam
        self.optimiser = optimiser(
            [{"params": p} for p in groups.values() if p], weight_decay=schedule.weight_decay
        )
        self.scaler = gradient_scaler(self.precision)
        self.step = 0
        self.best, self.best_step = -math.inf, None  # type: float, int | None
        self.log: list[dict[str, float]] = []
        self.mean_loss, self.counted = 0.0, 0
        self.saved: int | None = None

    def run(self, *, restart: bool = False) -> None:
        """Train from the last checkpoint, if there is one, to the schedule's end or early stop.

        Parameters
        ----------
        restart
            Take away an earlier run in the folder and start at its first step.

        Raises
        ------
        RequestError
            The folder holds a run with another schedule or record (the message names what
            differs), or the loss is no number any more.
        InputError
            The checkpoint cannot be read, or memory runs out.
        CancelledError
            Stopping was asked for; the checkpoint is of the step it stopped at.
        """
        self.files.prepare(restart=restart)
        self._resume()
        started, first, steps = time.monotonic(), self.step, self.schedule.steps
        with ThreadPoolExecutor(1) as pool:
            upcoming = pool.submit(self._next_batch, self.step)
            while True:
                self.progress("train", self.step, steps)
                try:
                    self._validate_and_save()
                    if self.step >= steps or self.stopped_early:
                        upcoming.cancel()
                        return
                    self.cancel.check()
                except CancelledError:
                    self._save()
                    raise
                with memory_errors_for(self.device, MEMORY_FOR):
                    batch = self._to_device(upcoming.result())
                    upcoming = pool.submit(self._next_batch, self.step + 1)
                    value = self._train_step(batch)
                self.counted += 1
                self.mean_loss += (value - self.mean_loss) / min(50, self.counted)
                self.step += 1
                if self.step % 20 == 0:
                    pace = (time.monotonic() - started) / (self.step - first)
                    logger.info("step %d loss %.4f %.2f s/step", self.step, self.mean_loss, pace)

    @property
    def stopped_early(self) -> bool:
        """Whether the validation has not become better for as long as the schedule waits."""
        patience, figure = self.schedule.patience, self.schedule.stop_on
        return bool(patience) and validations_without_gain(self.log, figure) >= patience

    def _next_batch(self, step: int) -> Batch | None:
        if step >= self.schedule.steps:
            return None
        batch = self.make_batch(step)
        # Page-locked memory lets the copy to the GPU overlap with computing.
        return map_tensors(batch, Tensor.pin_memory) if self.device.type == "cuda" else batch

    def _to_device(self, batch: Any) -> Any:
        if self.device.type == "cpu":
            return batch
        return map_tensors(batch, lambda t: t.to(self.device, non_blocking=True))

    def _train_step(self, batch: Batch) -> float:
        self.network.train()
        if self.freeze_encoder_norm:
            for module in self.network.get_submodule("encoder").modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        factor = self.schedule.rate(self.step)
        for group, rate in zip(self.optimiser.param_groups, self.base_rates, strict=True):
            group["lr"] = rate * factor
        with autocast(self.device, self.precision):
            loss = self.loss(self.network, batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise RequestError(
                f"The loss became {value} at step {self.step}: choose a lower learning rate (or "
                "float32 precision) and start over."
            )
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimiser)
        if self.schedule.clip:
            nn.utils.clip_grad_value_(self.network.parameters(), self.schedule.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self._average()
        return value

    @torch.no_grad()
    def _average(self) -> None:
        # A young average would remember the random start: let the window grow with the steps.
        decay = min(self.schedule.average, (1 + self.step) / (10 + self.step))
        mine, theirs = self.averaged.state_dict(), self.network.state_dict()
        for name, value in mine.items():
            if value.dtype.is_floating_point:
                value.lerp_(theirs[name], 1 - decay)
            else:
                value.copy_(theirs[name])

    def _validate_and_save(self) -> None:
        """What is due at the present step and was not done before a kill."""
        if self.step == 0:
            return
        s, last, better = self.schedule, self.step == self.schedule.steps, False
        seen = bool(self.log) and self.log[-1]["step"] == self.step
        if not seen and (last or self.step % s.validate_every == 0):
            better = self._validate()
            if self.stopped_early:
                last = True
                logger.info(
                    "stopped early at step %d of %d: no better %s in %d validations",
                    self.step,
                    s.steps,
                    s.stop_on,
                    s.patience,
                )
        if better or (self.saved != self.step and (last or self.step % s.save_every == 0)):
            self._save(self.averaged.state_dict() if better else None)

    def _validate(self) -> bool:
        """Add a row to the log; True where the averaged weights are the best so far."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):  # validation leaves no trace in the training
            figures = self.validate(self.averaged)
        row = {"step": self.step, "loss": round(self.mean_loss, 4)}
        row |= {k: round(v, 4) for k, v in figures.items()}
        logger.info("validation %s", row)
        self.log.append(row)
        # The first weights are the best even where their score is no number.
        better = self.best_step is None or figures["score"] > self.best
        if better:
            score = figures["score"]
            self.best, self.best_step = (-math.inf if math.isnan(score) else score), self.step
        return better

    def _save(self, best_weights: Mapping[str, Tensor] | None = None) -> None:
        state = {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.device)
            if self.device.type == "cuda"
            else None,
            "step": self.step,
            "best": self.best,
            "best_step": self.best_step,
            "log": self.log,
            "mean_loss": self.mean_loss,
            "counted": self.counted,
            "schedule": asdict(self.schedule),
            "record": self.record,
        }
        self.files.save(state, best_weights)
        self.saved = self.step

    def _resume(self) -> None:
        state = self.files.load()
        if state is None:
            return
        check_same_run(self.files.folder, state, schedule=self.schedule, record=self.record)
        try:
            self.network.load_state_dict(state["network"])
            self.averaged.load_state_dict(state["averaged"])
            self.optimiser.load_state_dict(state["optimiser"])
        except (RuntimeError, ValueError) as error:
            raise RequestError(
                f"The run in {self.files.folder} trains another network: choose another folder, "
                "or start over with --restart."
            ) from error
        if self.scaler.is_enabled() and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"])
        if self.device.type == "cuda" and state["random_cuda"] is not None:
            torch.cuda.set_rng_state(state["random_cuda"], self.device)
        self.step, self.best, self.best_step = state["step"], state["best"], state["best_step"]
        self.log, self.saved = state["log"], state["step"]
        self.mean_loss, self.counted = state["mean_loss"], state["counted"]
        logger.info("resumed at step %d", self.step)
