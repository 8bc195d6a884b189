"""``evaluate slices``: figures, maps and curves of a known network; what is refused and how."""

from __future__ import annotations

import csv
import json
import signal

import numpy as np
import pytest
import tiny_model
from skimage import io

from CovidLesionSegLogic.assess.pictures import find_pairs, read_grey, read_pair, to_mask
from CovidLesionSegLogic.assess.slices import score_slice
from CovidLesionSegLogic.cli import main
from CovidLesionSegLogic.errors import InputError

LIMIT = 0.4  # TinyNet is positive above this grey; see tiny_model


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    io.imsave(path, array, check_contrast=False)


@pytest.fixture
def card(tmp_path, monkeypatch):
    folder = tmp_path / "models"
    folder.mkdir()
    return tiny_model.install(folder, monkeypatch)


@pytest.fixture
def data(tmp_path):
    """Three slices of the network's own size, so that nothing is interpolated, and one empty."""
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        image = rng.integers(0, 256, (128, 128), np.uint8)
        save(tmp_path / "images" / f"{name}.png", image)
        truth = (image > 130) & (rng.random(image.shape) < 0.9)
        save(tmp_path / "masks" / f"{name}.png", truth.astype(np.uint8) * 255)
    save(tmp_path / "images" / "empty.png", np.full((64, 50), 10, np.uint8))
    save(tmp_path / "masks" / "empty.bmp", np.zeros((64, 50), np.uint8))
    return tmp_path


@pytest.fixture
def request_line(card, data):
    return [
        *("evaluate", "slices", "--model", "tiny", "--device", "cpu", "--protocol", "refnet"),
        *("--images", str(data / "images"), "--masks", str(data / "masks")),
        *("-o", str(data / "out" / "figures.json")),
    ]


def test_figures_are_those_of_the_known_network(request_line, data, card, capsys):
    assert main(request_line) == 0
    report = json.loads((data / "out" / "figures.json").read_text())
    assert report["model"] == {"name": "tiny", "version": "1.0", "sha256": card.weights.sha256}
    assert report["protocol"]["own_threshold"] == 0.5
    assert report["protocol"]["intervals"]["resamples"] == 2000
    assert report["counts"] == {
        "images": 4,
        "empty_truth": 1,
        "empty_result": 1,
        "both_empty": 1,
        "constant_map": 1,
    }
    scores = []
    for name in ("a", "b", "c"):
        image = io.imread(data / "images" / f"{name}.png") / 255
        truth = io.imread(data / "masks" / f"{name}.png") > 0
        soft = 1 / (1 + np.exp(-tiny_model.STEEPNESS * (image - LIMIT)))
        scores.append(score_slice(np.rint(soft * 255) / 255, truth))
        own = 2 * ((image >= LIMIT) & truth).sum() / ((image >= LIMIT).sum() + truth.sum())
        row = next(r for r in report["images"] if r["name"] == name)
        assert row["dice_own_threshold"] == pytest.approx(own, abs=1e-9)
        assert row["dice_mean_256"] == pytest.approx(scores[-1].mean_dice, abs=1e-4)
        assert row["s_measure"] == pytest.approx(scores[-1].s_measure, abs=1e-4)
    metrics = report["metrics"]
    mean = sum(s.mean_dice for s in scores) / 4  # the empty slice counts 0, as published
    assert metrics["dice_mean_256"]["value"] == pytest.approx(mean, abs=1e-4)
    assert metrics["dice_own_threshold"]["n"] == 3
    assert metrics["dice_max"]["value"] >= metrics["dice_mean_256"]["value"]
    for metric in metrics.values():
        assert metric["low"] <= metric["value"] <= metric["high"]
    out = capsys.readouterr().out
    assert f"{metrics['mae']['value']:.3f}" in out
    assert "both empty: 1" in out


