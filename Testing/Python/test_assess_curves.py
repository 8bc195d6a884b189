"""Curves over thresholds as numbers: F-measure, means over images, tables, classes."""

from __future__ import annotations

import csv
import importlib.util

import numpy as np
import pytest

from CovidLesionSegLogic.assess.class_curves import ClassCurves, write_class_curves
from CovidLesionSegLogic.assess.curves import (
    BETA_SQUARED,
    comparison_rows,
    f_measure,
    f_name,
    mean_curves,
    require_matplotlib,
    write_curves,
)
from CovidLesionSegLogic.assess.slices import score_slice
from CovidLesionSegLogic.errors import RequestError


def read_csv(path):
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def test_f_measure_by_hand():
    precision, recall = np.array([0.5, 1.0, 0.0, 0.0]), np.array([0.25, 1.0, 0.0, 1.0])
    assert BETA_SQUARED == (0.3, 1.0)
    # 1.3 * 0.5 * 0.25 / (0.3 * 0.5 + 0.25) and 2 * 0.125 / 0.75
    assert f_measure(precision, recall, 0.3).tolist() == pytest.approx([0.40625, 1, 0, 0])
    assert f_measure(precision, recall, 1.0).tolist() == pytest.approx([1 / 3, 1, 0, 0])
    assert [f_name(b2) for b2 in BETA_SQUARED] == ["f_measure_beta2_0.3", "f_measure_beta2_1"]


@pytest.fixture
def two():
    """Two images whose curves differ: one map is right, one is right in half of what it marks."""
    truth = np.zeros((4, 4), bool)
    truth[0] = True
    right, half = truth.astype(float), np.zeros((4, 4))
    half[0, :2], half[3, :2] = 1, 1
    return [score_slice(right, truth), score_slice(half, truth)]


def test_mean_curves_by_hand(two):
    curves = mean_curves(two)
    assert all(values.shape == (256,) for values in curves.values())
    assert curves["threshold"][[0, 127, 255]].tolist() == pytest.approx([1, 128 / 255, 0])
    # At 1/2 the images have precision 1 and 1/2, recall 1 and 1/2, specificity 1 and 10/12.
    middle = {name: float(values[127]) for name, values in curves.items()}
    assert middle["precision"] == pytest.approx(3 / 4)
    assert middle["recall"] == pytest.approx(3 / 4)
    assert middle["specificity"] == pytest.approx((1 + 10 / 12) / 2)
    assert middle["dice"] == pytest.approx(3 / 4)
    assert middle["e_measure"] == pytest.approx(
        (two[0].e_measure_curve[127] + two[1].e_measure_curve[127]) / 2
    )
    # At 0 everything is marked: precision 1/4, recall 1. F = 1.3 / 4 / (0.3 / 4 + 1).
    assert curves["precision"][255] == pytest.approx(1 / 4)
    assert curves["f_measure_beta2_0.3"][255] == pytest.approx(0.325 / 1.075)
    assert curves["f_measure_beta2_1"][255] == pytest.approx(2 / 5)


def test_f_measure_is_averaged_over_images_not_made_from_averages():
    precision = np.array([[1.0] * 256, [0.5] * 256])
    recall = np.array([[0.25] * 256, [1.0] * 256])
    rows = comparison_rows(
        {
            "ours": {"precision": precision, "sensitivity": recall},
            "theirs": {"precision": precision[:1], "sensitivity": recall[:1]},
        }
    )
    assert len(rows) == 256
    assert [rows[i]["threshold"] for i in (0, 255)] == [1, 0]
    row = rows[100]
    assert row["ours, precision"] == pytest.approx(3 / 4)
    assert row["ours, recall"] == pytest.approx(5 / 8)
    assert row["ours, f_measure_beta2_1"] == pytest.approx((2 / 5 + 2 / 3) / 2)
    assert row["ours, f_measure_beta2_0.3"] == pytest.approx((0.325 / 0.55 + 0.65 / 1.15) / 2)
    assert row["theirs, f_measure_beta2_1"] == pytest.approx(2 / 5)
    assert row["theirs, recall"] == pytest.approx(1 / 4)


