"""Learning without outlines: pseudo-labels and feature distillation."""

from __future__ import annotations

import argparse
import json

import numpy as np
import torch

from CovidLesionSegLogic.learn import sources
from CovidLesionSegLogic.learn.__main__ import average_weights
from CovidLesionSegLogic.learn.distill import Distillation, distill
from CovidLesionSegLogic.learn.lesions import LesionBatches, LesionValidation, one_reader, split
from CovidLesionSegLogic.learn.pseudo import Confidence, pseudo_label, read_slices, save_slices
from CovidLesionSegLogic.learn.sources import Slice
from CovidLesionSegLogic.learn.trainer import Schedule
from CovidLesionSegLogic.networks.blocks import Encoder


def grey_slice(value: int, name: str = "s") -> Slice:
    image = np.full((24, 32), 40, np.uint8)
    image[6:12, 4:14] = value
    return Slice(image, np.zeros_like(image), name, "collection", name)


def by_grey(image):
    """A teacher: the brighter, the more likely lesion."""
    return image.astype(np.float32) / 255


def test_sure_marks_become_masks_where_the_teacher_put_them():
    (only,) = pseudo_label([grey_slice(230)], by_grey)
    assert only.source == "collection_pseudo"
    assert only.patient == "s"
    assert only.mask[6:12, 4:14].all()
    assert only.mask.sum() == 60


def test_unsure_slices_are_left_out():
    assert pseudo_label([grey_slice(140)], by_grey) == []  # 0.55: lesion, but hardly


def test_lesion_free_slices_stay_unless_lesion_is_known_to_be_there():
    empty = grey_slice(40)
    assert not pseudo_label([empty], by_grey)[0].mask.any()
    assert pseudo_label([empty], by_grey, keep_empty=False) == []


def test_both_views_of_a_slice_are_averaged():
    def left_half_only(image):
        soft = np.zeros(image.shape, np.float32)
        soft[:, : image.shape[1] // 2] = by_grey(image)[:, : image.shape[1] // 2]
        return soft

    seen = Confidence(threshold=0.4, band=0.01)
    (only,) = pseudo_label([grey_slice(230)], left_half_only, confidence=seen)
    assert only.mask.sum() == 60  # 0.9 in one view, 0 in the other
    assert pseudo_label([grey_slice(230)], left_half_only) == []  # 0.45 is not sure enough


def test_saved_slices_come_back(tmp_path):
    slices = pseudo_label([grey_slice(230, "a"), grey_slice(40, "b")], by_grey)
    save_slices(slices, tmp_path / "pseudo.npz")
    again = read_slices(tmp_path / "pseudo.npz")
    assert [(s.name, s.patient, s.source) for s in again] == [
        (s.name, s.patient, s.source) for s in slices
    ]
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(again, slices, strict=True))
    assert [p.name for p in tmp_path.iterdir()] == ["pseudo.npz"]


def test_collections_keep_patients_together(tmp_path):
    from skimage import io

    for folder, name in (("covid", "nCoV_p003_001"), ("covid", "nCoV_p003_002"), ("noncovid", "x")):
        (tmp_path / folder).mkdir(exist_ok=True)
        image = np.full((16, 16), 90, np.uint8)
        io.imsave(tmp_path / folder / f"{name}.jpg", image, check_contrast=False)
    slices = sources.unlabelled(tmp_path)
    patients = [s.patient.removeprefix(f"{tmp_path.name}_") for s in slices]
    assert patients == ["covid_p003", "covid_p003", "noncovid_x"]
    assert not any(s.mask.any() for s in slices)


class SmallEncoder(Encoder):
    """One convolution per level; ``widths`` channels."""

    def __init__(self, widths: tuple[int, ...], strides: tuple[int, ...]) -> None:
        super().__init__()
        self.channels, self.strides = widths, strides
        ins, steps = (3, *widths[:-1]), (strides[0], *[2] * 4)
        self.levels = torch.nn.ModuleList(
            torch.nn.Conv2d(i, o, 3, stride=s, padding=1)
            for i, o, s in zip(ins, widths, steps, strict=True)
        )

    def forward(self, x):
        features = []
        for level in self.levels:
            x = torch.relu(level(x))
            features.append(x)
        return features


def test_distillation_pairs_levels_by_stride_and_learns(tmp_path):
    torch.manual_seed(0)
    student = SmallEncoder((4, 6, 8, 8, 8), (1, 2, 4, 8, 16))
    teacher = SmallEncoder((6, 8, 8, 8, 8), (2, 4, 8, 16, 32))
    both = Distillation(student, teacher)
    assert both.pairs == [(1, 0), (2, 1), (3, 2), (4, 3)]
    assert isinstance(both.project[0], torch.nn.Identity)
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (32, 32)).astype(np.uint8) for _ in range(4)]
    slices = [Slice(i, np.zeros_like(i), f"p{n}", "x", str(n)) for n, i in enumerate(images)]
    batches = LesionBatches(slices, mixture={"x": 1.0}, sizes=(32,))
    held_out = batches(99)
    start = both.loss(held_out.images).item()
    schedule = Schedule(
        steps=60, learning_rate=1e-2, warmup=5, precision="float32", average=0.5, weight_decay=0.0
    )
    distill(both, batches, schedule, tmp_path, held_out=held_out)
    assert both.loss(held_out.images).item() < 0.7 * start
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())
    saved = torch.load(tmp_path / "encoder.pt", weights_only=True)
    assert saved.keys() == student.state_dict().keys()


def test_infected_slices_are_those_the_radiologist_names(shared_data):
    root = shared_data / "covid_ct_md"
    labels = json.loads((root / "slice_labels.json").read_text())["labels"]
    slices = sources.covid_ct_md(root, infected=True, every=8)
    numbers = [int(s.name.removeprefix("P001_")) for s in slices]  # normal001 shows none
    assert numbers
    assert all(labels["P001"][n] for n in numbers)


def test_pseudo_labels_never_validate():
    marked = pseudo_label([grey_slice(230)], by_grey)
    training, validation = split(marked)
    assert (len(training), len(validation)) == (1, 0)
    assert LesionValidation(validation).slices == []


def test_one_reader_leaves_out_what_disagrees():
    def one(patient, source, mark):
        return Slice(
            np.zeros((4, 4), np.uint8), np.full((4, 4), mark, np.uint8), patient, source, ""
        )

    kept = [
        one("coronacases_001", "zenodo20", 1),
        one("radiopaedia_4_85506", "medseg", 1),
        one("slices_sarscov2ct_noncovid_x", "slices_sarscov2ct_pseudo", 0),
        one("slices_sarscov2ct_covid_x", "slices_sarscov2ct_pseudo", 1),
    ]
    left_out = [
        one("radiopaedia_4_85506", "zenodo20", 1),
        one("slices_sarscov2ct_noncovid_x", "slices_sarscov2ct_pseudo", 1),
    ]
    assert one_reader(kept + left_out) == kept


def test_mean_of_two_checkpoints(tmp_path):
    for name, value in (("a", 1.0), ("b", 3.0)):
        state = {"weight": torch.full((2,), value), "count": torch.tensor(7)}
        torch.save({"network": state}, tmp_path / f"{name}.pt")
    paths = [tmp_path / "a.pt", tmp_path / "b.pt"]
    average_weights(argparse.Namespace(output=tmp_path / "mean.pt", checkpoints=paths))
    mean = torch.load(tmp_path / "mean.pt", weights_only=True)["network"]
    assert mean["weight"].tolist() == [2.0, 2.0]
    assert mean["count"] == 7
