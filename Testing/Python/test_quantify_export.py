"""JSON and CSV: complete, safe in a spreadsheet, whole or not at all."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass, replace

import numpy as np
import pytest

from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.quantify import (
    Quantification,
    compare,
    quantify,
    slice_rows,
    write_csv,
    write_json,
)
from CovidLesionSegLogic.quantify.export import safe_cell


@dataclass(frozen=True)
class Named:
    """The least a lesion class is asked for."""

    name: str
    label: int


CLASSES = (Named("ground-glass opacity", 1), Named("=cmd|' /C calc'!A0", 2))


@pytest.fixture
def quantification():
    """Two blocks of lung, some lesion, three regions."""
    lungs = np.zeros((5, 8, 10), np.uint8)
    lungs[:, 1:7, 1:4], lungs[:, 1:7, 6:9] = 1, 2
    labels = np.zeros_like(lungs)
    labels[1:3, 2:4, 1:3], labels[3, 2, 7] = 1, 2
    ct = CTVolume(np.full(lungs.shape, -700, np.int16), spacing=(1, 1, 5), name="+study")
    return quantify(ct, labels, lungs, CLASSES, regions=lungs, region_names={1: "@right"})


def read(path):
    with open(path, newline="", encoding="utf-8-sig") as stream:
        return list(csv.DictReader(stream))


def test_csv_has_every_place_and_class(quantification, tmp_path):
    path = tmp_path / "q.csv"
    write_csv(quantification.rows(), path)
    rows = read(path)
    places = ["whole scan", "both lungs", "right lung", "left lung", "'@right", "region 2"]
    assert [r["place"] for r in rows] == [p for p in places for _ in range(3)]
    both = rows[3]
    assert both["class"] == "ground-glass opacity"
    assert float(both["volume_ml"]) == pytest.approx(8 * 0.005)
    assert float(both["share_percent"]) == pytest.approx(100 * 8 / 180)
    assert float(both["place_volume_ml"]) == pytest.approx(180 * 0.005)
    assert rows[0]["share_percent"] == ""
    assert rows[0]["components"] == "1"
    assert list(tmp_path.iterdir()) == [path]


def test_slice_rows(quantification, tmp_path):
    write_csv(slice_rows(quantification), tmp_path / "slices.csv")
    rows = read(tmp_path / "slices.csv")
    assert [float(r["total_lesion_area_mm2"]) for r in rows] == [0, 1, 4, 4, 0]
    assert [float(r["z_mm"]) for r in rows] == [20, 15, 10, 5, 0]
    assert rows[1]["own_slice_index"] == "3"


def test_text_that_a_spreadsheet_would_run_is_neutralised(quantification, tmp_path):
    write_csv(quantification.rows(), tmp_path / "q.csv")
    for row in read(tmp_path / "q.csv"):
        for column in ("study", "place", "class"):
            assert not row[column].startswith(("=", "+", "-", "@", "\t"))
    write_csv(slice_rows(quantification), tmp_path / "s.csv")
    assert all(not c.startswith("=") for c in read(tmp_path / "s.csv")[0])


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", " =1", "\r=1", "\n@x"])
def test_safe_cell_marks_text(text):
    assert safe_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", [-3.5, 0, "plain", "a=b", "x-y", "Müller"])
def test_safe_cell_leaves_the_rest(value):
    assert safe_cell(value) == value


def test_safe_cell_none_is_empty():
    assert safe_cell(None) == ""


def test_json_round_trip(quantification, tmp_path):
    write_json(quantification, tmp_path / "q.json")
    data = json.loads((tmp_path / "q.json").read_text(encoding="utf-8"))
    assert Quantification.from_dict(data) == quantification
    assert data["slices_with_lesion"] == [1, 2, 3]


def test_a_path_that_is_no_utf8_is_written_all_the_same(quantification, tmp_path):
    path = os.fsdecode(b"/data/M\xfcller")  # as Linux gives it: a lone surrogate
    assert "\udcfc" in path
    write_json({"input": {path: [path]}}, tmp_path / "q.json")
    data = json.loads((tmp_path / "q.json").read_text(encoding="utf-8"))
    assert data == {"input": {"/data/M\ufffdller": ["/data/M\ufffdller"]}}
    named = replace(quantification, study=path)
    write_csv(named.rows(), tmp_path / "q.csv")
    assert {row["study"] for row in read(tmp_path / "q.csv")} == {"/data/M\ufffdller"}
    write_json(named, tmp_path / "named.json")
    assert safe_cell("lung \U0001fac1") == "lung \U0001fac1"


def test_json_refuses_nan_and_leaves_nothing(quantification, tmp_path):
    broken = replace(quantification, voxel_volume_ml=float("nan"))
    with pytest.raises(ValueError, match="JSON"):
        write_json(broken, tmp_path / "q.json")
    assert list(tmp_path.iterdir()) == []


def test_compare_two_time_points(quantification):
    lungs = np.ones((4, 4, 4), np.uint8)
    ct = CTVolume(np.zeros((4, 4, 4), np.int16), spacing=(10, 10, 10))
    few, many = np.zeros_like(lungs), np.zeros_like(lungs)
    few[0, 0, :2], many[0, 0, :] = 1, 1
    before = quantify(ct, few, lungs, CLASSES[:1])
    after = quantify(ct, many, lungs, CLASSES[:1])
    ggo, total = compare(before, after)
    assert (ggo.name, total.name) == ("ground-glass opacity", "all lesions")
    assert ggo.change_ml == pytest.approx(2.0)
    assert ggo.change_percent == pytest.approx(100.0)
    assert ggo.share_change_points == pytest.approx(100 * 2 / 64)
    healthy = quantify(ct, np.zeros_like(lungs), None, CLASSES[:1])
    new = compare(healthy, after)[1]
    assert (new.change_percent, new.share_change_points, new.mean_hu_change) == (None, None, None)
    with pytest.raises(ValueError, match="different classes"):
        compare(before, quantification)
