"""A killed training that is gone on with ends as one that was never killed."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import killed_training
import pytest
import torch
from torch import nn

from CovidLesionSegLogic.engine import Cancel
from CovidLesionSegLogic.errors import CancelledError, InputError, RequestError
from CovidLesionSegLogic.learn.checkpoint import BEST, LAST, LOG
from CovidLesionSegLogic.learn.trainer import Schedule, Trainer

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A folder for each moment of being killed, and "whole"."""
    if not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    root = tmp_path_factory.mktemp("runs")
    done = subprocess.run(
        [sys.executable, killed_training.__file__, str(root)],
        env={**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return root


def same(a: object, b: object) -> bool:
    """Equal bit by bit, through dicts and lists."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return (
            isinstance(b, type(a))
            and len(a) == len(b)
            and all(same(x, y) for x, y in zip(a, b, strict=True))
        )
    return a == b


def load(path: Path) -> dict:
    return torch.load(path, weights_only=True)


@needs_fork
@pytest.mark.parametrize(
    "moment",
    [*killed_training.MOMENTS, *(f"after {d} s" for d in killed_training.DELAYS)],
)
def test_killed_is_uninterrupted(runs: Path, moment: str) -> None:
    whole, killed = runs / "whole", runs / moment
    for name in (LAST, BEST):
        ours, theirs = load(killed / name), load(whole / name)
        for key in theirs:
            assert same(ours[key], theirs[key]), f"{name}: {key}"
    assert (killed / LOG).read_bytes() == (whole / LOG).read_bytes()
    # Nothing half-written stays.
    assert sorted(p.name for p in killed.iterdir()) == [BEST, LAST, LOG]


@needs_fork
def test_the_best_weights_are_those_the_log_calls_best(runs: Path) -> None:
    lines = (runs / "whole" / LOG).read_text().splitlines()
    rows = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    assert [int(row["step"]) for row in rows] == list(range(3, killed_training.STEPS + 1, 3))
    best = load(runs / "whole" / BEST)["step"]
    scores = {int(row["step"]): float(row["score"]) for row in rows}
    assert scores[best] == max(scores.values())
    assert best != killed_training.STEPS  # otherwise the test shows nothing


SCHEDULE = Schedule(steps=6, warmup=1, validate_every=2, save_every=2, precision="float32")


def trainer(folder: Path, schedule: Schedule = SCHEDULE, network=None, **options) -> Trainer:
    torch.manual_seed(0)
    return Trainer(
        network or killed_training.Small(),
        schedule,
        make_batch=options.pop("make_batch", lambda step: torch.full((2, 1, 8, 8), float(step))),
        loss=options.pop("loss", lambda n, x: n(x).square().mean()),
        validate=options.pop("validate", lambda n: {"score": float(n.head.bias.sum())}),
        folder=folder,
        **options,
    )


def test_another_schedule_is_refused_by_name(tmp_path: Path) -> None:
    trainer(tmp_path).run()
    before = (tmp_path / LAST).read_bytes()
    with pytest.raises(RequestError, match=r"learning_rate \(was 0.00015, now 0.1\).*--restart"):
        trainer(tmp_path, replace(SCHEDULE, learning_rate=0.1)).run()
    with pytest.raises(RequestError, match=r"steps.*decay_at"):
        trainer(tmp_path, replace(SCHEDULE, steps=9, decay_at=(3,))).run()
    assert (tmp_path / LAST).read_bytes() == before
    trainer(tmp_path, replace(SCHEDULE, save_every=5)).run()  # changes no weight


def test_another_split_is_refused_by_name(tmp_path: Path) -> None:
    trainer(tmp_path, record={"split": {"validation": ["p1"]}}).run()
    with pytest.raises(RequestError, match=r"split \(was .*p1.*now .*p2"):
        trainer(tmp_path, record={"split": {"validation": ["p2"]}}).run()
    trainer(tmp_path, record={"split": {"validation": ["p2"]}}).run(restart=True)


def test_another_network_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path).run()
    other = killed_training.Small()
    other.head = nn.Conv2d(4, 2, 1)
    with pytest.raises(RequestError, match="another network"):
        trainer(tmp_path, network=other).run()


def test_restart_forgets_the_earlier_run(tmp_path: Path) -> None:
    first = trainer(tmp_path)
    first.run()
    log = (tmp_path / LOG).read_bytes()
    again = trainer(tmp_path)
    again.run(restart=True)
    assert again.counted == 6
    assert (tmp_path / LOG).read_bytes() == log


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    trainer(tmp_path).run()
    before = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir() if p.name != LOG}
    second = trainer(tmp_path)
    second.run()
    assert second.counted == 6
    assert {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir() if p.name != LOG} == before


def test_a_damaged_checkpoint_is_told(tmp_path: Path) -> None:
    trainer(tmp_path).run()
    (tmp_path / LAST).write_bytes((tmp_path / LAST).read_bytes()[:500])
    with pytest.raises(InputError, match="cannot be read"):
        trainer(tmp_path).run()


def test_missing_best_weights_are_told(tmp_path: Path) -> None:
    trainer(tmp_path).run()
    (tmp_path / BEST).unlink()
    with pytest.raises(InputError, match="put it back"):
        trainer(tmp_path).run()


@pytest.mark.parametrize("where", ["training", "validation"])
def test_cancelling_keeps_a_checkpoint(tmp_path: Path, where: str) -> None:
    trainer(tmp_path / "whole").run()
    cancel = Cancel()
    seen: list[tuple[str, int, int]] = []

    def progress(stage: str, done: int, total: int) -> None:
        seen.append((stage, done, total))
        if where == "training" and done == 3:
            cancel.cancel()

    def validate(network: nn.Module) -> dict[str, float]:
        torch.rand(1)
        if where == "validation" and len(seen) == 5:  # of step 4
            cancel.cancel()
            cancel.check()
        return {"score": float(network.head.bias.sum())}

    with pytest.raises(CancelledError):
        trainer(tmp_path / "it", progress=progress, cancel=cancel, validate=validate).run()
    stopped = 3 if where == "training" else 4
    assert load(tmp_path / "it" / LAST)["step"] == stopped
    assert seen == [("train", i, 6) for i in range(stopped + 1)]
    trainer(tmp_path / "it").run()
    for name in (LAST, BEST):
        assert same(load(tmp_path / "it" / name), load(tmp_path / "whole" / name)), name
    assert (tmp_path / "it" / LOG).read_bytes() == (tmp_path / "whole" / LOG).read_bytes()


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    run = trainer(tmp_path, loss=lambda n, x: n(x).mean() * float("nan"))
    with pytest.raises(RequestError, match=r"nan at step 0.*lower learning rate"):
        run.run()


def test_running_out_of_memory_is_told(tmp_path: Path) -> None:
    def greedy(network: nn.Module, batch: object) -> torch.Tensor:
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    with pytest.raises(InputError, match=r"not enough memory .*smaller ones need less"):
        trainer(tmp_path, loss=greedy).run()


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(RequestError, match=r"file write failed.*free some space"):
        trainer(tmp_path).run()
    assert not list(tmp_path.glob("*.pt"))
    assert not list(tmp_path.glob(".*"))


def test_frozen_norms_keep_their_statistics(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
            self.head = nn.Conv2d(2, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.encoder(x))

    for freeze in (True, False):
        network = Net()
        trainer(tmp_path / str(freeze), network=network, freeze_encoder_norm=freeze).run()
        moved = not torch.equal(network.encoder[1].running_mean, torch.zeros(2))
        assert moved is not freeze
