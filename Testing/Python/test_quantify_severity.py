"""The CT severity score: hand-computed, with its source, and only for five lobes."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass

import numpy as np
import pytest
from lobed_case import LOBES, lobed_case

from CovidLesionSegLogic.quantify import (
    SCORE_NOTE,
    SCORE_SOURCE,
    Quantification,
    Regions,
    name_lobes,
    quantify,
    write_csv,
    write_json,
)


@dataclass(frozen=True)
class Named:
    """The least a lesion class is asked for."""

    name: str
    label: int


CLASSES = (Named("ground-glass opacity", 1), Named("consolidation", 2))


def measured(labels=None, lobes=None):
    ct, own_labels, lungs, own_lobes = lobed_case()
    regions = name_lobes(Regions(own_lobes if lobes is None else lobes, {}), ct, lungs)
    labels = own_labels if labels is None else labels
    return quantify(ct, labels, lungs, CLASSES, regions=regions.labels, region_names=regions.names)


def test_score_of_known_shares():
    q = measured()
    assert [r.name for r in q.regions] == [lobe for lobe, *_ in LOBES]
    assert [r.volume_ml for r in q.regions] == [400, 200, 400, 500, 500]
    assert [r.total_share_percent for r in q.regions] == pytest.approx([0, 4.5, 25, 50, 80])
    assert [r.score for r in q.regions] == [0, 1, 2, 4, 5]
    assert q.score_0_to_25 == 12
    assert q.lesion_outside_regions_ml == 0
    upper = next(r for r in q.regions if r.name == "left upper lobe")
    assert upper.share_percent == pytest.approx({CLASSES[0].name: 25, CLASSES[1].name: 25})


def test_lesion_outside_the_lobes_is_counted_and_said():
    _, labels, _, _ = lobed_case()
    labels[:, :, 5:7] = 1
    q = measured(labels)
    assert q.lesion_outside_regions_ml == 400
    assert q.score_0_to_25 == 12
    assert any("400.00 mL of lesion lie outside the lobes" in w for w in q.warnings)
    assert not any("lobes" in w for w in measured().warnings)


def test_an_empty_lobe_gives_no_sum():
    ct, labels, lungs, lobes = lobed_case()
    lobes[lobes == 13] = 0
    names = {label: lobe for lobe, label, *_ in LOBES}
    q = quantify(ct, labels, lungs, CLASSES, regions=lobes, region_names=names)
    assert q.score_0_to_25 is None
    assert any("right middle lobe is empty" in w for w in q.warnings)


def test_source_stands_in_json_and_csv(tmp_path):
    q = measured()
    write_json(q, tmp_path / "q.json")
    data = json.loads((tmp_path / "q.json").read_text(encoding="utf-8"))
    assert data["score_0_to_25"] == 12
    assert data["score_source"] == SCORE_SOURCE
    assert data["score_note"] == SCORE_NOTE
    assert "not a diagnosis" in SCORE_NOTE
    assert Quantification.from_dict(data) == q
    del data["lesion_outside_regions_ml"]
    assert Quantification.from_dict(data).lesion_outside_regions_ml is None
    write_csv(q.rows(), tmp_path / "q.csv")
    with open(tmp_path / "q.csv", newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    assert rows[-1]["place"] == "five lobes"
    assert rows[-1]["score_0_to_25"] == "12"
    assert float(rows[-1]["volume_ml"]) == q.total.volume_ml
    scored = [r for r in rows if r["score_source"]]
    assert [r["score_0_to_5"] for r in scored] == ["0", "1", "2", "4", "5", ""]
    assert {r["score_source"] for r in scored} == {SCORE_SOURCE}


def test_without_regions_no_score_is_spoken_of():
    ct, labels, lungs, _ = lobed_case()
    q = quantify(ct, labels, lungs, CLASSES)
    assert q.lesion_outside_regions_ml is None
    assert "score_source" not in q.to_dict()
    assert all(r["score_source"] is None for r in q.rows())


def test_more_lesion_never_scores_less():
    _, labels, lungs, _ = lobed_case()
    before = measured().score_0_to_25
    more = np.where(lungs > 0, np.maximum(labels, 1), labels)
    assert measured(more).score_0_to_25 == 25 > before
