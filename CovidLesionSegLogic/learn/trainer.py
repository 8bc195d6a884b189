"""One training loop for every network: resumable, averaged weights, validation on the way."""

from __future__ import annotations

import copy
import csv
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from CovidLesionSegLogic.ct import atomic_path

logger = logging.getLogger(__name__)
Batch = TypeVar("Batch")


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes
    ----------
    steps, warmup
        Optimiser steps in all, and those of the linear warm-up; cosine decay follows.
    learning_rate, encoder_factor
        Peak rate, and its factor for parameters under ``encoder.`` (pretrained ones move less).
    clip
        Element-wise gradient clip.
    average
        Decay of the exponential moving average of the weights, which is what gets released.
    validate_every, save_every
        In steps.
    precision
        "float32" or "bfloat16" (autocast; weights and losses stay float32).
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

    def rate(self, step: int) -> float:
        """Factor on the learning rate at ``step``, from 0 to 1."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


class Trainer(Generic[Batch]):
    """Trains ``network``; killed at any moment, it goes on from its last checkpoint.

    Batches are drawn by step number, so that a resumed run sees the same batches.

    Parameters
    ----------
    make_batch
        Step number to batch; called in a background thread, one step ahead.
    loss
        (network, batch) to scalar loss, called under autocast.
    validate
        Averaged network to figures by name; a higher ``score`` is better.
    folder
        Checkpoint ``last.pt``, best averaged weights ``best.pt``, log ``log.csv``.
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
    ) -> None:
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged = copy.deepcopy(network).eval().requires_grad_(False)
        self.schedule = schedule
        self.make_batch, self.loss, self.validate = make_batch, loss, validate
        self.folder = folder
        self.freeze_encoder_norm = freeze_encoder_norm
        groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
        for name, parameter in network.named_parameters():
            groups[name.startswith("encoder.")].append(parameter)
        self.base_rates = [
            schedule.learning_rate * (schedule.encoder_factor if encoder else 1.0)
            for encoder, parameters in groups.items()
            if parameters
        ]
        self.optimiser = torch.optim.AdamW(
            [{"params": p} for p in groups.values() if p], weight_decay=schedule.weight_decay
        )
        self.step = 0
        self.best = -math.inf

    def run(self) -> None:
        """Train from the last checkpoint, if there is one, to the end of the schedule."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        started, first = time.monotonic(), self.step
        mean_loss = 0.0
        with ThreadPoolExecutor(1) as pool:
            upcoming = pool.submit(self.make_batch, self.step)
            while self.step < self.schedule.steps:
                batch = upcoming.result()
                upcoming = pool.submit(self.make_batch, self.step + 1)
                value = self._train_step(batch)
                mean_loss += (value - mean_loss) / min(50, self.step - first + 1)
                self.step += 1
                last = self.step == self.schedule.steps
                if self.step % 20 == 0:
                    pace = (time.monotonic() - started) / (self.step - first)
                    logger.info("step %d loss %.4f %.2f s/step", self.step, mean_loss, pace)
                if last or self.step % self.schedule.validate_every == 0:
                    self._validate(mean_loss)
                if last or self.step % self.schedule.save_every == 0:
                    self._save("last.pt", self._state())

    def _train_step(self, batch: Batch) -> float:
        self.network.train()
        if self.freeze_encoder_norm:
            for module in self.network.encoder.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        factor = self.schedule.rate(self.step)
        for group, rate in zip(self.optimiser.param_groups, self.base_rates, strict=True):
            group["lr"] = rate * factor
        reduced = self.schedule.precision == "bfloat16"
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=reduced):
            loss = self.loss(self.network, batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss is {value} at step {self.step}")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_value_(self.network.parameters(), self.schedule.clip)
        self.optimiser.step()
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

    def _validate(self, loss: float) -> None:
        figures = self.validate(self.averaged)
        row = {"step": self.step, "loss": round(loss, 4)}
        row |= {k: round(v, 4) for k, v in figures.items()}
        logger.info("validation %s", row)
        path = self.folder / "log.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if new:
                writer.writeheader()
            writer.writerow(row)
        if figures["score"] > self.best:
            self.best = figures["score"]
            self._save("best.pt", {"network": self.averaged.state_dict(), "step": self.step})

    def _state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "best": self.best,
            "schedule": asdict(self.schedule),
        }

    def _save(self, name: str, state: dict[str, Any]) -> None:
        with atomic_path(self.folder / name) as temporary:
            torch.save(state, temporary)

    def _resume(self) -> None:
        path = self.folder / "last.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.best = state["step"], state["best"]
        logger.info("resumed at step %d", self.step)
