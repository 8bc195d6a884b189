"""``evaluate slices --protocol coarse-refine``: figures by class of a known network, and masks."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import tiny_model
from skimage import io

from CovidLesionSegLogic.assess.class_curves import ClassCurves
from CovidLesionSegLogic.assess.overlap import PixelCounts
from CovidLesionSegLogic.assess.overlay import OverlayRow, color_lesions, draw_overlays
from CovidLesionSegLogic.assess.pictures import read_grey
from CovidLesionSegLogic.assess.slice_maps import folder_names
from CovidLesionSegLogic.cli import main
from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.models import LesionClass

# Without saturation: class 2 is the more probable one above grey 0.8, and reaches 0.5 at 0.6.
SOFT = {"temperature": 20.0}
GGO, CONSOLIDATION, FIBROSIS = "ground-glass opacity", "consolidation", "fibrosis"
CLASSES = [
    {"name": GGO, "label": 1, "color": [220, 50, 50]},
    {"name": CONSOLIDATION, "label": 2, "color": [60, 180, 75]},
    {"name": FIBROSIS, "label": 3, "color": [60, 110, 220]},
]
IMAGES = ("p1_a", "p1_b", "p2_a", "p3_empty")


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    io.imsave(path, array, check_contrast=False)


def grey_of(folder, name):
    return io.imread(folder / "images" / f"{name}.png") / 255


def expected_labels(x):
    """What TinyNet with two classes marks, with ``SOFT``."""
    return np.where(x > 0.8, 2, np.where(x >= 0.4, 1, 0)).astype(np.uint8)


@pytest.fixture
def data(tmp_path):
    """Images of the network's own size without grey 0.4 and 0.8; the last is empty."""
    rng = np.random.default_rng(5)
    levels = np.setdiff1d(np.arange(256), [102, 153, 204]).astype(np.uint8)
    for name in IMAGES:
        image = rng.choice(levels, (128, 128))
        truth = expected_labels(image / 255)
        truth[rng.random(truth.shape) < 0.2] = 0
        if name == "p2_a":
            truth[truth == 2] = 0  # consolidation is found here by mistake
        if name == "p3_empty":
            image, truth = np.full_like(image, 10), np.zeros_like(truth)
        save(tmp_path / "images" / f"{name}.png", image)
        save(tmp_path / "masks" / f"{name}.png", truth)
    return tmp_path


@pytest.fixture
def install(tmp_path, monkeypatch):
    folder = tmp_path / "models"
    folder.mkdir()

    def installed(n):
        return tiny_model.install(folder, monkeypatch, classes=CLASSES[:n], inference=SOFT)

    return installed


@pytest.fixture
def evaluate(data, capsys):
    def run(*extra, code=0, masks="masks"):
        line = ["evaluate", "slices", "--model", "tiny", "--device", "cpu"]
        line += ["--protocol", "coarse-refine", "--images", str(data / "images")]
        line += ["--masks", str(data / masks), "-o", str(data / "out" / "figures.json"), *extra]
        assert main(line) == code
        said = capsys.readouterr()
        if code:
            assert not (data / "out").exists()
            return said.err.splitlines()[-1]
        return json.loads((data / "out" / "figures.json").read_text()), said.out

    return run


def test_figures_are_those_of_the_known_network(data, install, evaluate):
    install(2)
    report, out = evaluate("--patient", "^(p[0-9]+)_")
    assert report["counts"] == {"images": 4, "patients": 3, "classes_unknown": 0}
    assert [one["name"] for one in report["classes"]] == [GGO, CONSOLIDATION, "any lesion"]
    assert [one["label"] for one in report["classes"]] == [1, 2, None]
    counts = {}
    for name in IMAGES:
        found, truth = (
            expected_labels(grey_of(data, name)),
            io.imread(data / "masks" / f"{name}.png"),
        )
        counts[name] = {
            GGO: PixelCounts.of(found == 1, truth == 1),
            CONSOLIDATION: PixelCounts.of(found == 2, truth == 2),
            "any lesion": PixelCounts.of(found > 0, truth > 0),
        }
        row = next(one for one in report["images"] if one["name"] == name)
        assert row["patient"] == name[:2]
        for key, one in counts[name].items():
            for measure in ("dice", "iou", "precision", "recall"):
                assert row["classes"][key][measure] == pytest.approx(getattr(one, measure))
    for one in report["classes"]:
        ours = [counts[name][one["name"]] for name in IMAGES]
        metrics = one["labels"]["metrics"]
        dices = [c.dice for c in ours if c.dice is not None]
        assert metrics["per_image"]["dice"]["value"] == pytest.approx(np.mean(dices))
        pooled = 2 * sum(c.hits for c in ours) / sum(c.marked + c.truth for c in ours)
        assert metrics["pooled"]["dice"]["value"] == pytest.approx(pooled)
        assert metrics["per_patient"]["dice"]["n"] == 2  # the third has nothing to agree on
        assert one["labels"]["counts"]["both_empty"] == 1
    consolidation = report["classes"][1]
    assert (
        next(r for r in report["images"] if r["name"] == "p2_a")["classes"][CONSOLIDATION]["dice"]
        == 0
    )
    # At 0.5 its own map reaches down to grey 0.6, where the other class is more probable.
    soft = consolidation["maps_at_0.5"]["metrics"]["pooled"]["precision"]["value"]
    assert soft < 0.7 * consolidation["labels"]["metrics"]["pooled"]["precision"]["value"]
    assert report["protocol"]["intervals"]["unit"] == "patient"
    assert f"{consolidation['labels']['metrics']['pooled']['dice']['value']:.3f}" in out
    assert "per patient" in out


