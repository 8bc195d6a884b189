"""``evaluate volumes``: figures from the product's own path, and pairs that do not fit."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import tiny_model

from CovidLesionSegLogic.assess.evaluate_volumes import find_cases
from CovidLesionSegLogic.assess.volumes import score_classes, score_lungs, score_volume
from CovidLesionSegLogic.cli import main
from CovidLesionSegLogic.ct import read_ct, write_image
from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.models import LesionClass
from CovidLesionSegLogic.pipeline import SegmentOptions, segment_ct


def test_scores_by_hand():
    truth = np.zeros((2, 3, 4), np.uint8)
    truth[0, 0] = [1, 2, 1, 1]
    found = np.zeros_like(truth)
    found[0, 0] = [1, 1, 0, 0]
    found[1, 1, 1] = 1
    scores = score_volume(found, truth, 0.5)
    assert scores.dice == pytest.approx(4 / 7)
    assert scores.sensitivity == pytest.approx(0.5)
    assert scores.precision == pytest.approx(2 / 3)
    assert (scores.truth_ml, scores.found_ml, scores.volume_error_ml) == (2.0, 1.5, -0.5)
    assert scores.false_positive_ml == 0.5
    empty = np.zeros_like(truth)
    assert score_volume(empty, empty, 1).both_empty
    assert score_volume(found, empty, 1).dice == 0
    assert score_volume(found, empty, 1).sensitivity is None
    assert score_volume(empty, truth, 1).precision is None
    with pytest.raises(ValueError, match="differ in size"):
        score_volume(found[:1], truth, 1)


def test_classes_by_hand():
    classes = [LesionClass("ground-glass opacity", 1), LesionClass("consolidation", 2)]
    truth = np.array([[[1, 1, 2, 0]]], np.uint8)
    found = np.array([[[1, 2, 2, 2]]], np.uint8)
    by_class = score_classes(found, truth, classes, 1)
    assert by_class["ground-glass opacity"].dice == pytest.approx(2 / 3)
    assert by_class["ground-glass opacity"].sensitivity == pytest.approx(1 / 2)
    assert by_class["consolidation"].precision == pytest.approx(1 / 3)
    # One label may mean any lesion; so may labels of other classes, and 255.
    for unclear in ([1, 1, 0, 0], [2, 2, 0, 0], [3, 4, 0, 0], [1, 2, 255, 0]):
        assert score_classes(found, np.array([[unclear]], np.uint8), classes, 1) is None
    other = score_classes(found, np.array([[[1, 1, 3, 0]]], np.uint8), classes, 1)
    assert other["consolidation"].dice == 0
    empty = score_classes(found, np.zeros_like(truth), classes, 1)
    assert empty["ground-glass opacity"].dice == 0


@pytest.mark.parametrize("flip", [False, True])
def test_lungs_are_told_apart_by_place(flip):
    found = np.zeros((2, 4, 10), np.uint8)
    found[:, 1:3, 1:4] = 1
    found[:, 1:3, 6:9] = 2
    affine = np.diag([-0.7 if flip else 0.7, 0.7, 2, 1])
    found = found[..., ::-1] if flip else found
    truth = found.copy()
    truth[:, 1, :] = 0
    swapped = np.choose(truth, np.array([0, 2, 1], np.uint8))
    scores = score_lungs(found, truth, affine)
    assert scores == score_lungs(found, swapped, affine)
    assert scores["right_lung_dice"] == scores["left_lung_dice"] == pytest.approx(2 / 3)
    together = score_lungs(found, (truth > 0).astype(np.uint8), affine)
    assert together["lung_dice"] == pytest.approx(2 / 3)
    assert together["right_lung_dice"] is None


@pytest.mark.parametrize("seed", range(30))
def test_lungs_are_told_apart_by_place_in_any_orientation(seed):
    """The label whose voxels lie further to the right, one after another, is the right lung."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, (3, 4, 7), p=rng.dirichlet([4, 2, 2])).astype(np.uint8)
    truth[0, 0, :2] = 1, 2
    found = rng.integers(0, 3, truth.shape, np.uint8)
    affine = np.eye(4)
    affine[:3] = rng.normal(size=(3, 4))

    def leftward(label):
        return np.mean([(affine @ (i, j, k, 1))[0] for k, j, i in np.argwhere(truth == label)])

    right, left = (1, 2) if leftward(1) < leftward(2) else (2, 1)
    scores = score_lungs(found, truth, affine)
    for name, label, ours in (("right_lung_dice", right, 1), ("left_lung_dice", left, 2)):
        hits = ((found == ours) & (truth == label)).sum()
        assert scores[name] == pytest.approx(
            2 * hits / ((found == ours).sum() + (truth == label).sum())
        )


@pytest.fixture
def data(phantom, tmp_path, monkeypatch):
    """Two small CTs; the second is said to be free of lesions."""
    (tmp_path / "models").mkdir()
    tiny_model.install(tmp_path / "models", monkeypatch)
    tiny_model.install_lungs(tmp_path / "models", monkeypatch)
    part = slice(16, 32)
    ct = dataclasses.replace(phantom.ct, array=phantom.ct.array[part])
    for name, truth in (("p1", phantom.lesions[part] > 0), ("p2", np.zeros(ct.shape, bool))):
        write_image(ct.array, ct, tmp_path / f"{name}_ct.nii.gz")
        write_image(truth.astype(np.uint8), ct, tmp_path / f"{name}_lesion.nii.gz")
        write_image(phantom.lungs[part], ct, tmp_path / f"{name}_lung.nii.gz")
    return tmp_path


