"""Lobes by name, by file, by number, and by where they lie; never by guess."""

from __future__ import annotations

import json

import numpy as np
import pytest
from lobed_case import LOBES, lobed_case, write_nifti, write_seg_nrrd

from CovidLesionSegLogic.ct.label_names import read_label_names
from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.quantify import (
    Regions,
    lobe_of,
    name_lobes,
    parse_region_names,
    read_regions,
)

NAMES = {label: lobe for lobe, label, *_ in LOBES}
PUBLISHED = {
    1: "spleen",
    10: "lung_upper_lobe_left",
    11: "lung_lower_lobe_left",
    12: "lung_upper_lobe_right",
    13: "lung_middle_lobe_right",
    14: "lung_lower_lobe_right",
    16: "trachea",
}


@pytest.mark.parametrize(
    ("name", "lobe"),
    [
        *((name, NAMES[label]) for label, name in PUBLISHED.items() if label in NAMES),
        ("Left Upper Lobe", "left upper lobe"),
        ("upper lobe of left lung", "left upper lobe"),
        ("superior lobe of the right lung", "right upper lobe"),
        ("LeftInferiorLobe", "left lower lobe"),
        ("RML", "right middle lobe"),
        ("lingula", "left upper lobe"),
        ("Lingula of left lung", "left upper lobe"),
        ("left upper lobe including lingula", "left upper lobe"),
        ("lingular segment of left upper lobe", "left upper lobe"),
        ("left middle lobe", None),
        ("right lingula", None),
        ("left lung", None),
        ("right upper zone", None),
        ("upper lobe", None),
        ("left right upper lobe", None),
        ("lobe 1", None),
        ("left superior parietal lobe", None),
        ("right lobe of liver", None),
        ("globe", None),
        ("", None),
    ],
)
def test_names_of_lobes(name, lobe):
    assert lobe_of(name) == lobe


def test_names_in_the_extended_header_of_totalsegmentator(tmp_path):
    ct, _, lungs, lobes = lobed_case()
    lobes[0, 0, 6] = 1  # a little spleen
    for name in ("lobes.nii", "lobes.nii.gz"):
        path = tmp_path / name
        write_nifti(path, ct, lobes, PUBLISHED)
        assert read_label_names(path) == PUBLISHED
        regions = name_lobes(read_regions(path, ct), ct, lungs)
        assert dict(regions.names) == NAMES
        assert set(np.unique(regions.labels)) == {0, *NAMES}
        assert len(regions.notes) == 1
        assert "1 spleen" in regions.notes[0]


def test_names_of_the_segments_of_a_seg_nrrd(tmp_path):
    ct, _, lungs, lobes = lobed_case()
    shifted = np.where(lobes > 0, lobes - 9, 0)
    names = {label - 9: f"{lobe.title()}" for label, lobe in NAMES.items()}
    path = tmp_path / "lobes.seg.nrrd"
    write_seg_nrrd(path, ct, shifted, names)
    assert read_label_names(path) == names
    regions = name_lobes(read_regions(path, ct), ct, lungs)
    assert dict(regions.names) == {label - 9: lobe for label, lobe in NAMES.items()}
    assert regions.notes == ()


def test_files_without_names_have_none(tmp_path):
    ct, _, _, lobes = lobed_case()
    write_nifti(tmp_path / "lobes.nii", ct, lobes)
    write_seg_nrrd(tmp_path / "lobes.nrrd", ct, lobes, {})
    assert read_label_names(tmp_path / "lobes.nii") == {}
    assert read_label_names(tmp_path / "lobes.nrrd") == {}


def test_published_numbers_are_recognised_where_only_they_fill_the_lungs():
    ct, _, lungs, lobes = lobed_case()
    lobes[:, :, 5:7] = 51  # an organ between the lungs
    regions = name_lobes(Regions(lobes, {}), ct, lungs)
    assert dict(regions.names) == NAMES
    assert "TotalSegmentator" in regions.notes[0]
    assert not (regions.labels == 51).any()


@pytest.mark.parametrize(
    "change",
    [
        lambda lobes: np.where(lobes > 0, lobes - 9, 0),  # 1 to 5: anyone's order
        lambda lobes: np.where(lobes > 0, lobes + 3, 0),  # 13 to 17, as version 1 numbered
        lambda lobes: np.where(lobes == 13, 0, lobes),  # one is absent
        lambda lobes: np.where(lobes == 13, 16, lobes),  # another organ in the lungs
        lambda lobes: lobes[:, :, ::-1],  # the sides do not fit
        lambda lobes: lobes[::-1],  # upside down
    ],
)
def test_other_numbers_are_never_guessed(change):
    ct, _, lungs, lobes = lobed_case()
    changed = np.ascontiguousarray(change(lobes)).astype(np.uint8)
    regions = name_lobes(Regions(changed, {}), ct, lungs)
    assert dict(regions.names) == {}
    assert len(regions.notes) == 1
    assert "--region-names" in regions.notes[0]
    np.testing.assert_array_equal(regions.labels, changed)