@pytest.mark.parametrize("n", [1, 3])
def test_any_number_of_classes(data, install, evaluate, n):
    install(n)
    if n == 1:
        for name in IMAGES:
            path = data / "masks" / f"{name}.png"
            save(path, (io.imread(path) > 0).astype(np.uint8) * 255)
    report, _ = evaluate("--maps", str(data / "maps"))
    names = [GGO, CONSOLIDATION, FIBROSIS][:n] + (["any lesion"] if n > 1 else [])
    assert [one["name"] for one in report["classes"]] == names
    assert report["protocol"]["intervals"]["unit"] == "image"
    assert report["counts"]["patients"] == 4
    union = report["classes"][-1]["labels"]["metrics"]["pooled"]
    assert union["precision"]["value"] > 0.7
    assert union["recall"]["value"] == pytest.approx(1)
    folders = sorted(p.name for p in (data / "maps").iterdir() if p.is_dir())
    if n == 1:
        assert folders == []
        assert (data / "maps" / "p1_a.png").is_file()
    else:
        assert folders == ["consolidation", "fibrosis", "ground-glass_opacity"]
        x = grey_of(data, "p1_a")
        grey = read_grey(data / "maps" / "consolidation" / "p1_a.png")
        expected = 255 / (1 + np.exp(-2 * tiny_model.STEEPNESS / 20 * (x - 0.6)))
        assert np.abs(grey - expected).max() <= 0.51


def test_a_folder_of_masks_for_each_class_gives_the_same(data, install, evaluate):
    install(2)
    maps, _ = evaluate()
    for name in IMAGES:
        truth = io.imread(data / "masks" / f"{name}.png")
        for folder, label in (("Ground-glass opacity", 1), ("consolidation", 2), ("fibrosis", 3)):
            mask = (truth == label).astype(np.uint8) * 255
            save(data / "by_class" / folder / f"{name}.png", mask)
    (data / "by_class" / ".hidden").mkdir()
    folders, out = evaluate(masks="by_class")
    assert folders["classes"] == maps["classes"]
    assert folders["protocol"]["mask_folders_not_judged"] == ["fibrosis"]
    assert "not judged: fibrosis" in out


def test_lesion_of_unknown_class_is_judged_for_any_lesion(data, install, evaluate):
    install(2)
    before, _ = evaluate()
    path = data / "masks" / "p1_a.png"
    save(path, (io.imread(path) > 0).astype(np.uint8) * 255)
    after, _ = evaluate()
    assert after["counts"]["classes_unknown"] == 1
    assert after["classes"][2] == before["classes"][2]  # any lesion
    assert after["classes"][0]["labels"]["counts"]["images"] == 3
    assert list(after["images"][0]["classes"]) == ["any lesion"]


