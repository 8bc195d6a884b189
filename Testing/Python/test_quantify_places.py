"""Where lobes lie and what the tables say of them, by numbers computed by hand."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from lobed_case import LOBES, lobed_case, write_nifti

from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.quantify import (
    COLUMNS,
    Quantification,
    Regions,
    compare,
    lobe_of,
    name_lobes,
    parse_region_names,
    quantify,
    read_regions,
    slice_rows,
    summary_rows,
    write_csv,
    write_json,
)
from CovidLesionSegLogic.quantify.export import safe_cell
from CovidLesionSegLogic.quantify.lobes import Places

NAMES = {label: lobe for lobe, label, *_ in LOBES}
UPPER, MIDDLE, LOWER = "right upper lobe", "right middle lobe", "right lower lobe"
LEFT_UPPER, LEFT_LOWER = "left upper lobe", "left lower lobe"


@dataclass(frozen=True)
class Named:
    """The least a lesion class is asked for."""

    name: str
    label: int


CLASSES = (Named("ground-glass opacity", 1), Named("consolidation", 2))


def recognised(lobes: np.ndarray, lungs: np.ndarray) -> bool:
    return bool(name_lobes(Regions(lobes, {}), lobed_case()[0], lungs).names)


def test_places_by_hand() -> None:
    ct, _, lungs, lobes = lobed_case()
    places = Places.of(ct, lobes, lungs)
    assert places.lungs == 2000
    assert [places.voxels[n] for n in (0, 10, 11, 12, 13, 14)] == [400, 500, 500, 400, 200, 400]
    assert places.in_lungs.sum() == 2000
    assert [places.left[n] for n in (10, 12)] == [9, 2]
    assert [places.up[n] for n in (12, 13, 14, 10, 11)] == [15.5, 9.5, 3.5, 14.5, 4.5]
    assert np.isnan(places.up[99])
    assert places.covered([10, 13]) == 0.35
    alone = Places.of(ct, lobes, None)
    assert (alone.lungs, alone.covered([10])) == (0, None)


@pytest.mark.parametrize(
    ("swapped", "faults"),
    [
        ((12, 13), [f"the {UPPER} lies below the {MIDDLE}"]),
        ((12, 14), [f"the {UPPER} lies below the {LOWER}", f"the {UPPER} lies below the {MIDDLE}"]),
        ((13, 14), []),  # the middle lobe reaches as low as the lower one
        ((10, 11), [f"the {LEFT_UPPER} lies below the {LEFT_LOWER}"]),
        ((12, 10), []),  # one lobe of five: the others outweigh it
    ],
)
def test_two_names_swapped(swapped: tuple[int, int], faults: list[str]) -> None:
    ct, _, _, lobes = lobed_case()
    a, b = swapped
    names = {**NAMES, a: NAMES[b], b: NAMES[a]}
    found = Places.of(ct, lobes, None).misplaced(names)
    assert [f for f in found if "sides" not in f] == faults
    assert found == faults


def test_sides_are_weighed_by_their_voxels() -> None:
    """The right lobes' mean column is 2 of 400 and 8 of 100 voxels, 3.2; the left ones' at 3."""
    ct = CTVolume(np.zeros((1, 100, 12), np.int16))
    lobes = np.zeros(ct.shape, np.uint8)
    lobes[0, :, :4] = 12  # mean column 1.5
    lobes[0, :, 11] = 13
    lobes[0, :, 4] = 10
    # (400 x 1.5 + 100 x 11) / 500 = 3.4 against 4: unweighted it would be 6.25.
    assert Places.of(ct, lobes, None).misplaced({12: UPPER, 13: LOWER, 10: LEFT_UPPER}) == [
        f"the {UPPER} lies below the {LOWER}"  # the same height is no order either
    ]
    lobes[0, :50, :4] = 0  # (200 x 1.5 + 100 x 11) / 300 = 4.67
    assert (
        "sides swapped"
        in Places.of(ct, lobes, None).misplaced({12: UPPER, 13: MIDDLE, 10: LEFT_UPPER})[0]
    )


def test_sides_at_the_same_place_are_swapped_too() -> None:
    ct = CTVolume(np.zeros((2, 1, 1), np.int16))
    lobes = np.array([12, 10], np.uint8).reshape(2, 1, 1)
    faults = Places.of(ct, lobes, None).misplaced({12: UPPER, 10: LEFT_UPPER})
    assert faults == ["the right lobes lie on the patient's left (sides swapped)"]
    assert Places.of(ct, lobes, None).misplaced({12: UPPER}) == []


@pytest.mark.parametrize(("label", "name"), [(10, LEFT_UPPER), (11, LEFT_LOWER), (14, LOWER)])
@pytest.mark.filterwarnings("error")
def test_one_lobe_alone_is_where_it_is(label: int, name: str) -> None:
    ct, _, _, lobes = lobed_case()
    assert Places.of(ct, lobes, None).misplaced({label: name}) == []


def test_a_lobe_of_one_voxel_is_a_lobe() -> None:
    _, _, lungs, lobes = lobed_case()
    lobes[(lobes == 13) & (np.indices(lobes.shape).sum(axis=0) > 8)] = 0  # its first voxel remains
    assert np.count_nonzero(lobes == 13) == 1
    assert recognised(lobes, lungs)


@pytest.mark.parametrize(
    ("name", "lobe"),
    [
        ("RUL", UPPER),
        ("rll", LOWER),
        ("LUL", LEFT_UPPER),
        ("LLL", LEFT_LOWER),
        ("L upper lobe", LEFT_UPPER),
        ("lower lobe (R)", LOWER),
        ("right mid lobe", MIDDLE),
        ("upper lobe of the lungs, left", LEFT_UPPER),
        ("pulmonary lobe right inferior", LOWER),
        *(
            (f"left upper lobe {word} lingula", LEFT_UPPER)
            for word in ("and", "with", "without", "incl.", "excl.", "excluding")
        ),
        ("left lower lobe excluding lingula", None),
        ("left upper and lower lobe", None),
        ("left lobe", None),
        ("left upper lung", None),
    ],
)
def test_more_names_of_lobes(name: str, lobe: str | None) -> None:
    assert lobe_of(name) == lobe


def test_an_absent_label_of_a_lobe_does_not_hide_the_present_one() -> None:
    ct, _, lungs, lobes = lobed_case()
    names = {**NAMES, 10: LEFT_LOWER, 11: LEFT_UPPER, 40: "lingula", 41: LEFT_LOWER}
    notes = name_lobes(Regions(lobes, names), ct, lungs).notes
    assert any(f"the {LEFT_UPPER} lies below the {LEFT_LOWER}" in note for note in notes)


def test_half_of_each_lobe_lies_in_the_lungs() -> None:
    _, _, lungs, lobes = lobed_case()
    lungs[:, 5:] = 0
    assert recognised(lobes, lungs)
    lungs[0, 0, 7] = 0
    assert not recognised(lobes, lungs)


def test_lobes_fill_half_of_the_lungs() -> None:
    _, _, lungs, lobes = lobed_case()
    lobes[:, 5:] = 0
    assert recognised(lobes, lungs)
    lobes[0, 0, 7] = 0
    assert not recognised(lobes, lungs)


def test_a_twentieth_of_the_lungs_may_be_other_labels() -> None:
    _, _, lungs, lobes = lobed_case()
    lobes[:2, :, 7:12] = 1  # 100 of 2000 voxels
    assert recognised(lobes, lungs)
    lobes[2, 0, 7] = 255
    assert not recognised(lobes, lungs)


@pytest.mark.parametrize("less", [0, 1])
def test_four_fifths_of_the_lungs_are_covered(less: int) -> None:
    ct, _, lungs, lobes = lobed_case()
    lobes[:, 8:] = 0
    lobes[0, 0, 7 : 7 + less] = 0
    notes = name_lobes(Regions(lobes, NAMES), ct, lungs).notes
    assert len(notes) == less
    if less:
        assert "fill only 80 % of the lungs" in notes[0]


def test_a_warning_of_the_lobes_counts_only_the_lobes() -> None:
    ct, _, lungs, lobes = lobed_case()
    lobes[:, 3:] = 99
    notes = name_lobes(Regions(lobes, {**NAMES, 99: "vessel"}, ("before",)), ct, lungs).notes
    assert notes[0] == "before"
    assert notes[1].endswith("other labels were left out: 99 vessel.")
    assert "only 30 % of the lungs" in notes[2]


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ((1, 2, 3), "1, 2, 3."),
        ((1, 2, 3, 4), "1, 2, 3 and 1 more."),
        ((1, 2, 3, 4, 255), "1, 2, 3 and 2 more."),
    ],
)
def test_three_left_out_labels_are_named(others: tuple[int, ...], said: str) -> None:
    ct, _, lungs, lobes = lobed_case()
    lobes[0, : len(others), 5] = others
    (note,) = name_lobes(Regions(lobes, NAMES), ct, lungs).notes
    assert note.endswith(f"left out: {said}")


def test_the_lowest_label_of_a_lobe_remains() -> None:
    ct, _, lungs, lobes = lobed_case()
    lobes[(lobes == 10) & (np.arange(20) < 14)[:, None, None]] = 5
    names = {10: LEFT_UPPER, 5: "lingula", **NAMES}
    regions = name_lobes(Regions(lobes, names), ct, lungs)
    assert list(regions.names) == [12, 13, 14, 5, 11]
    assert regions.names[5] == LEFT_UPPER
    assert np.count_nonzero(regions.labels == 5) == 500
    assert regions.notes[0].endswith("were taken together: 10 left upper lobe.")
    assert regions.labels.dtype == np.uint8


def test_two_missing_lobes_are_joined_by_or_and_three_by_commas() -> None:
    ct, _, lungs, lobes = lobed_case()
    for left, said in (
        ((10, 11, 12, 13), f"names no {LOWER}, so"),
        ((10, 11, 12), f"names no {MIDDLE} or {LOWER}, so"),
        ((10, 11), f"names no {UPPER}, {MIDDLE} or {LOWER}, so"),
    ):
        regions = name_lobes(Regions(lobes, {n: NAMES[n] for n in left}), ct, lungs)
        assert said in regions.notes[0]
        assert set(regions.names) == set(left)
        np.testing.assert_array_equal(regions.labels, lobes)
    assert name_lobes(Regions(lobes, {10: "cyst"}), ct, lungs).notes == ()


def test_names_beyond_a_byte_are_left_out(tmp_path: Path) -> None:
    ct, _, _, lobes = lobed_case()
    write_nifti(tmp_path / "lobes.nii", ct, lobes, {10: "a", 255: "b", 256: "c"})
    assert dict(read_regions(tmp_path / "lobes.nii", ct).names) == {10: "a", 255: "b"}
    assert dict(read_regions(tmp_path / "lobes.nii", ct, names={}).names) == {}


def test_a_region_of_one_voxel_keeps_its_name() -> None:
    ct, _, lungs, lobes = lobed_case()
    lobes[0, 0, 5] = 99
    regions = name_lobes(Regions(lobes, {10: LEFT_UPPER, 99: "nodule", 98: "absent"}), ct, lungs)
    assert dict(regions.names) == {10: LEFT_UPPER, 99: "nodule"}


def test_without_lungs_nothing_is_said_of_what_the_lobes_fill() -> None:
    ct, _, _, lobes = lobed_case()
    assert name_lobes(Regions(lobes, NAMES), ct, None).notes == ()


def test_a_map_on_another_grid_is_noted(tmp_path: Path) -> None:
    ct, _, _, lobes = lobed_case()
    coarse = CTVolume(ct.array[::2].copy(), spacing=(10.0, 10.0, 20.0))
    write_nifti(tmp_path / "coarse.nii", coarse, np.ascontiguousarray(lobes[::2]))
    (note,) = read_regions(tmp_path / "coarse.nii", ct).notes
    assert "another grid" in note


def test_notes_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    ct, _, lungs, lobes = lobed_case()
    notes = name_lobes(Regions(lobes, {10: LEFT_UPPER}), ct, lungs).notes
    assert [record.getMessage() for record in caplog.records] == list(notes) != []


@pytest.mark.parametrize("content", ["3", "null", '""'])
def test_a_file_of_names_that_is_one_value(tmp_path: Path, content: str) -> None:
    path = tmp_path / "names.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(RequestError, match="no JSON object"):
        parse_region_names(str(path))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("255=a", {255: "a"}),
        ("00000001=a", {1: "a"}),
        ("1=" + "x" * 200, {1: "x" * 200}),
        ("1=a=b", {1: "a=b"}),
        ("1= a \t b ,2=c", {1: "a b", 2: "c"}),
    ],
)
def test_names_that_just_pass(text: str, names: dict[int, str]) -> None:
    assert parse_region_names(text) == names


def test_nine_digits_are_no_label() -> None:
    with pytest.raises(RequestError, match="'000000001' is no label"):
        parse_region_names("000000001=a")
    with pytest.raises(RequestError, match=f"'{'a' * 40}' is no label"):
        parse_region_names(f"{'a' * 50}=b")
    with pytest.raises(RequestError, match=f"'{'a' * 40}' is no label=name"):
        parse_region_names("a" * 50)


def test_a_file_of_names_in_large_letters_and_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "NAMES.JSON"
    path.write_text(json.dumps({" 3 ": "cyst"}), encoding="utf-8")
    assert parse_region_names(f" {path} ") == {3: "cyst"}
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(RequestError, match="are no file"):
        parse_region_names(str(tmp_path / "folder.json"))


def test_a_file_of_names_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "names.json").write_text('{"3": "K\\u00f6rper"}', encoding="utf-8")
    assert parse_region_names("~/names.json") == {3: "Körper"}


@pytest.fixture
def scored() -> Quantification:
    """The case of five lobes: 0, 9, 100, 250 and 400 mL of lesion; lungs of 1000 mL each."""
    ct, labels, lungs, lobes = lobed_case()
    return quantify(ct, labels, lungs, CLASSES, regions=lobes, region_names=NAMES)


def test_the_table_of_five_lobes(scored: Quantification, tmp_path: Path) -> None:
    write_csv(scored.rows(), tmp_path / "q.csv")
    with open(tmp_path / "q.csv", newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3 + 3 * 3 + 5 * 3 + 1
    by = {(row["place"], row["class"]): row for row in rows}
    whole = by["whole scan", "all lesions"]
    expected = {
        "study": "ct", "place": "whole scan", "class": "all lesions", "volume_ml": "759.0",
        "share_percent": "", "mean_hu": "-800.0", "median_hu": "-800.0", "sd_hu": "0.0",
        "components": "3", "largest_component_ml": "400.0", "slices": "13",
        "place_volume_ml": "", "place_mean_hu": "", "score_0_to_5": "", "score_0_to_25": "",
        "score_source": "",
    }  # fmt: skip
    assert list(whole) == list(expected)
    figures = ("components", "largest_component_ml", "slices")
    assert {k: v for k, v in whole.items() if k not in figures} == {
        k: v for k, v in expected.items() if k not in figures
    }
    assert whole["components"] == str(scored.total.components)
    assert float(whole["largest_component_ml"]) == scored.total.largest_component_ml
    assert whole["slices"] == str(scored.total.slices)
    for place, ggo, both, share in (
        ("both lungs", 380, 759, 37.95),
        ("right lung", 55, 109, 10.9),
        ("left lung", 325, 650, 65.0),
    ):
        row = by[place, "all lesions"]
        assert float(row["volume_ml"]) == both
        assert float(row["share_percent"]) == pytest.approx(share)
        assert float(row["place_volume_ml"]) == (2000 if place == "both lungs" else 1000)
        assert float(row["place_mean_hu"]) == -800
        assert row["mean_hu"] == ("" if place == "both lungs" else "-800.0")
        assert (row["components"], row["slices"], row["score_0_to_5"]) == ("", "", "")
        assert float(by[place, CLASSES[0].name]["volume_ml"]) == ggo
    lobe = by[LEFT_UPPER, CLASSES[1].name]
    assert (lobe["volume_ml"], lobe["share_percent"]) == ("125.0", "25.0")
    assert (lobe["place_volume_ml"], lobe["place_mean_hu"]) == ("500.0", "-800.0")
    assert (lobe["score_0_to_5"], lobe["score_source"]) == ("", "")
    lobe = by[LEFT_UPPER, "all lesions"]
    assert (lobe["volume_ml"], lobe["share_percent"], lobe["score_0_to_5"]) == (
        "250.0",
        "50.0",
        "4",
    )
    assert (lobe["place_volume_ml"], lobe["place_mean_hu"]) == ("500.0", "-800.0")
    last = rows[-1]
    assert (last["study"], last["place"], last["class"]) == ("ct", "five lobes", "all lesions")
    assert (last["volume_ml"], last["place_volume_ml"]) == ("759.0", "2000.0")
    assert (last["score_0_to_5"], last["score_0_to_25"]) == ("", "12")


@pytest.mark.parametrize(("outside", "said"), [(0, False), (7, False), (8, True)])
def test_a_hundredth_of_lesion_outside_the_lobes_is_said(outside: int, said: bool) -> None:
    """Of 766 mL 7 are 0.91 %, of 767 mL 8 are 1.04 %."""
    ct, labels, lungs, lobes = lobed_case()
    labels[0, :outside, 5] = 2
    lungs[0, :outside, 5] = 2
    q = quantify(ct, labels, lungs, CLASSES, regions=lobes, region_names=NAMES)
    assert len(q.warnings) == said
    assert all("8.00 mL of lesion lie outside the lobes" in warning for warning in q.warnings)


def test_five_healthy_lobes_need_no_word() -> None:
    ct, labels, lungs, lobes = lobed_case()
    q = quantify(ct, np.zeros_like(labels), lungs, CLASSES, regions=lobes, region_names=NAMES)
    assert (q.score_0_to_25, q.lesion_outside_regions_ml, q.warnings) == (0, 0, ())


@pytest.mark.parametrize("text", ["\tplain", "\rplain", "\nplain", " \tplain ="])
def test_cells_that_start_with_a_control_character_are_marked(text: str) -> None:
    assert safe_cell(text) == (f"'{text}" if text[0] != " " else text)


def test_a_null_character_is_left_out() -> None:
    assert safe_cell("a\x00b") == "ab"
    assert safe_cell("\x00=1") == "'=1"


def test_tables_of_one_row_and_of_none(tmp_path: Path) -> None:
    write_csv([{"name": "Körper"}], tmp_path / "one.csv")
    assert (tmp_path / "one.csv").read_bytes() == "\ufeffname\r\nKörper\r\n".encode()
    write_csv([], tmp_path / "none.csv")
    assert (tmp_path / "none.csv").read_text(encoding="utf-8-sig").strip() == ""


def test_the_table_of_slices(scored: Quantification) -> None:
    rows = slice_rows(scored)
    assert rows[0] == {
        "study": "ct", "slice_from_top": 0, "own_slice_index": 19, "z_mm": 190.0,
        "lung_area_mm2": 10_000.0, "total_lesion_area_mm2": 0.0,
        "ground-glass opacity_area_mm2": 0.0, "consolidation_area_mm2": 0.0,
    }  # fmt: skip
    assert rows[-1]["total_lesion_area_mm2"] == 10_000.0
    assert rows[-1]["consolidation_area_mm2"] == 5_000.0


def test_the_summary(scored: Quantification) -> None:
    assert COLUMNS == (
        "volume mL", "% of lungs", "right lung mL", "% of right lung", "left lung mL",
        "% of left lung", "mean HU",
    )  # fmt: skip
    ggo, consolidation, total, lungs = summary_rows(scored)
    assert (ggo.name, ggo.kind, ggo.label) == ("ground-glass opacity", "class", 1)
    assert ggo.values == pytest.approx((380, 19, 55, 5.5, 325, 32.5, -800))
    assert (consolidation.name, consolidation.label) == ("consolidation", 2)
    assert consolidation.values == pytest.approx((379, 18.95, 54, 5.4, 325, 32.5, -800))
    assert (total.name, total.kind, total.label) == ("all lesions", "total", None)
    assert total.values == pytest.approx((759, 37.95, 109, 10.9, 650, 65, -800))
    assert (lungs.name, lungs.kind, lungs.label) == ("lungs", "lungs", None)
    assert lungs.values == (2000, None, 1000, None, 1000, None, -800)
    ct, labels, lung_map, _ = lobed_case()
    one = quantify(ct, labels > 0, lung_map, (Named("infection", 1),))
    assert [row.kind for row in summary_rows(one)] == ["class", "lungs"]


def test_change_by_hand(scored: Quantification) -> None:
    """All consolidation has gone, and the lungs are denser by 100 HU."""
    ct, labels, lungs, _ = lobed_case()
    denser = ct.with_array(ct.array + np.int16(100))
    after = quantify(denser, np.where(labels == 1, 1, 0), lungs, CLASSES)
    ggo, consolidation, total = compare(scored, after)
    assert (ggo.change_ml, ggo.change_percent, ggo.share_change_points) == (0, 0, 0)
    assert ggo.mean_hu_change == 100
    assert consolidation.to_row() == {
        "name": "consolidation", "baseline_ml": 379.0, "followup_ml": 0.0, "change_ml": -379.0,
        "change_percent": -100.0, "baseline_share_of_lungs_percent": pytest.approx(18.95),
        "followup_share_of_lungs_percent": 0.0, "share_change_points": pytest.approx(-18.95),
        "mean_hu_change": None,
    }  # fmt: skip
    assert total.change_ml == -379
    assert total.change_percent == pytest.approx(-100 * 379 / 759)
    back = compare(after, scored)[1]
    assert (back.change_percent, back.mean_hu_change) == (None, None)
    assert back.share_change_points == pytest.approx(18.95)


def test_the_change_of_a_tiny_lesion() -> None:
    lungs = np.ones((2, 2, 2), np.uint8)
    ct = CTVolume(np.zeros(lungs.shape, np.int16))
    few = quantify(ct, np.indices(lungs.shape)[0] == 0, lungs, (Named("infection", 1),))
    more = quantify(ct, lungs, lungs, (Named("infection", 1),))
    assert few.total.volume_ml == pytest.approx(0.004)
    assert compare(few, more)[0].change_percent == pytest.approx(100)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "other"}, "its format is 'other'"),
        ({"format_version": 2}, "quantification format 2 is not known"),
        ({"classes": None}, "incomplete or altered"),
        ({"total": {}}, "incomplete or altered"),
        ({"slices": [{"index": 1}]}, "incomplete or altered"),
    ],
)
def test_altered_results_are_refused(scored: Quantification, change: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Quantification.from_dict({**scored.to_dict(), **change})


def test_results_travel_through_json(scored: Quantification, tmp_path: Path) -> None:
    write_json(scored, tmp_path / "q.json")
    data = json.loads((tmp_path / "q.json").read_text(encoding="utf-8"))
    assert Quantification.from_dict(data) == scored
    assert (data["format"], data["format_version"]) == ("CovidLesionSeg quantification", 1)
    assert data["slices_with_lesion"] == [n for n in range(20) if scored.slices[n].index in
                                          scored.slices_with_lesion]  # fmt: skip
    assert {key for key in data if key.startswith("score")} == {
        "score_0_to_25", "score_source", "score_rule", "score_note",
    }  # fmt: skip
    assert (tmp_path / "q.json").read_text(encoding="utf-8").endswith("}\n")
