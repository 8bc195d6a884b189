"""Training runs that are really killed: ``python killed_training.py FOLDER``.

Forks a process for each moment, lets it kill itself (SIGKILL) there, and another that goes on to
the end; the folder then holds one run for each moment, and the run "whole", never killed.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import torch
import torch._dynamo  # the optimisers import it at their first step; here once for all children
from torch import nn

from CovidLesionSegLogic.learn import checkpoint
from CovidLesionSegLogic.learn.trainer import Schedule, Trainer

STEPS = 24
# By step; up and down, so that some validations are the best so far and others are not.
SCORES = {3: 0.1, 6: 0.3, 9: 0.2, 12: 0.4, 15: 0.5, 18: 0.6, 21: 0.2, 24: 0.3}
# The run is killed by its parent after so many seconds, wherever it is then.
DELAYS = (0.04, 0.1)
MOMENTS = (
    "before the first checkpoint",
    "between checkpoints",
    "in the middle of writing last.pt",
    "in the middle of writing next_best.pt",
    "before the log",
    "after the log",
    "after last.pt",
    "during validation",
)


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Small(nn.Module):
    """Batch normalisation and dropout: state and random numbers besides the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Conv2d(4, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(self.norm(self.encoder(x))))


def arm(moment: str) -> None:
    """Replace a part of the checkpoint's writing by one that dies there."""
    write, write_log = checkpoint.RunFolder._write, checkpoint.RunFolder._write_log

    def half_written(self, name, state):  # type: ignore[no-untyped-def]
        if moment == f"in the middle of writing {name}" and state["step"] >= 12:
            (self.folder / f".0123456789ab.{name}").write_bytes(b"PK half a file")
            kill_self()
        write(self, name, state)
        if moment == f"after {name}" and state["step"] >= 12:
            kill_self()

    def logged(self, rows):  # type: ignore[no-untyped-def]
        late = bool(rows) and rows[-1]["step"] >= 12
        if moment == "before the log" and late:
            kill_self()
        write_log(self, rows)
        if moment == "after the log" and late:
            kill_self()

    checkpoint.RunFolder._write, checkpoint.RunFolder._write_log = half_written, logged


def train(folder: Path, moment: str = "") -> None:
    torch.set_num_threads(1)
    torch.manual_seed(5)
    if moment:
        arm(moment)
    validations = 0

    def make_batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        # One step ahead of the training.
        if moment == "before the first checkpoint" and step == 3:
            kill_self()
        if moment == "between checkpoints" and step == 16:
            kill_self()
        generator = torch.Generator().manual_seed(step)
        x = torch.rand(2, 1, 8, 8, generator=generator)
        return x, (x > 0.5).float()

    def loss(network, batch):  # type: ignore[no-untyped-def]
        return nn.functional.binary_cross_entropy_with_logits(network(batch[0]), batch[1])

    def validate(network) -> dict[str, float]:  # type: ignore[no-untyped-def]
        nonlocal validations
        validations += 1
        if moment == "during validation" and validations == 4:
            kill_self()
        torch.rand(3)  # must not change the training
        score = SCORES[int(network.norm.num_batches_tracked)]
        return {"score": score, "bias": float(network.head.bias.detach().sum())}

    schedule = Schedule(
        steps=STEPS,
        learning_rate=1e-2,
        encoder_factor=0.5,
        warmup=3,
        validate_every=3,
        save_every=4,
        precision="float32",
    )
    trainer = Trainer(
        Small(), schedule, make_batch=make_batch, loss=loss, validate=validate, folder=folder
    )
    trainer.run()


def in_child(folder: Path, moment: str = "", *, delay: float | None = None) -> int:
    """Signal that ended a forked training, 0 for none."""
    child = os.fork()
    if child == 0:
        try:
            train(folder, moment)
        except BaseException as error:  # noqa: BLE001 - a forked child must not go on
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status)
    if os.WEXITSTATUS(status):
        raise SystemExit(f"{folder.name}: the training failed")
    return 0


def main(root: Path) -> None:
    assert in_child(root / "whole") == 0
    for moment in MOMENTS:
        folder = root / moment
        ended = in_child(folder, moment)
        print(moment, ended, sorted(p.name for p in folder.iterdir()), flush=True)
        assert ended == signal.SIGKILL, f"{moment}: the run was not killed"
        assert in_child(folder) == 0
    for delay in DELAYS:  # several times each: killed, gone on with, killed again
        folder = root / f"after {delay} s"
        kills = 0
        for _ in range(3):
            kills += in_child(folder, delay=delay) == signal.SIGKILL
        print("after", delay, kills, flush=True)
        assert in_child(folder) == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]))
