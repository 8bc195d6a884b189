"""Splits by patient, scales, schedules and sampling: properties that a training rests on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from CovidLesionSegLogic.errors import InputError, RequestError
from CovidLesionSegLogic.learn.batches import LesionBatch, LesionBatches
from CovidLesionSegLogic.learn.duplicates import keep_together
from CovidLesionSegLogic.learn.manifest import SplitManifest, make_split, select
from CovidLesionSegLogic.learn.precision import autocast, gradient_scaler, resolve_precision
from CovidLesionSegLogic.learn.scales import RandomScale, ThreeScales, scaled_size
from CovidLesionSegLogic.learn.schedule import Schedule
from CovidLesionSegLogic.learn.sources import Slice
from CovidLesionSegLogic.learn.validation import PatientValidation

PATIENTS = st.lists(st.text(min_size=1, max_size=8), min_size=2, max_size=30, unique=True)


def a_slice(name: str, patient: str, *, seed: int = 0, lesion: bool = True) -> Slice:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (40, 48), dtype=np.uint8)
    mask = np.zeros_like(image)
    mask[10:20, 10:20] = lesion
    return Slice(image, mask, patient, "own", name)


@settings(max_examples=50, deadline=None)
@given(PATIENTS, st.floats(0.05, 0.9), st.integers(0, 2**31), st.randoms())
def test_a_split_is_whole_disjoint_and_knows_no_order(patients, share, seed, random):
    shuffled = [*patients, *patients[:3]]
    random.shuffle(shuffled)
    wanted = max(1, round(share * len(patients)))
    if wanted >= len(patients):
        with pytest.raises(InputError, match="too few patients"):
            make_split(patients, validation_share=share, seed=seed)
        return
    split = make_split(patients, validation_share=share, seed=seed)
    assert split == make_split(shuffled, validation_share=share, seed=seed)
    assert len(split.validation) == wanted
    assert sorted(split.training + split.validation) == sorted(patients)
    assert not set(split.training) & set(split.validation)


def test_a_large_split_takes_no_time_for_every_pair():
    class Name(str):
        compared = 0

        def __eq__(self, other: object) -> bool:
            Name.compared += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    names = [Name(f"p{i}") for i in range(200)]
    SplitManifest(0, tuple(names[:100]), tuple(names[100:]))
    assert Name.compared < 1000


def test_seeds_split_differently_and_one_patient_more_moves_few():
    patients = [f"p{i}" for i in range(40)]
    first = make_split(patients, validation_count=10, seed=0)
    assert first != make_split(patients, validation_count=10, seed=1)
    more = make_split([*patients, "new"], validation_count=10, seed=0)
    assert len(set(first.validation) & set(more.validation)) >= 9


def test_a_split_written_is_the_split_read(tmp_path: Path):
    split = make_split(["b", "ä", "a", "c"], validation_count=1, seed=7)
    split.to_json(tmp_path / "split.json")
    assert SplitManifest.from_json(tmp_path / "split.json") == split
    assert "ä" in (tmp_path / "split.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not valid"),
        ("[]", "no JSON object"),
        ('{"training": ["a"]}', "'validation' is no list"),
        ('{"training": ["a"], "validation": []}', "'validation' names no patient"),
        ('{"training": ["a", "b"], "validation": ["b"]}', "'b' is named twice"),
    ],
)
def test_a_wrong_split_file_is_told(tmp_path: Path, content: str, said: str):
    (tmp_path / "split.json").write_text(content)
    with pytest.raises(InputError, match=said) as error:
        SplitManifest.from_json(tmp_path / "split.json")
    assert "split.json" in str(error.value)


def test_a_missing_split_file_is_told(tmp_path: Path):
    with pytest.raises(InputError, match=r"none\.json cannot be read"):
        SplitManifest.from_json(tmp_path / "none.json")


def test_selecting_keeps_patients_apart_and_refuses_strangers():
    slices = [a_slice(str(i), f"p{i % 3}") for i in range(9)]
    split = SplitManifest(0, ("p0", "p2"), ("p1",))
    training, validation = select(slices, split)
    assert [s.name for s in validation] == ["1", "4", "7"]
    assert len(training) == 6
    with pytest.raises(InputError, match="does not name the patients stranger"):
        select([*slices, a_slice("x", "stranger")], split)
    with pytest.raises(InputError, match="No patient that validates"):
        select(training, split)


def test_near_identical_images_share_a_patient():
    first = a_slice("a", "p1", seed=1)
    noise = np.random.default_rng(2).integers(-3, 4, first.image.shape)
    changed = np.clip(first.image.astype(int) + noise, 0, 255).astype(np.uint8)
    twin = Slice(changed, first.mask, "p2", "own", "b")
    dark = np.zeros_like(first.image)
    other = Slice(dark, first.mask, "p3", "own", "c")
    joined, pairs = keep_together([first, twin, other])
    assert [s.patient for s in joined] == ["p1", "p1", "p3"]
    assert pairs == [("a", "b")]


@pytest.mark.data
def test_the_known_twins_of_the_100_slice_set_are_found(shared_data: Path):
    from CovidLesionSegLogic.learn.sources import sirm100

    slices = [
        Slice(s.image, s.mask, s.name, s.source, s.name)
        for s in sirm100(shared_data / "sirm100_train50")
    ]
    assert keep_together(slices)[1] == [("10", "43")]


def fixed_batches(size: int = 352):
    def make(index: int) -> LesionBatch:
        mask = torch.zeros(1, 1, size, size)
        mask[..., size // 4 : size // 2, size // 4 : size // 2] = 1
        return LesionBatch(torch.full((1, 3, size, size), float(index)), mask)

    return make


def test_three_scales_are_the_published_ones():
    make = ThreeScales(fixed_batches())
    sizes = [make(step).images.shape[-1] for step in range(6)]
    assert sizes == [256, 352, 448] * 2
    assert [float(make(step).images.mean()) for step in (0, 2, 3, 5, 1)] == [0, 0, 1, 1, 0]


@given(st.integers(1, 40), st.sampled_from([0.75, 1.0, 1.25]))
def test_scaled_sizes_suit_the_network(count, factor):
    size = scaled_size(32 * count, factor)
    assert size % 32 == 0
    assert abs(size - 32 * count * factor) <= 16 or size == 32


def test_scaling_keeps_masks_hard_and_in_place():
    for factor in (0.75, 1.25):
        scaled = ThreeScales(fixed_batches(64), factors=(factor,))(0)
        assert set(scaled.masks.unique().tolist()) == {0.0, 1.0}
        assert float(scaled.masks.mean()) == pytest.approx(1 / 16, rel=0.15)


def test_random_scale_depends_on_seed_and_step_alone():
    one, two = RandomScale(fixed_batches(128), seed=3), RandomScale(fixed_batches(128), seed=3)
    sizes = [one(step).images.shape[-1] for step in range(12)]
    assert sizes == [two(step).images.shape[-1] for step in range(12)]
    assert set(sizes) == {96, 128, 160}


def test_an_epoch_shows_every_slice_once():
    slices = [a_slice(str(i), f"p{i}", seed=i) for i in range(6)]
    batches = LesionBatches(slices, batch_size=2, sizes=(32,), sampling="epochs", augment=False)

    def epoch(first: int) -> list[float]:
        return [
            round(float(image.mean()), 5)
            for b in range(first, first + 3)
            for image in batches(b).images
        ]

    assert len(set(epoch(0))) == 6
    assert sorted(epoch(0)) == sorted(epoch(3))
    assert epoch(0) != epoch(3)  # in another order


def test_batches_without_their_source_are_refused():
    with pytest.raises(ValueError, match="no slice is of a source"):
        LesionBatches([a_slice("a", "p")], mixture={"elsewhere": 1.0})


def test_the_published_schedule():
    schedule = Schedule.published(45)
    assert schedule.steps == 100 * 23 * 3
    assert (schedule.optimiser, schedule.learning_rate, schedule.clip) == ("adam", 1e-4, 0.5)
    half = schedule.steps // 2
    assert schedule.rate(0) == schedule.rate(half - 1) == 1
    assert schedule.rate(half) == schedule.rate(schedule.steps - 1) == pytest.approx(0.1)


def test_the_cosine_schedule_is_what_it_was():
    schedule = Schedule(steps=300)
    assert schedule.rate(0) == 1 / 100
    assert schedule.rate(99) == 1
    assert schedule.rate(200) == pytest.approx(0.5)
    assert schedule.rate(300) == pytest.approx(0)


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"precision": "int4"}, {"learning_rate": 0}, {"average": 1}, {"clip": -1}],
)
def test_impossible_schedules_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Schedule(**{"steps": 5, **wrong})


def test_precision_follows_the_device(monkeypatch):
    cpu = torch.device("cpu")
    assert resolve_precision("float32", cpu) == "float32"
    for fast, chosen in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(
            torch.cpu, "get_capabilities", lambda fast=fast: {"avx512_bf16": fast}, raising=False
        )
        assert resolve_precision("auto", cpu) == chosen
    with pytest.raises(RequestError, match="CUDA"):
        resolve_precision("float16", cpu)


def test_reduced_precision_is_only_within_its_context():
    cpu, x = torch.device("cpu"), torch.ones(2, 2)
    with autocast(cpu, "bfloat16"):
        assert (x @ x).dtype == torch.bfloat16
    with autocast(torch.device("mps"), "float32"):  # a device that autocast may not know
        assert (x @ x).dtype == torch.float32


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_gradients_are_scaled_without_newer_pytorch_too(monkeypatch):
    assert not gradient_scaler("bfloat16").is_enabled()
    monkeypatch.delattr(torch.amp, "GradScaler", raising=False)  # as PyTorch 2.2
    scaler = gradient_scaler("float32")
    assert float(scaler.scale(torch.tensor(3.0))) == 3.0


def test_validation_pools_by_patient_and_counts_false_marks():
    class Bright(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(1.0))

        def predict_logits(self, x: torch.Tensor) -> torch.Tensor:
            return 100 * (x[:, :1] - 0.5) * self.scale

    def drawn(patient: str, marked: int, true: int) -> Slice:
        image, mask = np.zeros((32, 32), np.uint8), np.zeros((32, 32), np.uint8)
        image[:marked], mask[:true] = 255, 1
        return Slice(image, mask, patient, "own" if true else "own_free", patient)

    slices = [drawn("a", 16, 16), drawn("a", 8, 24), drawn("b", 4, 4), drawn("c", 8, 0)]
    figures = PatientValidation(slices, size=32, precision="float32")(Bright())
    assert figures["dice"] == pytest.approx((2 * 24 / 64 + 1) / 2)
    assert figures["false_marks"] == pytest.approx(0.25)
    assert figures["score"] == pytest.approx(figures["dice"] - 0.25)


def test_manifests_are_plain_json(tmp_path: Path):
    SplitManifest(1, ("b", "a"), ("c",)).to_json(tmp_path / "s.json")
    assert json.loads((tmp_path / "s.json").read_text()) == {
        "seed": 1,
        "training": ["a", "b"],
        "validation": ["c"],
    }