def line(data, **changes):
    said = {"ct": "*_ct.nii.gz", "lesion": "*_lesion.nii.gz", "lung": "*_lung.nii.gz"} | changes
    request = ["evaluate", "volumes", "--model", "tiny", "--device", "cpu"]
    for option, pattern in said.items():
        request += [f"--{option}", str(data / pattern)] if pattern else []
    return [*request, "-o", str(data / "out" / "figures.json")]


def test_figures_are_those_of_segment_ct(data, phantom, capsys):
    assert main(line(data)) == 0
    report = json.loads((data / "out" / "figures.json").read_text())
    first, second = report["volumes"]
    ct = read_ct(data / "p1_ct.nii.gz")
    result = segment_ct(ct, SegmentOptions(model="tiny", device="cpu"))
    truth = phantom.lesions[16:32] > 0
    expected = score_volume(result.labels, truth, ct.voxel_volume_ml)
    assert first["dice"] == pytest.approx(expected.dice)
    assert first["volume_error_ml"] == pytest.approx(
        result.quantification.total.volume_ml - truth.sum() * ct.voxel_volume_ml
    )
    assert first["name"] == "p1_ct"
    assert first["lung_method"] == "network"
    assert first["lung_dice"] > 0.8
    assert second["dice"] == 0
    assert second["sensitivity"] is None
    assert second["false_positive_ml"] == pytest.approx(second["found_ml"])
    assert report["counts"] == {
        "volumes": 2,
        "empty_truth": 1,
        "empty_result": 0,
        "both_empty": 0,
    }
    assert report["metrics"]["dice"]["value"] == pytest.approx(expected.dice / 2)
    assert report["metrics"]["sensitivity"]["n"] == 1
    assert "Lesion Dice" in capsys.readouterr().out


CLASSES = [{"name": "ground-glass opacity", "label": 1}, {"name": "consolidation", "label": 2}]


def test_classes_are_judged_where_the_file_tells_them_apart(data, phantom, monkeypatch, capsys):
    tiny_model.install(
        data / "models", monkeypatch, classes=CLASSES, inference={"temperature": 20.0}
    )
    ct = read_ct(data / "p1_ct.nii.gz")
    truth = phantom.lesions[16:32] > 0
    labels = np.where(truth, 1 + (ct.array > -200), 0).astype(np.uint8)
    assert set(np.unique(labels)) == {0, 1, 2}
    write_image(labels, ct, data / "p1_lesion.nii.gz")
    write_image(truth.astype(np.uint8), ct, data / "p3_lesion.nii.gz")  # any lesion
    write_image(ct.array, ct, data / "p3_ct.nii.gz")
    assert main(line(data, lung=None)) == 0
    report = json.loads((data / "out" / "figures.json").read_text())
    first, second, third = report["volumes"]
    result = segment_ct(ct, SegmentOptions(model="tiny", device="cpu"))
    for one in CLASSES:
        expected = score_volume(
            result.labels == one["label"], labels == one["label"], ct.voxel_volume_ml
        )
        assert first["classes"][one["name"]]["dice"] == pytest.approx(expected.dice)
        assert first["classes"][one["name"]]["found_ml"] == pytest.approx(expected.found_ml)
    assert first["classes"]["consolidation"]["found_ml"] > 0
    assert second["classes"]["consolidation"]["truth_ml"] == 0  # no lesion at all
    assert third["classes"] is None
    assert third["dice"] == pytest.approx(first["dice"])
    assert [c["name"] for c in report["classes"]] == [c["name"] for c in CLASSES]
    assert [c["counts"]["volumes"] for c in report["classes"]] == [2, 2]
    assert report["counts"]["volumes"] == 3
    assert report["classes"][0]["metrics"]["dice"]["value"] == pytest.approx(
        (first["classes"]["ground-glass opacity"]["dice"] + 0) / 2
    )
    assert report["volumes_judged_for_any_lesion_only"] == ["p3_ct"]
    out = capsys.readouterr().out
    assert "Judged for any lesion only" in out
    assert "consolidation; volumes: 2" in out
    assert "any lesion" in report["protocol"]["description"]


def test_files_must_pair_and_share_the_grid(data, capsys):
    def refused(code, *words, **changes):
        assert main(line(data, **changes)) == code
        message = capsys.readouterr().err.splitlines()[-1]
        for word in words:
            assert word in message
        assert not (data / "out").exists()

    refused(2, "2 for --ct, 1 for --lesion", lesion="p1_lesion.nii.gz")
    refused(2, "matches no file", lung="*_lungs.nii.gz")
    ct = read_ct(data / "p2_ct.nii.gz")
    moved = dataclasses.replace(ct, origin=(ct.origin[0] + 3, *ct.origin[1:]))
    write_image(np.zeros(ct.shape, np.uint8), moved, data / "p2_lesion.nii.gz")
    refused(3, "p2_lesion.nii.gz", "p2_ct.nii.gz", "3 mm apart")
    short = dataclasses.replace(ct, array=ct.array[:4])
    write_image(np.zeros(short.shape, np.uint8), short, data / "p2_lesion.nii.gz")
    refused(3, "p2_lesion.nii.gz", "p2_ct.nii.gz", "voxels")


def test_a_name_with_brackets_is_itself(tmp_path):
    (tmp_path / "ct[1].nii").touch()
    case = find_cases([str(tmp_path / "ct[1].nii")], [str(tmp_path / "ct*")])[0]
    assert case.ct == case.lesion == tmp_path / "ct[1].nii"
    with pytest.raises(RequestError, match="--ct"):
        find_cases([str(tmp_path / "absent*")], [str(tmp_path / "ct*")])
