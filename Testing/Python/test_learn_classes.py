"""Slices with several lesion classes: batches, validation, and a training that learns them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from CovidLesionSegLogic.learn.class_batches import (
    UNKNOWN_CLASS,
    ClassBatches,
    by_rarest_class,
    class_planes,
    hard_classes,
    hybrid_batch_loss,
    with_unknown,
)
from CovidLesionSegLogic.learn.class_validation import ClassValidation, predict_classes
from CovidLesionSegLogic.learn.coarse_refine import (
    CONSOLIDATION,
    MIXTURE,
    Stage,
    by_consolidation,
    train_stage,
)
from CovidLesionSegLogic.learn.schedule import Schedule
from CovidLesionSegLogic.learn.sources import Slice
from CovidLesionSegLogic.networks import SegmentationNetwork, build_network

SIDE = 64


def squares(patient: str, *, unnamed: bool = False, source: str = "sirm100") -> Slice:
    """Class 1 is a grey square, class 2 a white one, on a dark ground."""
    rng = np.random.default_rng(sum(map(ord, patient)))
    image = np.full((SIDE, SIDE), 30, np.uint8)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for value, grey in ((1, 120), (2, 240)):
        y, x = rng.integers(4, 40, 2)
        image[y : y + 18, x : x + 18], mask[y : y + 18, x : x + 18] = grey, value
    if unnamed:
        mask = np.where(mask > 0, np.uint8(UNKNOWN_CLASS), 0)
    return Slice(image, mask, patient, source, patient)


def test_planes_hold_each_class_and_the_unnamed():
    mask = np.array([[0, 1], [2, UNKNOWN_CLASS]], np.uint8)
    planes = class_planes(mask, 2)
    assert planes.tolist() == [[[0, 1], [0, 0]], [[0, 0], [1, 0]], [[0, 0], [0, 1]]]


def test_a_class_beyond_the_list_is_refused():
    with pytest.raises(ValueError, match="classes 1 to 2"):
        class_planes(np.array([[3]], np.uint8), 2)


def test_touching_classes_leave_no_gap_when_warped():
    planes = torch.tensor([[[[0.45, 0.2]], [[0.40, 0.1]], [[0.0, 0.1]]]])
    assert hard_classes(planes).tolist() == [[[[1, 0]], [[0, 0]], [[0, 0]]]]


def test_unnamed_lesion_stands_in_every_channel():
    hard = torch.zeros(1, 3, 1, 3)
    hard[0, 0, 0, 0] = hard[0, 2, 0, 1] = 1
    masks, known = with_unknown(hard)
    assert not known
    assert masks.tolist() == [[[[1, 1, 0]], [[1, 1, 0]]]]


def test_a_batch_is_a_function_of_seed_and_step():
    slices = [squares("a"), squares("b", unnamed=True)]
    first, again = (
        ClassBatches(slices, 2, mixture={"sirm100": 1.0}, batch_size=3, sizes=(64, 96), seed=4)(7)
        for _ in range(2)
    )
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.masks, again.masks)
    assert first.masks.shape[:2] == (3, 2)
    assert first.known.dtype == torch.bool


def test_without_augmentation_the_masks_are_the_slices_own():
    s = squares("a")
    batch = ClassBatches(
        [s], 2, mixture={"sirm100": 1.0}, batch_size=1, sizes=(SIDE,), augment=False
    )(0)
    assert np.array_equal(batch.masks[0, 0].numpy(), s.mask == 1)
    assert np.array_equal(batch.masks[0, 1].numpy(), s.mask == 2)


class Threshold(SegmentationNetwork):
    """Knows the squares by their grey."""

    n_classes = 2

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def predict_logits(self, x: Tensor) -> Tensor:
        grey = x[:, :1] * 0.229 + 0.485
        grey_square = (grey > 0.4) & (grey < 0.6)
        return torch.cat([grey_square, grey > 0.85], 1).float() * 20 - 10


def test_a_perfect_network_scores_one():
    figures = ClassValidation([squares("a"), squares("b", unnamed=True)], ["g", "c"], size=SIDE)(
        Threshold()
    )
    assert figures["dice g"] == figures["dice c"] == 1
    assert figures["dice any lesion"] == pytest.approx(1)
    assert figures["score"] == pytest.approx(1)


def test_marks_on_healthy_slices_cost_score():
    healthy = squares("h")
    healthy = Slice(healthy.image, np.zeros_like(healthy.mask), "h", "medseg_free", "h")
    figures = ClassValidation([squares("a"), healthy], ["g", "c"], size=SIDE)(Threshold())
    assert figures["false_marks"] > 0.05
    assert figures["score"] == pytest.approx(1 - figures["false_marks"])


def test_predictions_come_at_the_slices_own_size():
    soft = predict_classes(Threshold(), squares("a").image[:50], SIDE, flips=True)
    assert soft.shape == (2, 50, SIDE)


@pytest.mark.parametrize("classes", [1, 2, 3, 4])
def test_any_number_of_classes_lowers_the_loss(classes):
    torch.manual_seed(0)
    s = squares("a")
    network = build_network(
        {"network": "coarse-refine", "n_classes": classes, "encoder": "seresnet34"}
    )
    mask = np.where(s.mask > classes, 0, s.mask).astype(np.uint8)
    batches = ClassBatches(
        [Slice(s.image, mask, "a", "sirm100", "a")],
        classes,
        mixture={"sirm100": 1.0},
        batch_size=2,
        sizes=(SIDE,),
        augment=False,
    )
    batch = batches(0)
    assert batch.masks.shape == (2, classes, SIDE, SIDE)
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    losses = []
    for _ in range(3):
        loss = hybrid_batch_loss(network.train(), batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss))
    assert losses[-1] < losses[0]


def test_a_stage_keeps_what_is_frozen_and_takes_over_what_fits(tmp_path: Path):
    coarse = {"network": "coarse-refine", "n_classes": 2, "refinement": False}
    whole = {"network": "coarse-refine", "n_classes": 2}
    start = build_network(coarse).state_dict()
    slices = [squares("a"), squares("b"), squares("sirm_3")]  # the last one validates
    stage = Stage(
        whole,
        start,
        Schedule(steps=2, warmup=0, average=0.0, validate_every=2, precision="float32"),
        batch_size=2,
        sizes=(SIDE,),
        frozen=("encoder",),
        validation_size=SIDE,
    )
    train_stage(stage, slices, tmp_path)
    trained = torch.load(tmp_path / "best.pt", weights_only=True)["network"]
    assert all(
        torch.equal(trained[name], value)
        for name, value in start.items()
        if name.startswith("encoder.")
    )
    assert not torch.equal(trained["head.weight"], start["head.weight"])
    assert trained["refinement.head.weight"].abs().sum() > 0
    with pytest.raises(ValueError, match="not in the network"):
        train_stage(
            Stage(whole, {"other.weight": torch.zeros(1)}, stage.schedule, 2, (SIDE,)),
            slices,
            tmp_path / "other",
        )


def test_slices_with_consolidation_are_a_source_of_their_own() -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[:5, :6] = CONSOLIDATION  # 30 of 10,000 pixels: the most that does not count
    slices = [Slice(mask, mask.copy(), "a", "medseg", "one")]
    mask[5, 0] = CONSOLIDATION
    slices.append(Slice(mask, mask, "a", "medseg", "two"))
    assert [by_consolidation(s).source for s in slices] == ["medseg", "medseg_consolidation"]
    assert {"medseg", "medseg_consolidation"} <= MIXTURE.keys()


def test_slices_are_told_apart_by_their_rarest_class() -> None:
    def one(*values: int) -> Slice:
        mask = np.zeros((4, 4), np.uint8)
        mask.flat[: len(values)] = values
        return Slice(mask, mask, "a", "lesion" if values else "free", str(values))

    slices = [one(1), one(1, 2), one(1, 2, 3), one(1, 2), one(), one(UNKNOWN_CLASS)]
    assert [s.source for s in by_rarest_class(slices)] == [
        "lesion 1",
        "lesion 2",
        "lesion 3",
        "lesion 2",
        "free",
        "lesion 255",
    ]
