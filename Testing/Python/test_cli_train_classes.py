"""``train`` for the coarse-refine network: any list of lesion classes, and the gate."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_model
import torch
from narrow_encoder import NarrowEncoder, narrow_now
from skimage import io
from tiny_model import LESION_TYPES, install, install_coarse_refine

from CovidLesionSegLogic.assess.evaluate_slices import evaluate_slices
from CovidLesionSegLogic.assess.trained import train_and_measure
from CovidLesionSegLogic.assess.trained_classes import (
    BY_CLASS,
    BY_GATE,
    measure_classes,
    measure_gate,
)
from CovidLesionSegLogic.cli import main
from CovidLesionSegLogic.ct import write_image
from CovidLesionSegLogic.ct.cases import Case
from CovidLesionSegLogic.engine import Cancel
from CovidLesionSegLogic.errors import InputError, RequestError
from CovidLesionSegLogic.learn.class_names import card_classes, not_trained, parse_classes
from CovidLesionSegLogic.learn.class_values import ClassValues, check_classes_there
from CovidLesionSegLogic.learn.folder import load_folder
from CovidLesionSegLogic.learn.options import TrainOptions
from CovidLesionSegLogic.learn.own_gate import choose_use, volume_probabilities
from CovidLesionSegLogic.learn.own_recipe import make_recipe, make_schedule
from CovidLesionSegLogic.learn.sources import UNKNOWN_CLASS, WINDOW, Slice
from CovidLesionSegLogic.learn.start import build_start
from CovidLesionSegLogic.learn.volumes import load_volumes
from CovidLesionSegLogic.models import GateSpec, InputSpec, get_card, load_network
from CovidLesionSegLogic.mrml.terminology import entry_for
from CovidLesionSegLogic.networks.seresnet import SEResNet34

NAMES = ("ground-glass opacity", "consolidation", "fibrosis", "crazy paving")
SIDE = 64


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small networks; one thread, as the arithmetic is tiny."""
    narrow_now(monkeypatch)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def slice_of(patient: int, number: int, values: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A noisy ground; squares of one grey and one mask value for each of ``values``."""
    rng = np.random.default_rng([patient, number])
    coarse = np.kron(np.random.default_rng(patient).integers(0, 60, (4, 4)), np.ones((16, 16)))
    image = coarse + rng.integers(0, 30, (SIDE, SIDE))
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for i, value in enumerate(values):
        y, x = 32 * (i // 2), 32 * (i % 2)
        place = (slice(y + 4, y + 28), slice(x + 4, x + 28))
        image[place], mask[place] = 120 + 30 * i, value
    return image.astype(np.uint8), mask


def write_pictures(root: Path, values: tuple[int, ...], *, free: bool = True) -> tuple[Path, Path]:
    """Four patients, each with a slice of every class and one free of lesion."""
    folders = root / "images", root / "masks"
    for folder in folders:
        folder.mkdir()
    for patient in range(4):
        for number, found in enumerate((values, ()) if free else (values,)):
            for folder, array in zip(folders, slice_of(patient, number, found), strict=True):
                io.imsave(folder / f"p{patient}_{number}.png", array, check_contrast=False)
    return folders


def request(folders: tuple[Path, Path], output: Path, *more: str) -> list[str]:
    return [
        *("train", "--network", "coarse-refine", "--images", str(folders[0])),
        *("--masks", str(folders[1]), "--patient", r"^(p\d)_", "--start", "none"),
        *("--encoder", "narrow", "--size", "64", "--steps", "2", "--batch-size", "2"),
        *("--validation", "0.5", "--device", "cpu", "-o", str(output), *more),
    ]


def options_for(folders: tuple[Path, Path], output: Path, **more) -> TrainOptions:
    given = {
        "images": folders[0],
        "masks": folders[1],
        "patient": r"^(p\d)_",
        "start": "none",
        "encoder": "narrow",
        "size": 64,
        "steps": 2,
        "batch_size": 2,
        "validation": 0.5,
        "network": "coarse-refine",
        "device": "cpu",
    }
    return TrainOptions(output, **{**given, **more})


def test_three_classes_and_the_gate_from_pictures_to_figures(tmp_path, monkeypatch, capsys):
    folders = write_pictures(tmp_path, (1, 2, 3))
    output = tmp_path / "model"
    line = request(folders, output, "--classes", ",".join(NAMES[:3]))
    assert main(line) == 0
    weights = torch.load(output / "training" / "best.pt", weights_only=True)["network"]

    # The gate is added to the finished run, whose weights stay as they are.
    assert main([*line, "--gate"]) == 0
    again = torch.load(output / "training" / "best.pt", weights_only=True)["network"]
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    printed = capsys.readouterr().out
    assert "fibrosis: Dice: " in printed
    assert "area under the ROC curve: " in printed

    monkeypatch.setenv("COVIDLESIONSEG_MODELS", str(output))
    card = get_card("coarse-refine-own", "lesion")
    assert [(c.name, c.label) for c in card.classes] == list(zip(NAMES, (1, 2, 3), strict=False))
    assert card.classes[2].color == (60, 110, 220)
    assert card.architecture["gate"] is True
    assert card.gate is not None
    assert card.gate.rule == "any-slice"
    assert "not trained" not in card.training
    for name in NAMES[:3]:
        figure = card.validation[BY_CLASS][f"{name}: Dice"]
        assert 0 <= figure["value"] <= 1
        assert figure["patients"] == 2
        assert card.validation[BY_CLASS]["any lesion: Dice"]["patients"] == 2
        assert len(figure["95 % interval"]) == 2
    gate = card.validation[BY_GATE]
    assert gate["slices"] == 4
    assert gate["lesion area on slices left out"]["value"] <= 0.01

    network = load_network(card)
    x = torch.randn(2, 3, SIDE, SIDE)
    assert network.predict_logits(x).shape == (2, 3, SIDE, SIDE)
    assert network.gate_logits(network.encode(x)).shape == (2, 2)

    figures = tmp_path / "figures.json"
    done = main(
        [
            *("evaluate", "slices", "--model", card.name, "--protocol", "coarse-refine"),
            *("--images", str(folders[0]), "--masks", str(folders[1]), "-o", str(figures)),
            *("--patient", r"^(p\d)_", "--device", "cpu"),
        ]
    )
    assert done == 0
    judged = json.loads(figures.read_text())
    assert [c["name"] for c in judged["classes"]] == [*NAMES[:3], "any lesion"]


@pytest.mark.parametrize(
    ("classes", "values", "missing"),
    [
        (None, (77,), None),  # any value over 0 is lesion, as with Ref-Net
        (("consolidation=5", "fibrosis=2"), (5, 2, 255), ["ground-glass opacity"]),
        (NAMES, (1, 2, 3, 4), None),
    ],
)
def test_one_two_and_four_classes_train_save_load_and_are_named(
    tmp_path, monkeypatch, classes, values, missing
):
    folders = write_pictures(tmp_path, values)
    card = train_and_measure(options_for(folders, tmp_path / "model", classes=classes))
    monkeypatch.setenv("COVIDLESIONSEG_MODELS", str(tmp_path / "model"))
    found = get_card("coarse-refine-own")
    assert (found.classes, found.weights) == (card.classes, card.weights)
    assert found.validation == card.validation
    assert card.gate is None
    assert card.training.get("not trained") == missing
    names = ["infection"] if classes is None else [c.split("=")[0] for c in classes]
    assert [c.name for c in card.classes] == names
    assert load_network(found).n_classes == len(names)
    assert f"{names[-1]}: Dice" in card.validation[BY_CLASS]
    report = evaluate_slices(
        card.name, *folders, tmp_path / "figures.json", protocol="coarse-refine", device="cpu"
    )
    expected = names if len(names) == 1 else [*names, "any lesion"]
    assert [c["name"] for c in report["classes"]] == expected
    # Slices with lesion of unnamed class say nothing on the classes.
    known = card.validation[BY_CLASS][f"{names[0]}: Dice"]["value"] is not None
    assert known == (255 not in values)


def test_the_published_schedule_stops_by_the_validation_loss(tmp_path):
    folders = write_pictures(tmp_path, (1, 2))
    options = options_for(
        folders, tmp_path, steps=None, batch_size=None, schedule="published", classes=NAMES[:2]
    )
    slices = load_folder(*folders, classes=options.class_values, patient=options.patient)
    schedule = make_schedule(options, len(slices), pretrained=False)
    assert (schedule.learning_rate, schedule.optimiser, schedule.patience) == (3e-4, "adam", 20)
    assert options.slices_per_step == 8
    assert options.scale_rule == "fixed"
    recipe = make_recipe(options, slices, slices[:3], precision="float32", cancel=Cancel())
    start = build_start(
        "none", network="coarse-refine", classes=NAMES[:2], encoder="narrow", size=64
    )
    figures = recipe.validate(start.network.eval())
    assert figures[schedule.stop_on] == -figures["score"] > 0
    assert recipe.make_batch(0).masks.shape == (8, 2, SIDE, SIDE)
    assert recipe.loss(start.network, recipe.make_batch(0)).item() > 0


# What the masks hold.


def refusal(folders: tuple[Path, Path], classes: ClassValues) -> str:
    with pytest.raises(InputError) as error:
        load_folder(*folders, classes=classes)
    return str(error.value)


TWO = ClassValues(parse_classes(NAMES[:2]))


def test_values_are_read_exactly(tmp_path):
    folders = write_pictures(tmp_path, (9, 4, 255))
    classes = ClassValues(parse_classes(["consolidation=4", "fibrosis=9"]))
    one = load_folder(*folders, classes=classes)[0]
    assert np.unique(one.mask).tolist() == [0, 1, 2, UNKNOWN_CLASS]
    np.testing.assert_array_equal(one.mask == 2, io.imread(folders[1] / "p0_0.png") == 9)


def test_a_strange_value_is_told_with_file_value_and_remedy_before_training(tmp_path, capsys):
    folders = write_pictures(tmp_path, (1, 2, 7))
    assert main(request(folders, tmp_path / "out", "--classes", ",".join(NAMES[:2]))) == 3
    said = capsys.readouterr().err
    assert re.search(r"masks/p0_0\.png.*: it holds the value 7, which is no class", said)
    assert "1 ground-glass opacity, 2 consolidation, 255" in said
    assert "correct the mask, or name the class" in said
    assert not (tmp_path / "out").exists()


def test_masks_without_any_named_class_are_told(tmp_path):
    assert "hold nothing but 0 and 255" in refusal(write_pictures(tmp_path, (255,)), TWO)


def test_with_one_class_255_is_that_class(tmp_path):
    folders = write_pictures(tmp_path, (255,))
    classes = ClassValues(parse_classes(["fibrosis=3"]))
    assert np.unique(load_folder(*folders, classes=classes)[0].mask).tolist() == [0, 1]


def test_jpeg_masks_are_refused(tmp_path):
    folders = write_pictures(tmp_path, (1, 2))
    mask = folders[1] / "p1_0.png"
    array = io.imread(mask)
    mask.unlink()
    io.imsave(mask.with_suffix(".jpg"), array, check_contrast=False)
    said = refusal(folders, TWO)
    assert "masks/p1_0.jpg: JPEG does not keep the values" in said
    assert "PNG" in said


def test_an_image_given_as_a_mask_and_16_bits_are_told_as_such(tmp_path):
    folders = write_pictures(tmp_path, (1, 2))
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    io.imsave(folders[1] / "p0_0.png", noise, check_contrast=False)
    io.imsave(folders[1] / "p1_0.png", noise.astype(np.uint16), check_contrast=False)
    said = refusal(folders, TWO)
    assert "p0_0.png: as a mask it has too many grey levels" in said
    assert "p1_0.png: it has more than 8 bits (uint16): save the mask with 8 bits" in said


def test_label_volumes_keep_their_classes_and_strange_ones_are_told(phantom, tmp_path):
    lesion = (phantom.lesions > 0).astype(np.uint8)
    lesion[::2] *= 6  # in every other slice of class 6
    paths = {
        kind: write_image(array, phantom.ct, tmp_path / f"{kind}.nii.gz")
        for kind, array in {"ct": phantom.ct.array, "lesion": lesion, "lung": phantom.lungs}.items()
    }
    cases = [Case(paths["ct"], paths["lesion"], paths["lung"])]
    given = {"device": torch.device("cpu"), "spec": InputSpec(64, WINDOW, margin=0.03)}
    classes = ClassValues(parse_classes(["consolidation=6", "fibrosis=1"]))
    slices = load_volumes(cases, classes=classes, **given)
    for i, value in enumerate((6, 1), start=1):
        assert sum(int((s.mask == i).sum()) for s in slices) == int((lesion == value).sum()) > 0
    with pytest.raises(InputError, match=r"lesion\.nii\.gz: it holds the value 6"):
        load_volumes(cases, classes=TWO, **given)


# What cannot be.


def made(name: str, *values: int, patient: str = "p") -> Slice:
    mask = np.zeros((4, 4), np.uint8)
    mask.flat[: len(values)] = values
    return Slice(np.zeros((4, 4), np.uint8), mask, patient, "own", name)


def test_a_class_that_no_training_slice_shows_is_refused():
    classes = parse_classes(NAMES[:2])
    both, one = [made("a", 1, 2)], [made("b", 1)]
    assert check_classes_there(classes, both, one) == ["consolidation"]
    with pytest.raises(InputError, match=r"shows 'consolidation' \(value 2\)"):
        check_classes_there(classes, one, both)


def test_a_gate_without_free_slices_is_refused_before_training(tmp_path, capsys):
    folders = write_pictures(tmp_path, (1, 2), free=False)
    line = request(folders, tmp_path / "out", "--classes", ",".join(NAMES[:2]), "--gate")
    assert main(line) == 3
    said = capsys.readouterr().err
    assert "a gate needs slices without" in said
    assert "leave --gate out" in said
    assert not (tmp_path / "out" / "training").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network": "refnet", "classes": NAMES[:2]}, "--classes is for the coarse-refine"),
        ({"network": "refnet", "gate": True}, "--gate is for the coarse-refine"),
        ({"network": "unet"}, "--network is one of refnet, coarse-refine"),
        ({"scales": "three"}, "Ref-Net's published way"),
        ({"schedule": "published", "scales": "one", "steps": None}, "has one size"),
        ({"classes": ()}, "names no class"),
        ({"classes": ("a", "A")}, "'A' twice"),
        ({"classes": ("a", " ")}, "without a name"),
        ({"classes": ("a=1", "b")}, "none for 'b'"),
        ({"classes": ("a=1", "b=1")}, "value 1 to two classes"),
        ({"classes": ("a=255",)}, "give 1 to 254"),
        ({"classes": ("a=x",)}, "no whole number"),
        ({"classes": ("a", "any lesion")}, "cannot be called"),
    ],
)
def test_wrong_requests_say_what_is_wrong(tmp_path, changes, said):
    with pytest.raises(RequestError, match=re.escape(said)):
        options_for((tmp_path, tmp_path), tmp_path, **changes)


# Names, colours and codes.


def test_classes_of_a_card_have_colours_of_their_own_and_known_codes():
    classes = parse_classes(["infection", *NAMES])
    given = card_classes(classes)
    assert [c["label"] for c in given] == [1, 2, 3, 4, 5]
    assert len({tuple(c["color"]) for c in given}) == 5
    plain = {c["name"]: c for c in card_classes(parse_classes(NAMES))}
    assert plain["ground-glass opacity"]["color"] == [220, 50, 50]
    assert plain["consolidation"]["color"] == [60, 180, 75]
    assert plain["crazy paving"]["terminology"] == {}
    for name in NAMES[:3]:
        assert entry_for("x", plain[name]["terminology"]) == entry_for(name) != entry_for("x")


def test_what_a_model_does_not_find():
    assert not_trained(["consolidation"]) == ["ground-glass opacity", "fibrosis"]
    assert not_trained(["infection"]) == []


# What it starts from.


def test_a_model_of_the_same_classes_is_taken_over_whole_and_others_without_its_head(
    tmp_path, monkeypatch
):
    card = install_coarse_refine(tmp_path, monkeypatch, 2, gate={"segment_above": 0.1})
    theirs = load_network(card).state_dict()

    def taken(start) -> set[str]:
        state = start.network.state_dict()
        return {k for k, v in state.items() if k in theirs and torch.equal(v, theirs[k])}

    same = build_start("coarse-refine", network="coarse-refine", classes=NAMES[:2], size=64)
    assert taken(same) == set(theirs) - {"gate.weight", "gate.bias"}
    assert set(same.network.state_dict()) == taken(same)
    assert "gate" not in same.architecture
    assert same.note == ""
    assert all(p.requires_grad for p in same.network.parameters())

    other = build_start("coarse-refine", network="coarse-refine", classes=NAMES[1:3], size=64)
    found = taken(other)
    for part in ("encoder.", "aspp.", "decoder."):
        assert {k for k in theirs if k.startswith(part)} <= found
    assert "head.weight" not in found
    assert "Head and refinement start from random weights" in other.note
    assert other.note in other.story
    assert other.architecture["n_classes"] == 2

    # It is what a training starts from where nothing else is asked for.
    assert options_for((tmp_path, tmp_path), tmp_path, start=None).started_from == "coarse-refine"
    with pytest.raises(RequestError, match="no Ref-Net with one class"):
        build_start("coarse-refine", size=64)
    with pytest.raises(RequestError, match="has the encoder seresnet34, not narrow"):
        build_start("coarse-refine", network="coarse-refine", classes=NAMES[:1], encoder="narrow")


def test_the_encoder_of_a_refnet_model_can_be_taken(tmp_path, monkeypatch):
    folders = write_pictures(tmp_path, (255,))
    output = tmp_path / "models"
    card = train_and_measure(options_for(folders, output, network="refnet"))
    assert card.validation
    assert card.architecture["network"] == "refnet"
    monkeypatch.setenv("COVIDLESIONSEG_MODELS", str(output))
    start = build_start("refnet-own", network="coarse-refine", classes=NAMES[:3], size=64)
    theirs, ours = load_network(card).state_dict(), start.network.state_dict()
    for name in NarrowEncoder().state_dict():
        assert torch.equal(theirs[f"encoder.{name}"], ours[f"encoder.{name}"])
    assert start.pretrained
    assert "only the encoder" in start.note


def test_public_weights_of_seresnet34(tmp_path):
    torch.manual_seed(1)
    public = SEResNet34().state_dict()
    path = tmp_path / "seresnet34.pth"
    torch.save({**public, "fc.weight": torch.zeros(2, 512)}, path)
    start = build_start(str(path), network="coarse-refine", classes=NAMES[:4], size=64)
    assert start.architecture == {
        "network": "coarse-refine",
        "n_classes": 4,
        "encoder": "seresnet34",
    }
    found = start.network.get_submodule("encoder").state_dict()
    assert all(torch.equal(found[name], public[name]) for name in public)


# How the gate is used.


def test_a_run_is_asked_for_where_healthy_and_infected_volumes_validate():
    healthy = [made(f"h_{k:03d}", patient="h") for k in range(6)]
    infected = [made(f"i_{k:03d}", 1, patient="i") for k in range(5)]
    p = np.array([0.1, 0.6, 0.7, 0.1, 0.6, 0.2, *(0.9,) * 5])
    assert choose_use(p, [*healthy, *infected], volumes=True) == GateSpec(
        segment_above=0.2, rule="run", run=3
    )
    assert choose_use(p, [*healthy, *infected], volumes=False).rule == "any-slice"
    assert choose_use(p[6:], infected, volumes=True).rule == "any-slice"


def test_volumes_are_told_apart_and_slices_left_out_count_as_nothing():
    slices = [made("a_003", patient="a"), made("a_005", 1, patient="a")]
    slices += [made("a_002", patient="a"), made("b_002", 1, patient="b")]
    found = volume_probabilities(np.array([0.3, 0.5, 0.2, 0.9]), slices)
    assert found == [(True, [0.3, 0.0, 0.5]), (False, [0.2]), (True, [0.9])]


# What a card says of the accuracy.


def test_figures_by_class_are_over_patients_who_have_the_class(tmp_path, monkeypatch):
    monkeypatch.setattr(tiny_model, "STEEPNESS", 4.0)  # no probability is rounded to 1
    card = install(tmp_path, monkeypatch, classes=LESION_TYPES[:2])  # marks by grey

    def one(patient: str, truth: int, grey: int) -> Slice:
        image, mask = np.zeros((128, 128), np.uint8), np.zeros((128, 128), np.uint8)
        image[:64], mask[:32] = grey, truth
        return Slice(image, mask, patient, "own", patient)

    first, second = 130, 250  # greys that the network takes for the classes
    slices = [one("a", 1, first), one("b", 2, second), one("b", UNKNOWN_CLASS, second)]
    slices += [one("c", 2, first), one("free", 0, second)]
    found = measure_classes(card, slices, device=torch.device("cpu"))
    # Half of what is marked in a is right; b and c do not have class 1.
    assert found["ground-glass opacity: Dice"]["value"] == pytest.approx(2 / 3, abs=0.01)
    assert found["ground-glass opacity: Dice"]["patients"] == 1
    assert found["consolidation: Dice"]["value"] == pytest.approx((2 / 3 + 0) / 2, abs=0.01)
    assert found["consolidation: pixel recall"]["value"] == pytest.approx(0.5, abs=0.01)
    assert found["any lesion: Dice"]["patients"] == 3
    assert found["marked share of slices without lesion"]["value"] == pytest.approx(0.5, abs=0.01)
    assert (found["patients"], found["slices"]) == (4, 5)


def test_figures_of_the_gate():
    slices = [made("1", 1, 1, patient="a"), made("2", patient="a")]
    slices += [made("3", 1, 1, 1, 1, 1, 1, patient="b"), made("4", patient="b")]
    found = measure_gate(GateSpec(segment_above=0.2), np.array([0.1, 0.3, 0.9, 0.2]), slices)
    values = {key: one["value"] for key, one in found.items() if isinstance(one, dict)}
    assert values == {
        "area under the ROC curve": 0.5,
        "sensitivity at 0.5": 0.5,
        "specificity at 0.5": 1.0,
        "lesion area on slices left out": 0.25,
        "share of the lesion-free slices left out": 0.5,
    }
