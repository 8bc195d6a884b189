"""The made-up training set with three lesion classes: what it holds, its file and its folder."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from CovidLesionSegLogic.engine import Cancel
from CovidLesionSegLogic.errors import CancelledError, InputError, RequestError
from CovidLesionSegLogic.learn import phantoms
from CovidLesionSegLogic.learn.folds import make_folds, patients_of, select_fold
from CovidLesionSegLogic.learn.image_table import COVID, read_image_table, segmentation_slices
from CovidLesionSegLogic.learn.phantom_table import write_phantom_table
from CovidLesionSegLogic.learn.phantoms import PhantomSlice, paper_mix, phantom_slices

MIX = {"none": 1, "moderate": 1, "severe": 1}
SLICES, PIXELS = 4, 96


@pytest.fixture(scope="module")
def found() -> list[PhantomSlice]:
    return phantom_slices(MIX, SLICES, pixels=PIXELS)


def same(a: list[PhantomSlice], b: list[PhantomSlice]) -> bool:
    return len(a) == len(b) and all(
        np.array_equal(x.slice.image, y.slice.image)
        and np.array_equal(x.slice.mask, y.slice.mask)
        and (x.slice.patient, x.slice.source, x.slice.name, x.severity, x.lung_area)
        == (y.slice.patient, y.slice.source, y.slice.name, y.severity, y.lung_area)
        for x, y in zip(a, b, strict=True)
    )


def test_every_patient_has_its_slices_and_severity(found):
    assert [one.severity for one in found] == [s for s in MIX for _ in range(SLICES)]
    assert len({one.slice.patient for one in found}) == 3
    assert len({one.slice.name for one in found}) == 3 * SLICES
    for one in found:
        assert one.slice.name.startswith(one.slice.patient)


def test_slices_are_grey_cropped_and_masked(found):
    for one in found:
        image, mask = one.slice.image, one.slice.mask
        assert image.dtype == mask.dtype == np.uint8
        assert image.shape == mask.shape
        assert max(image.shape) < PIXELS  # the frame's borders are cut off
        assert image.shape[0] < image.shape[1]
        assert np.isin(mask, [0, 1, 2, 3]).all()
        assert np.count_nonzero(mask) <= one.lung_area <= mask.size
        # Lung is dark in the released window, the chest wall grey.
        assert 0.05 < np.mean(image < 90) < 0.9
        assert one.slice.source == ("phantom" if mask.any() else "phantom_free")
    pixel_mm2 = (phantoms.FRAME_MM / PIXELS) ** 2
    assert min(one.lung_area for one in found) * pixel_mm2 > 1500


def test_classes_follow_the_severity(found):
    area = {s: [0, 0, 0] for s in MIX}
    for one in found:
        for n in (1, 2, 3):
            area[one.severity][n - 1] += int(np.count_nonzero(one.slice.mask == n))
    assert area["none"] == [0, 0, 0]
    assert all(area["severe"])
    assert sum(area["moderate"]) < sum(area["severe"])
    assert not area["moderate"][2]  # of this patient; it is rare
    greys = [
        np.median(np.concatenate([o.slice.image[o.slice.mask == n] for o in found]))
        for n in (1, 2, 3)
    ]
    assert greys[0] < greys[2] < greys[1]


def test_same_seed_same_slices_other_seed_other_patients(found):
    again = phantom_slices({"none": 1}, SLICES, pixels=PIXELS)
    assert same(again, found[:SLICES])
    other = phantom_slices({"none": 1}, 1, pixels=PIXELS, seed=1)
    assert other[0].slice.patient != found[0].slice.patient
    assert other[0].lung_area != found[0].lung_area


def test_mix_of_the_paper():
    assert paper_mix(326) == {"none": 100, "mild": 51, "moderate": 75, "severe": 100}
    for count in (1, 7, 24, 60):
        mix = paper_mix(count)
        assert sum(mix.values()) == count
        assert all(abs(mix[s] - count * n / 326) < 1 for s, n in phantoms.SHARES.items())


@pytest.mark.parametrize(
    ("patients", "options", "word"),
    [
        ({"terrible": 1}, {}, "terrible"),
        ({}, {}, "at least 1 patient"),
        ({"mild": 0}, {}, "at least 1 patient"),
        ({"mild": -1, "none": 2}, {}, "at least 1 patient"),
        ({"mild": 1}, {"slices": 0}, "1 slice"),
        ({"mild": 1}, {"pixels": 8}, "64 pixels"),
        ({"mild": 1}, {"seed": -1}, "seed from 0"),
    ],
)
def test_bad_requests_are_named(patients, options, word):
    with pytest.raises(RequestError, match=word):
        phantom_slices(patients, **{"slices": 2, **options})


def test_progress_counts_patients_and_cancelling_leaves_no_file(tmp_path, monkeypatch, found):
    monkeypatch.setattr(phantoms, "_of_patient", lambda *_: found[:1])
    seen = []
    phantom_slices(MIX, 1, progress=lambda *step: seen.append(step))
    assert seen == [("phantoms", done, 3) for done in range(4)]
    cancel = Cancel()
    cancel.cancel()
    with pytest.raises(CancelledError):
        phantom_slices(MIX, 1, cache=tmp_path / "p.npz", cancel=cancel)
    assert not list(tmp_path.iterdir())


# -- the file -------------------------------------------------------------------------------------


@pytest.fixture
def cached(tmp_path, monkeypatch, found):
    """A file with ``found``; making phantoms again would fail."""
    parts = iter([found[i : i + SLICES] for i in range(0, len(found), SLICES)])
    monkeypatch.setattr(phantoms, "_of_patient", lambda *_: next(parts))
    path = tmp_path / "phantoms.npz"
    assert same(phantom_slices(MIX, SLICES, pixels=PIXELS, cache=path), found)
    return path


def test_the_file_is_read_instead(cached, found):
    assert same(phantom_slices(MIX, SLICES, pixels=PIXELS, cache=cached), found)
    assert [p.name for p in cached.parent.iterdir()] == [cached.name]


@pytest.mark.parametrize(
    "other", [{"pixels": 128}, {"seed": 1}, {"slices": 5}, {"patients": MIX | {"mild": 1}}]
)
def test_a_file_of_other_phantoms_is_refused(cached, other):
    options = {"patients": MIX, "slices": SLICES, "pixels": PIXELS, **other}
    with pytest.raises(InputError, match="other options"):
        phantom_slices(**options, cache=cached)


def test_a_damaged_file_is_named(cached):
    cached.write_bytes(cached.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"phantoms\.npz cannot be read .* delete the file"):
        phantom_slices(MIX, SLICES, pixels=PIXELS, cache=cached)
    np.savez(cached, about=np.array(json.dumps({"rows": []})))
    with pytest.raises(InputError, match="cannot be read"):
        phantom_slices(MIX, SLICES, pixels=PIXELS, cache=cached)


# -- the folder -----------------------------------------------------------------------------------


def test_the_folder_reads_back_as_a_table_of_images(found, tmp_path):
    table = write_phantom_table(found, tmp_path / "set")
    records = read_image_table(table)
    assert [r.label for r in records] == ["healthy"] * SLICES + [COVID] * 2 * SLICES
    assert [r.severity for r in records] == [None] * SLICES + ["moderate"] * SLICES + [
        "severe"
    ] * SLICES
    slices = segmentation_slices(records, 3)
    for read, one in zip(slices, found, strict=True):
        assert np.array_equal(read.image, one.slice.image)
        assert np.array_equal(read.mask, one.slice.mask)
        assert (read.patient, read.name) == (one.slice.patient, one.slice.name)
    with (tmp_path / "set" / "lung_areas.csv").open(encoding="utf-8") as file:
        areas = list(csv.DictReader(file))
    assert [int(row["lung_pixels"]) for row in areas] == [one.lung_area for one in found]
    assert [table.parent / row["image"] for row in areas] == [r.image for r in records]


def test_folds_are_made_of_it(found, tmp_path):
    """With five times as many patients, by name only."""
    many = [
        PhantomSlice(
            type(one.slice)(
                one.slice.image,
                one.slice.mask,
                f"{one.slice.patient}_{copy}",
                one.slice.source,
                f"{one.slice.name}_{copy}",
            ),
            one.severity,
            one.lung_area,
        )
        for copy in range(5)
        for one in found
    ]
    records = read_image_table(write_phantom_table(many, tmp_path / "set"))
    folds = make_folds(patients_of(records))
    parts = select_fold(records, folds.fold(0))
    assert sum(map(len, parts)) == len(many)
    assert all(parts)


def test_a_folder_in_use_is_left_alone(found, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RequestError, match="not empty"):
        write_phantom_table(found, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