def test_without_lungs_numbers_say_nothing():
    ct, _, _, lobes = lobed_case()
    assert dict(name_lobes(Regions(lobes, {}), ct, None).names) == {}


def test_given_names_replace_those_of_the_file(tmp_path):
    ct, _, lungs, lobes = lobed_case()
    write_nifti(tmp_path / "lobes.nii", ct, lobes, {10: "something else"})
    regions = read_regions(tmp_path / "lobes.nii", ct, names=NAMES)
    assert set(name_lobes(regions, ct, lungs).names.values()) == {lobe for lobe, *_ in LOBES}


def test_lingula_counts_to_the_left_upper_lobe():
    ct, _, lungs, lobes = lobed_case()
    lobes[(lobes == 10) & (np.arange(20) < 14)[:, None, None]] = 40
    regions = name_lobes(Regions(lobes, {**NAMES, 40: "lingula"}), ct, lungs)
    assert dict(regions.names) == NAMES
    assert np.count_nonzero(regions.labels == 10) == 500
    assert "40 lingula" in regions.notes[0]


@pytest.mark.parametrize(
    ("flip", "said"),
    [
        ((slice(None), slice(None), slice(None, None, -1)), ["sides swapped"]),
        ((slice(None, None, -1),), ["right upper lobe lies below", "left upper lobe lies below"]),
    ],
)
@pytest.mark.parametrize("stored", ["canonical", "upside down"])
def test_names_that_do_not_fit_the_place_are_said(flip, said, stored):
    ct, _, lungs, lobes = lobed_case()
    lobes = lobes[flip]
    if stored == "upside down":  # the same patient, slices from the head down
        origin = tuple(ct.affine[:3, :3] @ [0, 0, 19] + ct.origin)
        ct = CTVolume(ct.array[::-1].copy(), origin, ct.spacing, np.diag([1.0, 1.0, -1.0]))
        lungs, lobes = lungs[::-1], lobes[::-1]
    regions = name_lobes(Regions(np.ascontiguousarray(lobes), NAMES), ct, lungs)
    assert dict(regions.names) == NAMES
    note = next(n for n in regions.notes if "do not fit" in n)
    assert all(part in note for part in said)
    assert ("sides swapped" in note) == ("sides swapped" in said)


def test_lobes_of_another_ct_are_said():
    ct, _, lungs, lobes = lobed_case()
    lobes[:, 3:] = 0
    notes = name_lobes(Regions(lobes, NAMES), ct, lungs).notes
    assert any("only 30 % of the lungs" in note for note in notes)


def test_some_lobes_only_and_names_that_are_absent():
    ct, _, lungs, lobes = lobed_case()
    lobes[lobes < 12] = 0
    names = {label: NAMES[label] for label in (12, 13, 14)} | {99: "kidney"}
    regions = name_lobes(Regions(lobes, names), ct, lungs)
    assert set(regions.names) == {12, 13, 14}
    assert "left upper lobe or left lower lobe" in regions.notes[0]


def test_region_names_as_text_and_file(tmp_path):
    expected = {1: "left upper lobe", 2: "trachea"}
    assert parse_region_names("1=left upper lobe, 2 =  trachea") == expected
    path = tmp_path / "names.json"
    path.write_text('\ufeff{"1": "left upper lobe", "2": "trachea"}', encoding="utf-8")
    assert parse_region_names(str(path)) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "label=name"),
        ("left upper lobe", "label=name"),
        ("0=a", "1 to 255"),
        ("256=a", "1 to 255"),
        ("-1=a", "1 to 255"),
        ("1.5=a", "1 to 255"),
        ("99999999999999999999=a", "1 to 255"),
        ("1=", "needs a name"),
        ("1=" + "x" * 201, "needs a name"),
        ("1=a,1=b", "named twice"),
        ("1=a,2=A", "two labels"),
        ("absent.json", "cannot be read"),
    ],
)
def test_bad_region_names_are_refused(text, said):
    with pytest.raises(RequestError, match=said):
        parse_region_names(text)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "no JSON"),
        ("[1, 2]", "no JSON object"),
        ('[["1", "a"]]', "no JSON object"),
        ("{}", "empty"),
        ('{"1": 2}', "needs a name"),
        ('{"a": "b"}', "1 to 255"),
        ('{"1": "a", "1": "b"}', "named twice"),
        ('{"1": {"name": "a"}}', "needs a name"),
        (json.dumps("[" * 9), "no JSON object"),
    ],
)
def test_bad_region_name_files_are_refused(tmp_path, content, said):
    path = tmp_path / "names.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(RequestError, match=said):
        parse_region_names(str(path))
