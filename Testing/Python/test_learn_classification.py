"""Labelled slices, and a classifier that learns from them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import io
from torch import nn

from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.learn import sources
from CovidLesionSegLogic.learn.classification import (
    LabelBatches,
    LabelValidation,
    infection_probabilities,
    label_figures,
    label_loss,
    roc_auc,
    train_classifier,
)
from CovidLesionSegLogic.learn.folds import Patient, make_folds, select_fold
from CovidLesionSegLogic.learn.image_table import COVID, read_image_table
from CovidLesionSegLogic.learn.labelled import (
    LabelledSlice,
    by_masks,
    collection,
    in_hu,
    of_table,
    patients_of_slices,
)
from CovidLesionSegLogic.learn.schedule import Schedule
from CovidLesionSegLogic.learn.sources import Slice
from CovidLesionSegLogic.networks.classifier import SliceClassifier
from CovidLesionSegLogic.networks.encoders import build_encoder


def labelled(positive: bool, patient: str, *, seed: int = 0) -> LabelledSlice:
    """Noise, brighter where infected."""
    rng = np.random.default_rng([seed, positive])
    grey = rng.normal(150 if positive else 90, 15, (40, 36)).clip(0, 255).astype(np.uint8)
    return LabelledSlice(grey, positive, patient, "own", f"{patient}_{seed}")


@pytest.fixture
def slices() -> list[LabelledSlice]:
    return [labelled(i < 4, f"p{i}", seed=i) for i in range(12)]


class Mean(nn.Module):
    """Its logit is the mean grey: all that the slices above differ in."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x.mean((1, 2, 3))[:, None])


def test_the_classifier_is_an_encoder_and_a_linear_layer():
    torch.manual_seed(0)
    network = SliceClassifier().eval()
    with torch.inference_mode():
        x = torch.randn(2, 3, 64, 64)
        found = network(x)
        features = network.encoder(x)[-1].mean((2, 3))
        assert torch.allclose(found, features @ network.fc.weight.T + network.fc.bias, atol=1e-5)
    assert found.shape == (2, 2)
    assert network.state_dict().keys() >= {"fc.weight", "encoder.layer4.2.se.fc1.weight"}
    # A whole public SE-ResNet-34 loads into its encoder: its own classifier is passed over.
    public = build_encoder("seresnet34").state_dict() | {"fc.weight": torch.zeros(1000, 512)}
    network.encoder.load_state_dict(public)
    assert SliceClassifier("resnet50").fc.in_features == 2048


def test_balanced_batches_show_both_labels_and_all_patients(slices):
    batches = LabelBatches(slices, batch_size=4, size=32, seed=1)
    for step in range(5):
        batch = batches(step)
        assert batch.images.shape == (4, 3, 32, 32)
        assert batch.labels.tolist().count(1) == 2
    odd = [int(LabelBatches(slices, batch_size=1, size=32)(s).labels) for s in range(20)]
    assert 0 < sum(odd) < 20
    again = LabelBatches(slices, batch_size=4, size=32, seed=1)(3)
    assert torch.equal(again.images, batches(3).images)
    other = LabelBatches(slices, batch_size=4, size=32, seed=2)(3)
    assert not torch.equal(other.images, batches(3).images)


def test_published_batches_show_five_variants_of_everything(slices):
    batches = LabelBatches(slices, batch_size=12, size=32, sampling="published")
    labels = torch.cat([batches(step).labels for step in range(5)])
    assert labels.sum() == 5 * 4
    images = torch.cat([batches(step).images for step in range(5)])
    assert len(images.flatten(1).unique(dim=0)) == 60


def test_impossible_batches_are_refused(slices):
    with pytest.raises(ValueError, match="with infection and without"):
        LabelBatches(slices[:4])
    with pytest.raises(ValueError, match="sampling"):
        LabelBatches(slices, sampling="all")
    with pytest.raises(ValueError, match="no slices"):
        LabelValidation([], size=32)


def test_the_loss_is_the_cross_entropy(slices):
    batch = LabelBatches(slices, batch_size=4, size=32)(0)
    network = Mean()
    p = network(batch.images).softmax(1)[range(4), batch.labels]
    assert label_loss(network, batch).item() == pytest.approx(-p.log().mean().item())


def test_figures_by_hand():
    p = np.array([0.9, 0.4, 0.4, 0.2, 0.6])
    truth = np.array([True, True, False, False, False])
    figures = label_figures(p, truth)
    assert figures["accuracy"] == pytest.approx(3 / 5)
    assert figures["sensitivity"] == 0.5
    assert figures["specificity"] == pytest.approx(2 / 3)
    assert figures["auc"] == pytest.approx((3 + 1 + 0.5) / 6)
    assert figures["validation_loss"] == pytest.approx(-np.log([0.9, 0.4, 0.6, 0.8, 0.4]).mean())
    assert np.isnan(roc_auc(p, np.ones(5, bool)))
    assert set(label_figures(p, np.ones(5, bool))) == {"accuracy", "sensitivity", "validation_loss"}
    certain = label_figures(np.array([0.0]), np.array([True]))["validation_loss"]
    assert np.isfinite(certain)


def test_probabilities_are_those_of_each_slice_alone(slices):
    torch.manual_seed(1)
    network = SliceClassifier().eval()
    images = [s.image for s in slices[:3]]
    together = infection_probabilities(network, images, size=32)
    alone = [infection_probabilities(network, [image], size=32)[0] for image in images]
    assert together == pytest.approx(alone, abs=1e-5)
    assert len(infection_probabilities(network, [], size=32)) == 0


