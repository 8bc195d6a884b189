"""Lesion-to-lung area ratios by severity, their tests and box plots."""

from __future__ import annotations

import json

import numpy as np
import pytest
from skimage import io

from CovidLesionSegLogic.assess.severity import Areas, SeverityAreas, draw_severity
from CovidLesionSegLogic.models import LesionClass

CLASSES = (
    LesionClass("ground-glass opacity", 1),
    LesionClass("consolidation", 2),
    LesionClass("fibrosis", 7),
)
SEVERITIES = ("mild", "moderate", "severe")


def slice_with(*shares: int) -> np.ndarray:
    """A 10 x 10 label map with so many pixels of each class, in order."""
    flat = np.zeros(100, np.uint8)
    start = 0
    for one, n in zip(CLASSES, shares, strict=True):
        flat[start : start + n] = one.label
        start += n
    return flat.reshape(10, 10)


def test_areas_by_hand():
    labels = slice_with(10, 6, 0)
    lungs = np.zeros((10, 10), np.uint8)
    lungs[:5] = 2
    assert Areas.of(labels, lungs, CLASSES) == Areas((10, 6, 0), 50)
    assert Areas.of(labels, lungs, CLASSES).ratios() == pytest.approx((0.2, 0.12, 0))
    lungs[:1] = 0  # a lung mask that spares the lesion: it is lung all the same
    assert Areas.of(labels, lungs, CLASSES).lung == 50
    assert Areas.of(np.zeros_like(labels), np.zeros_like(lungs), CLASSES).ratios() is None
    with pytest.raises(ValueError, match="differ in size"):
        Areas.of(labels[:5], lungs, CLASSES)


def filled(unit: str) -> SeverityAreas:
    areas = SeverityAreas(CLASSES, SEVERITIES, unit=unit)
    lungs = np.ones((10, 10), np.uint8)
    rng = np.random.default_rng(1)
    for level, severity in enumerate(SEVERITIES):
        for patient in range(4):
            for _ in range(2):
                truth = slice_with(5 + 20 * level + patient, 5, int(level == 2))
                found = slice_with(6 + 20 * level + patient, int(rng.integers(3, 8)), 0)
                name = f"{severity} {patient}"
                areas.update(truth, found, lungs, severity=severity, patient=name)
    return areas


def test_slices_are_added_up_by_patient():
    areas = SeverityAreas(CLASSES, SEVERITIES)
    half, whole = np.zeros((10, 10), np.uint8), np.ones((10, 10), np.uint8)
    half[:5] = 1
    update = {"severity": "mild", "patient": "a"}
    areas.update(slice_with(10, 0, 0), slice_with(0, 0, 0), half, **update)
    areas.update(slice_with(20, 0, 0), slice_with(15, 0, 0), whole, **update)
    ratios = areas.compute().ratios["ground-glass opacity"]
    assert ratios["truth"] == {"mild": [30 / 150], "moderate": [], "severe": []}
    assert ratios["result"]["mild"] == [15 / 150]
    nothing = slice_with(0, 0, 0)  # above the lungs
    areas.update(nothing, nothing, nothing, **update)
    areas.update(nothing, nothing, nothing, severity="severe", patient="without lung")
    assert areas.compute().ratios["ground-glass opacity"] == ratios
    with pytest.raises(ValueError, match="a is mild and severe"):
        areas.update(whole, whole, whole, severity="severe", patient="a")
    with pytest.raises(ValueError, match="none of mild"):
        areas.update(whole, whole, whole, severity="dire", patient="b")
    with pytest.raises(ValueError, match="unit"):
        SeverityAreas(CLASSES, SEVERITIES, unit="lobe")


def test_table_5():
    figures = filled("patient").compute()
    tests = figures.tests()
    assert tests["ground-glass opacity"]["result"]["kruskal_wallis"]["p"] < 0.01
    assert tests["ground-glass opacity"]["result"]["spearman"]["statistic"] > 0.9
    assert tests["ground-glass opacity"]["truth"]["spearman"]["n"] == 12
    assert tests["consolidation"]["truth"]["kruskal_wallis"]["p"] is None  # all equal
    assert tests["fibrosis"]["truth"]["kruskal_wallis"]["p"] < 0.01
    assert "equal" in tests["fibrosis"]["result"]["kruskal_wallis"]["note"]
    by_slice = filled("slice").compute()
    assert by_slice.tests()["fibrosis"]["truth"]["spearman"]["n"] == 24
    assert json.loads(json.dumps(figures.to_dict()))["unit"] == "patient"


def test_box_plots_show_truth_in_blue_and_prediction_in_brown(tmp_path):
    path = tmp_path / "figure_4.png"
    draw_severity(path, filled("patient").compute())
    picture = io.imread(path)[..., :3].astype(int)
    for color in ((0x4C, 0x72, 0xB0), (0xC0, 0x78, 0x40)):
        assert (np.abs(picture - color).max(axis=-1) < 4).sum() > 50
    width = picture.shape[1] // 3  # the three classes
    blue = np.abs(picture - (0x4C, 0x72, 0xB0)).max(axis=-1) < 4
    assert blue[:, :width].any()
    empty = SeverityAreas(CLASSES, SEVERITIES).compute()
    draw_severity(tmp_path / "empty.png", empty)  # nothing to show is no error
    assert (tmp_path / "empty.png").is_file()