def test_maps_and_curves(request_line, data):
    maps, curves = data / "maps", data / "curves"
    assert main([*request_line, "--maps", str(maps), "--curves", str(curves)]) == 0
    assert sorted(p.name for p in maps.iterdir()) == ["a.png", "b.png", "c.png", "empty.png"]
    assert read_grey(maps / "empty.png").shape == (64, 50)
    assert read_grey(maps / "empty.png").max() == 0  # not stretched
    image, grey = io.imread(data / "images" / "a.png") / 255, read_grey(maps / "a.png")
    expected = 255 / (1 + np.exp(-tiny_model.STEEPNESS * (image - LIMIT)))
    assert np.abs(grey - expected).max() <= 0.51
    names = sorted(p.name for p in curves.iterdir())
    assert names == ["curves.csv", "f_measure.png", "precision_recall.png"]
    with (curves / "curves.csv").open(encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 256
    report = json.loads((data / "out" / "figures.json").read_text())
    best = max(float(r["dice"]) for r in rows)
    assert best == pytest.approx(report["metrics"]["dice_max"]["value"])
    assert [float(r["f_measure_beta2_1"]) for r in rows] == pytest.approx(
        [float(r["dice"]) for r in rows]
    )
    assert io.imread(curves / "f_measure.png").std() > 1


def test_progress_is_json_and_ends_with_the_outputs(request_line, data, capfd):
    assert main([*request_line, "--progress", "json"]) == 0
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert list(dict.fromkeys(e.get("stage") for e in events[:-1])) == ["check", "evaluate"]
    assert events[-1] == {
        "event": "done",
        "outputs": {"figures": str(data / "out" / "figures.json")},
    }


def refused(request_line, capsys, data, code, *words, extra=()):
    assert main([*request_line, *extra]) == code
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("error: ")
    for word in words:
        assert word in message
    assert not (data / "out").exists()


def test_wrong_requests(request_line, data, capsys):
    def at(option, value):
        changed = list(request_line)
        changed[changed.index(option) + 1] = str(value)
        return changed

    refused(at("--protocol", "other"), capsys, data, 2, "refnet or coarse-refine")
    refused(at("--model", "absent"), capsys, data, 2, "installed: tiny")
    refused(at("--images", data / "nowhere"), capsys, data, 2, "nowhere")
    refused(at("-o", data), capsys, data, 2, "FILE.json")
    with_patient = ("--patient", "^(.)")
    refused(request_line, capsys, data, 2, "over images", extra=with_patient)
    same = ("--maps", str(data / "masks"))
    refused(request_line, capsys, data, 2, "choose another folder", extra=same)
    assert len(list((data / "masks").iterdir())) == 4
    (data / "void").mkdir()
    refused(at("--masks", data / "void"), capsys, data, 3, "void", "no picture")


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("images/d.png", np.zeros((8, 8), np.uint8), ("d.png", "no mask")),
        ("masks/d.png", np.zeros((8, 8), np.uint8), ("d.png", "no image")),
        ("masks/a.png", np.zeros((128, 127), np.uint8), ("a.png", "128 x 128", "127 x 128")),
        ("images/a.png", np.zeros((128, 128), np.uint16), ("a.png", "8-bit")),
        ("images/a.bmp", np.zeros((128, 128), np.uint8), ("a.png", "a.bmp")),
    ],
)
def test_pictures_that_do_not_fit(request_line, data, capsys, monkeypatch, name, array, words):
    def computed(*args, **kwargs):
        raise AssertionError("the network ran before everything was checked")

    monkeypatch.setattr(tiny_model.TinyNet, "predict_logits", computed)
    save(data / name, array)
    refused(request_line, capsys, data, 3, *words)


def test_of_several_classes_refnet_judges_the_largest(
    data, request_line, tmp_path, monkeypatch, capsys
):
    assert main(request_line) == 0
    single = json.loads((data / "out" / "figures.json").read_text())
    classes = [{"name": "one", "label": 1}, {"name": "two", "label": 2, "threshold": 0.9}]
    tiny_model.install(tmp_path / "models", monkeypatch, name="two", classes=classes)
    capsys.readouterr()
    assert main([a if a != "tiny" else "two" for a in request_line]) == 0
    assert "largest of their probabilities (any lesion)" in capsys.readouterr().out
    report = json.loads((data / "out" / "figures.json").read_text())
    assert "any lesion" in report["notice"]
    assert "any lesion" in report["protocol"]["description"]
    assert report["protocol"]["own_threshold"] == {"one": 0.5, "two": 0.9}
    # The first class reaches further down, so that the union is what it marks.
    for key in ("dice_own_threshold", "dice_mean_256"):
        assert report["metrics"][key]["value"] == pytest.approx(
            single["metrics"][key]["value"], abs=2e-3
        )
    assert report["counts"]["both_empty"] == 1


def test_cancelling_leaves_nothing(request_line, data, monkeypatch):
    def interrupted(self, x):
        signal.raise_signal(signal.SIGINT)
        return self.conv(x)

    monkeypatch.setattr(tiny_model.TinyNet, "predict_logits", interrupted)
    assert main([*request_line, "--maps", str(data / "maps")]) == 130
    assert not (data / "out").exists()
    assert not (data / "maps").exists()


def test_reading_masks_and_grey(tmp_path):
    assert to_mask(np.array([[0, 127, 128, 255]], np.uint8)).tolist() == [[0, 0, 1, 1]]
    assert to_mask(np.array([[0, 1, 1, 0]], np.uint8)).tolist() == [[0, 1, 1, 0]]
    assert to_mask(np.array([[0, 1, 2, 0]], np.uint8)).tolist() == [[0, 1, 1, 0]]
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    save(tmp_path / "rgb.png", np.stack([grey] * 3, axis=-1))
    np.testing.assert_array_equal(read_grey(tmp_path / "rgb.png"), grey)
    save(tmp_path / "colour.png", np.stack([grey, grey, grey + 1], axis=-1))
    with pytest.raises(InputError, match=r"colour\.png is not one grey picture"):
        read_grey(tmp_path / "colour.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "rgb.png").read_bytes()[:40])
    with pytest.raises(InputError, match=r"cut\.png cannot be read"):
        read_grey(tmp_path / "cut.png")


@pytest.mark.data
def test_real_slices_pair_and_read(shared_data):
    folder = shared_data / "sirm100_train50"
    pairs = find_pairs(folder / "images", folder / "lesion")
    assert len(pairs) == 50
    image, truth = read_pair(pairs[0])
    assert image.shape == truth.shape
    assert 0 < truth.mean() < 0.6
