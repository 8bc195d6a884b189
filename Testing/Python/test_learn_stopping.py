"""A training ends early where it should, the same whether it was interrupted or not."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import killed_training
import pytest
import torch
from torch import nn

from CovidLesionSegLogic.engine import Cancel
from CovidLesionSegLogic.errors import CancelledError, RequestError
from CovidLesionSegLogic.learn.checkpoint import BEST, LAST, LOG
from CovidLesionSegLogic.learn.stopping import validations_without_gain
from CovidLesionSegLogic.learn.trainer import Schedule, Trainer

SCHEDULE = Schedule(
    steps=40, warmup=1, validate_every=2, save_every=3, precision="float32", patience=3
)
# Of steps 2, 4, ...: the best is of step 6, so that a patience of 3 ends at step 12.
SCORES = (0.1, 0.3, 0.5, 0.4, 0.5, 0.2, 0.9, 0.9)


def rows(**columns: tuple[float, ...]) -> list[dict[str, float]]:
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def test_validations_since_the_best_are_counted() -> None:
    nan = float("nan")
    assert validations_without_gain([], "score") == 0
    assert validations_without_gain(rows(score=(0.1, 0.3, 0.3, 0.2)), "score") == 2
    assert validations_without_gain(rows(score=(0.1, 0.3, 0.2, 0.4)), "score") == 0
    assert validations_without_gain(rows(validation_loss=(0.9, 0.5, 0.6)), "validation_loss") == 1
    assert validations_without_gain(rows(score=(nan, nan)), "score") == 1
    assert validations_without_gain(rows(score=(nan, 0.1, nan, 0.1)), "score") == 2
    with pytest.raises(ValueError, match="'dise'; the validation gives dice, score"):
        validations_without_gain(rows(step=(1.0,), loss=(1.0,), dice=(1.0,), score=(1.0,)), "dise")


def trainer(folder: Path, schedule: Schedule = SCHEDULE, **options) -> Trainer:
    torch.manual_seed(0)

    def validate(network: nn.Module) -> dict[str, float]:
        score = SCORES[int(network.norm.num_batches_tracked) // 2 - 1]
        return {"validation_loss": 1 - score, "score": score}

    return Trainer(
        killed_training.Small(),
        schedule,
        make_batch=lambda step: torch.full((2, 1, 8, 8), float(step)),
        loss=lambda n, x: n(x).square().mean(),
        validate=validate,
        folder=folder,
        **options,
    )


def load(path: Path) -> dict:
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("figure", ["score", "validation_loss"])
def test_a_run_without_gain_ends_early_and_keeps_its_best(tmp_path: Path, caplog, figure) -> None:
    run = trainer(tmp_path, replace(SCHEDULE, stop_on=figure))
    with caplog.at_level(logging.INFO):
        run.run()
    assert run.stopped_early
    assert run.step == load(tmp_path / LAST)["step"] == 12
    assert load(tmp_path / BEST)["step"] == 6
    assert f"stopped early at step 12 of 40: no better {figure} in 3 validations" in caplog.text
    assert [row["step"] for row in run.log] == [2, 4, 6, 8, 10, 12]


def test_without_patience_it_runs_to_its_last_step(tmp_path: Path) -> None:
    run = trainer(tmp_path, replace(SCHEDULE, steps=16, patience=0))
    run.run()
    assert not run.stopped_early
    assert run.step == 16


def test_a_run_that_stopped_is_left_alone(tmp_path: Path) -> None:
    trainer(tmp_path).run()
    before = (tmp_path / LAST).read_bytes()
    again = trainer(tmp_path)
    again.run()
    assert again.stopped_early
    assert again.step == 12
    assert (tmp_path / LAST).read_bytes() == before


@pytest.mark.parametrize("stop_at", [5, 7, 10, 11])
def test_interrupted_it_stops_where_it_would_have(tmp_path: Path, stop_at: int) -> None:
    trainer(tmp_path / "whole").run()
    cancel = Cancel()

    def progress(stage: str, done: int, total: int) -> None:
        if done == stop_at:
            cancel.cancel()

    with pytest.raises(CancelledError):
        trainer(tmp_path / "it", progress=progress, cancel=cancel).run()
    assert load(tmp_path / "it" / LAST)["step"] == stop_at
    trainer(tmp_path / "it").run()
    ours, theirs = load(tmp_path / "it" / LAST), load(tmp_path / "whole" / LAST)
    assert ours["step"] == theirs["step"] == 12
    for name, value in theirs["network"].items():
        assert torch.equal(ours["network"][name], value), name
    assert (tmp_path / "it" / LOG).read_bytes() == (tmp_path / "whole" / LOG).read_bytes()


def test_another_patience_is_another_run(tmp_path: Path) -> None:
    trainer(tmp_path).run()
    with pytest.raises(RequestError, match=r"patience \(was 3, now 5\)"):
        trainer(tmp_path, replace(SCHEDULE, patience=5)).run()


def test_a_checkpoint_from_before_patience_is_gone_on_with(tmp_path: Path) -> None:
    schedule = replace(SCHEDULE, steps=4, patience=0)
    trainer(tmp_path, schedule).run()
    state = load(tmp_path / LAST)
    for name in ("patience", "stop_on"):
        del state["schedule"][name]
    torch.save(state, tmp_path / LAST)
    trainer(tmp_path, schedule).run()
    with pytest.raises(RequestError, match=r"patience \(was 0, now 3\)"):
        trainer(tmp_path, replace(schedule, patience=3)).run()


def test_the_published_schedule() -> None:
    schedule = Schedule.published_coarse_refine(3012)
    assert schedule.validate_every == 1883  # 15 060 images in batches of 8
    assert schedule.steps == 200 * 1883
    assert (schedule.optimiser, schedule.learning_rate, schedule.clip) == ("adam", 3e-4, 0)
    assert schedule.rate(0) == schedule.rate(schedule.steps - 1) == 1
    assert (schedule.patience, schedule.stop_on) == (20, "validation_loss")
    with pytest.raises(ValueError, match="patience"):
        Schedule(steps=1, patience=-1)