def test_curves_agree_with_the_figures_at_a_half(data, install, evaluate):
    install(2)
    report, _ = evaluate("--curves", str(data / "curves"))
    names = sorted(p.name for p in (data / "curves").iterdir())
    assert names == ["curves.csv", "dice.png", "precision_recall.png"]
    with (data / "curves" / "curves.csv").open(encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    half = next(r for r in rows if float(r["threshold"]) <= 128 / 255)
    for one in report["classes"]:
        pooled = one["maps_at_0.5"]["metrics"]["pooled"]
        for key in ("dice", "precision", "recall"):
            assert float(half[f"{one['name']}, {key}"]) == pytest.approx(
                pooled[key]["value"], abs=0.01
            )


def test_curves_by_hand():
    curves = ClassCurves(["one"])
    grey = np.array([[255, 100], [100, 0]], np.uint8)
    curves.update("one", grey, np.array([[1, 1], [0, 0]], bool))
    found = curves.compute()["one"]
    assert found["recall"][[0, 155, 255]].tolist() == [0.5, 1, 1]
    assert found["precision"][[0, 155, 255]].tolist() == pytest.approx([1, 2 / 3, 1 / 2])
    assert found["dice"][[0, 155, 255]].tolist() == pytest.approx([2 / 3, 4 / 5, 2 / 3])


def test_what_does_not_fit_is_refused_before_the_network_runs(data, install, evaluate, monkeypatch):
    install(2)

    def computed(*args, **kwargs):
        raise AssertionError("the network ran before everything was checked")

    monkeypatch.setattr(tiny_model.TinyNet, "predict_logits", computed)
    assert "p2_a, p3_empty: correct it" in evaluate("--patient", "^p1", code=3)
    assert "not a regular expression" in evaluate("--patient", "(", code=2)
    assert "choose another folder" in evaluate("--maps", str(data / "masks"), code=2)
    save(data / "half" / "consolidation" / "p1_a.png", np.zeros((128, 128), np.uint8))
    message = evaluate(masks="half", code=2)
    assert "none for 'ground-glass opacity'" in message
    assert "is not a folder" in evaluate(masks="nowhere", code=2)
    save(data / "masks" / "p1_b.png", np.full((128, 128), 3, np.uint8))
    message = evaluate(code=3)
    for word in ("p1_b.png", "value 3", "2 consolidation", "a folder of masks for each class"):
        assert word in message
    save(data / "masks" / "p1_b.png", np.zeros((128, 127), np.uint8))
    assert "127 x 128" in evaluate(code=3)


def test_a_failure_leaves_no_maps(data, install, evaluate, monkeypatch):
    install(2)

    def fails(self, x):
        raise RequestError("no.")

    monkeypatch.setattr(tiny_model.TinyNet, "predict_logits", fails)
    evaluate("--maps", str(data / "maps"), code=2)
    assert not (data / "maps").exists()


def test_folder_names():
    def names(*given):
        return folder_names([LesionClass(name, i + 1) for i, name in enumerate(given)])

    assert names(GGO, CONSOLIDATION) == ["ground-glass_opacity", "consolidation"]
    assert names("a b", "A_b", "c/d") == ["a_b_1", "A_b_2", "c_d"]


def test_overlay_shows_the_classes_in_their_colours(tmp_path):
    classes = [LesionClass(c["name"], c["label"], color=tuple(c["color"])) for c in CLASSES]
    image = np.full((40, 60), 100, np.uint8)
    labels = np.zeros((40, 60), np.uint8)
    labels[5:15, 5:25], labels[20:30, 5:25], labels[20:30, 30:50] = 1, 2, 3
    labels[0, 0] = 255
    mixed = color_lesions(image, labels, classes)
    assert mixed[35, 35].tolist() == [100, 100, 100]
    assert mixed[10, 10].tolist() == [160, 75, 75]
    assert mixed[25, 40].tolist() == [80, 105, 160]
    assert mixed[0, 0].tolist() == [178, 178, 178]
    full = np.full_like(labels, 2)  # lesion up to every edge has an outline too
    rows = [OverlayRow("a", image, (labels, full)), OverlayRow("b", image, (labels, labels * 0))]
    for style in ("contour", "filled"):
        draw_overlays(tmp_path / f"{style}.png", rows, classes, style=style)
        picture = io.imread(tmp_path / f"{style}.png")[..., :3].astype(int)
        body = picture[: int(0.85 * len(picture))]  # without the legend
        thirds = np.array_split(body, 3, axis=1)
        for one in classes:
            color = one.color if style == "contour" else tuple((100 + np.array(one.color)) // 2)
            seen = [(np.abs(part - color).max(axis=-1) < 12).sum() for part in thirds]
            assert seen[0] == 0  # the slice itself
            assert seen[1] > 20
            assert (seen[2] > 20) == (one.label == 2)
    with pytest.raises(RequestError, match="contour or filled"):
        draw_overlays(tmp_path / "x.png", rows, classes, style="dotted")
    with pytest.raises(ValueError, match="2 label maps"):
        draw_overlays(tmp_path / "x.png", [OverlayRow("a", image, (labels,))], classes)