def test_the_table_of_curves_is_of_the_curves(two, tmp_path):
    write_curves(two, tmp_path, "title")
    rows, curves = read_csv(tmp_path / "curves.csv"), mean_curves(two)
    assert list(rows[0]) == list(curves)
    for name, values in curves.items():
        assert [float(row[name]) for row in rows] == pytest.approx(values.tolist())
    assert sorted(p.name for p in tmp_path.glob("*.png")) == [
        "f_measure.png",
        "precision_recall.png",
    ]


def test_without_matplotlib_curves_are_refused(monkeypatch):
    require_matplotlib()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match="install 'covid-lesion-seg"):
        require_matplotlib()


def test_class_curves_pool_the_pixels_of_all_images():
    curves = ClassCurves(["one", "absent"])
    curves.update("one", np.array([[200, 10]], np.uint8), np.array([[True, False]]))
    curves.update("one", np.array([[200, 90]], np.uint8), np.array([[False, True]]))
    curves.update("absent", np.array([[5, 0]], np.uint8), np.zeros((1, 2), bool))
    with np.errstate(all="raise"):
        found = curves.compute()
    one = found["one"]
    assert all(values.shape == (256,) for values in one.values())
    # From 255 down: nothing, then 200 (one hit, one false), 90 (two hits), 10 (two false).
    at = [0, 255 - 200, 255 - 90, 255 - 10]
    assert np.isnan(one["precision"][0])
    assert one["precision"][at[1:]].tolist() == pytest.approx([1 / 2, 2 / 3, 1 / 2])
    assert one["recall"][at].tolist() == pytest.approx([0, 1 / 2, 1, 1])
    assert one["dice"][at].tolist() == pytest.approx([0, 2 / 4, 4 / 5, 4 / 6])
    # Of an absent class there is nothing to recall, and nothing marked is right.
    absent = found["absent"]
    assert np.isnan(absent["recall"]).all()
    assert np.isnan(absent["precision"][:250]).all()
    assert absent["precision"][250:].tolist() == [0] * 6
    assert np.isnan(absent["dice"][0])
    assert absent["dice"][250:].tolist() == [0] * 6


def test_class_curves_agree_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(4)
    grey = rng.integers(0, 256, (40, 50), np.uint8)
    truth = rng.random(grey.shape) < 0.2 + grey / 500
    curves = ClassCurves(["one"])
    curves.update("one", grey, truth)
    found = curves.compute()["one"]
    precision, recall, thresholds = metrics.precision_recall_curve(truth.ravel(), grey.ravel())
    place = 255 - thresholds.astype(int)
    np.testing.assert_allclose(found["precision"][place], precision[:-1])
    np.testing.assert_allclose(found["recall"][place], recall[:-1])


def test_the_table_of_class_curves_is_empty_where_nothing_is_divided(tmp_path):
    curves = ClassCurves(["one", "two"])
    curves.update("one", np.array([[255, 100], [100, 0]], np.uint8), np.eye(2, dtype=bool))
    curves.update("two", np.array([[9, 9], [9, 9]], np.uint8), np.ones((2, 2), bool))
    write_class_curves(curves, tmp_path, "title")
    rows = read_csv(tmp_path / "curves.csv")
    assert [float(row["threshold"]) for row in rows] == pytest.approx(
        [t / 255 for t in range(255, -1, -1)]
    )
    assert list(rows[0]) == ["threshold"] + [
        f"{name}, {key}" for name in ("one", "two") for key in ("precision", "recall", "dice")
    ]
    assert (rows[0]["one, precision"], rows[0]["two, precision"]) == ("1.0", "")
    assert float(rows[155]["one, dice"]) == pytest.approx(2 / 5)
    assert float(rows[246]["two, recall"]) == 1
    assert sorted(p.name for p in tmp_path.glob("*.png")) == ["dice.png", "precision_recall.png"]
