"""Ref-Net learns: one step lowers the loss, and four slices can be learnt by heart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from CovidLesionSegLogic.learn.lesions import (
    LesionBatches,
    PatientValidation,
    predict_slice,
    refnet_batch_loss,
)
from CovidLesionSegLogic.learn.sources import Slice
from CovidLesionSegLogic.learn.trainer import Schedule, Trainer
from CovidLesionSegLogic.networks import build_network

SIZE = 64


@pytest.fixture(scope="module")
def slices() -> list[Slice]:
    """Four noisy slices with one or two smooth bright patches each, elsewhere in each."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE]
    made = []
    for i in range(4):
        mask = np.zeros((SIZE, SIZE), bool)
        for _ in range(1 + i % 2):
            cy, cx = rng.uniform(18, 46, 2)
            mask |= ((y - cy) / rng.uniform(9, 15)) ** 2 + ((x - cx) / rng.uniform(9, 15)) ** 2 < 1
        image = np.clip(rng.normal(70, 15, mask.shape) + 50 * mask, 0, 255).astype(np.uint8)
        made.append(Slice(image, mask.astype(np.uint8), f"p{i}", "own", str(i)))
    return made


def build() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_network({"network": "refnet", "encoder": "resnet50"})


def batches(slices: list[Slice]) -> LesionBatches:
    return LesionBatches(
        slices, mixture={"own": 1}, batch_size=4, sizes=(SIZE,), sampling="epochs", augment=False
    )


def make_trainer(
    network: torch.nn.Module, slices: list[Slice], steps: int, rate: float, folder: Path
) -> Trainer:
    return Trainer(
        network,
        Schedule(
            steps=steps,
            learning_rate=rate,
            warmup=min(5, steps - 1),
            average=0.0,
            validate_every=steps,
            save_every=steps,
            precision="float32",
        ),
        make_batch=batches(slices),
        loss=refnet_batch_loss,
        validate=PatientValidation(slices, size=SIZE, precision="float32"),
        folder=folder,
    )


def test_one_step_lowers_the_loss_of_its_batch(slices, tmp_path):
    network = build()
    batch = batches(slices)(0)
    network.train()
    with torch.no_grad():
        before = float(refnet_batch_loss(network, batch))
    trainer = make_trainer(network, slices, 1, 1e-3, tmp_path)
    trainer._train_step(batch)
    network.train()
    with torch.no_grad():
        after = float(refnet_batch_loss(network, batch))
    assert after < before - 0.05


@pytest.mark.slow  # 25 s on one busy core: 48 steps of the whole network
def test_four_slices_are_learnt_by_heart(slices, tmp_path):
    """In eval mode, so that batch-norm statistics have been learnt too."""
    trainer = make_trainer(build(), slices, 48, 4e-3, tmp_path)
    batch = batches(slices)(0)
    # Not run(), which would write a checkpoint of 0.8 GB.
    for step in range(trainer.schedule.steps):
        trainer.step = step
        trainer._train_step(batch)
    for one in slices:
        found = predict_slice(trainer.averaged, one.image, SIZE, reduced=False) > 0.5
        truth = one.mask > 0
        assert truth.sum() > 100
        assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.95