def test_a_classifier_learns_stops_and_keeps_its_best(slices, tmp_path: Path):
    def trained(folder: Path, **options) -> nn.Module:
        torch.manual_seed(0)
        schedule = Schedule(
            steps=60,
            learning_rate=0.1,
            warmup=0,
            average=0.0,
            clip=0,
            validate_every=10,
            save_every=30,
            precision="float32",
            stop_on="validation_loss",
            patience=5,
        )
        return train_classifier(
            Mean(), slices[2:10], slices, schedule, folder, size=32, sampling="published", **options
        )

    network = trained(tmp_path / "a")
    figures = LabelValidation(slices, size=32)(network)
    assert figures["accuracy"] == figures["auc"] == 1
    assert figures["score"] == -figures["validation_loss"]
    assert figures["validation_loss"] < 0.3
    assert not network.training
    twin = trained(tmp_path / "b").state_dict()
    assert all(torch.equal(v, twin[k]) for k, v in network.state_dict().items())
    with pytest.raises(RequestError, match="seed"):
        trained(tmp_path / "a", seed=1)


def test_masks_say_which_slices_are_positive():
    mask = np.zeros((4, 4), np.uint8)
    outlined = [
        Slice(mask, mask + np.eye(4, dtype=np.uint8) * 255, "a", "s", "1"),
        Slice(mask, mask, "a", "s", "2"),
        Slice(mask, mask, "b", "s", "3"),
    ]
    found = by_masks(outlined)
    assert [(s.positive, s.lesion_area) for s in found] == [(True, 4), (False, 0), (False, 0)]
    more = [LabelledSlice(mask, True, "c", "s", "4")]
    assert patients_of_slices([*found, *more], outlined) == [
        Patient("a", COVID, None, True),
        Patient("b", "other", None, True),
        Patient("c", COVID, None, False),
    ]


def test_volumes_are_labelled_slice_by_slice(monkeypatch: pytest.MonkeyPatch):
    image = np.zeros((4, 4), np.uint8)

    def dicom(root: Path, *, infected: bool, every: int) -> list[Slice]:
        assert (root, every) == (Path("data/covid_ct_md"), 3)
        names = ["P001_009"] if infected else ["P001_000", "normal001_000"]
        return [Slice(image, image, n.split("_")[0], "any", n) for n in names]

    volume = [Slice(image, image + on, "v", "medseg", f"v_{on}") for on in (0, 1)]
    monkeypatch.setattr(sources, "covid_ct_md", dicom)
    monkeypatch.setattr(sources, "medseg_lesions", lambda root: volume)
    slices = in_hu(Path("data"), every=3)
    assert {s.name: (s.positive, s.lesion_area) for s in slices} == {
        "v_0": (False, 0),
        "v_1": (True, 16),
        "P001_009": (True, None),
        "P001_000": (False, None),
        "normal001_000": (False, None),
    }
    infected = {p.name: p.label for p in patients_of_slices(slices)}
    assert infected == {"P001": COVID, "normal001": "other", "v": COVID}


def make_collection(folder: Path, *, numbered: bool) -> Path:
    rng = np.random.default_rng(0)
    for label in ("covid", "noncovid"):
        (folder / label).mkdir(parents=True)
        for i in range(6):
            name = f"train_p{i // 2:03d}_{i}.jpg" if numbered else f"{label}_{i:04d}.jpg"
            image = rng.integers(0, 256, (40, 40), dtype=np.uint8)
            io.imsave(folder / label / name, image, check_contrast=False)
    return folder


def test_a_collection_with_patients_is_split_by_them(tmp_path: Path, caplog):
    slices = collection(make_collection(tmp_path / "named", numbered=True))
    assert [s.positive for s in slices] == [True] * 6 + [False] * 6
    patients = patients_of_slices(slices)
    assert len(patients) == 6  # p000 of one folder is not p000 of the other
    assert [p.label for p in patients] == [COVID] * 3 + ["other"] * 3
    parts = select_fold(slices, make_folds(patients).fold(0))
    sides = [{s.patient for s in part} for part in parts]
    assert not sides[0] & sides[1]
    assert not (sides[0] | sides[1]) & sides[2]
    assert caplog.text == ""


def test_a_collection_without_patients_says_so(tmp_path: Path, caplog):
    with caplog.at_level(logging.WARNING):
        slices = collection(make_collection(tmp_path / "nameless", numbered=False))
    assert len({s.patient for s in slices}) == 12
    assert "nameless names no patients" in caplog.text


def test_a_table_gives_all_its_images(tmp_path: Path):
    image = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
    for name in "ab":
        io.imsave(tmp_path / f"{name}.png", image, check_contrast=False)
    path = tmp_path / "table.csv"
    path.write_text("image,patient,label\na.png,p1,COVID-19\nb.png,p2,healthy\n")
    slices = of_table(read_image_table(path))
    assert [(s.positive, s.patient, s.source) for s in slices] == [
        (True, "p1", COVID),
        (False, "p2", "healthy"),
    ]
    assert np.array_equal(slices[0].image, image)


@pytest.mark.data
def test_the_public_collection_has_its_patients(shared_data: Path):
    slices = collection(shared_data / "slices_song")
    patients = patients_of_slices(slices)
    labels = [p.label for p in patients]
    assert (labels.count(COVID), labels.count("other")) == (63, 70)
    assert (sum(s.positive for s in slices), len(slices)) == (787, 787 + 361)
    fold = make_folds(patients).fold(0)
    assert len(fold.test) in (26, 27)
