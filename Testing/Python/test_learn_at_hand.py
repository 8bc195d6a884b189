"""The public data sets at hand as a table of images."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import io

from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.learn.at_hand import (
    Labelled,
    collection_slices,
    outlined_slices,
    write_table,
)
from CovidLesionSegLogic.learn.folds import make_folds, patients_of
from CovidLesionSegLogic.learn.image_table import (
    COVID,
    read_image_table,
    read_slice,
    segmentation_slices,
)
from CovidLesionSegLogic.learn.sources import Slice


def one(patient, label, value, *, outlined):
    rng = np.random.default_rng(value)
    mask = np.zeros((40, 48), np.uint8)
    mask[4:9, 5:20] = value
    image = rng.integers(0, 255, mask.shape).astype(np.uint8)
    return Labelled(Slice(image, mask, patient, "made_up", "same name"), label, outlined)


def test_the_table_is_read_back_as_it_was_written(tmp_path):
    found = [
        one("a", COVID, 1, outlined=True),
        one("a", COVID, 2, outlined=True),
        one("b", COVID, 0, outlined=True),
        one("c", COVID, 0, outlined=False),
        one("d", "healthy", 0, outlined=True),
    ]
    records = read_image_table(write_table(found, tmp_path / "table"))
    assert [(r.patient, r.label, bool(r.masks)) for r in records] == [
        *(("a", COVID, True), ("a", COVID, True), ("b", COVID, True)),
        *(("c", COVID, False), ("d", "healthy", False)),
    ]
    for record, labelled in zip(records, found, strict=True):
        back = read_slice(record, 2)
        assert np.array_equal(back.image, labelled.slice.image)
        assert np.array_equal(back.mask, labelled.slice.mask)
    assert [s.patient for s in segmentation_slices(records, 2)] == ["a", "a", "b", "d"]
    with pytest.raises(RequestError, match="not empty"):
        write_table(found, tmp_path / "table")


def test_a_collection_keeps_patients_and_joins_near_identical_images(tmp_path):
    root = tmp_path / "slices_song"
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (40, 40)).astype(np.uint8)
    for kind, names in (("covid", "001 001 002 003"), ("noncovid", "000 001")):
        (root / kind).mkdir(parents=True)
        for k, number in enumerate(names.split()):
            image = rng.integers(0, 255, (40, 40)).astype(np.uint8)
            same = kind == "covid" and k > 1  # patients 2 and 3 share a picture
            path = root / kind / f"x_p{number}_{k}.jpg"
            io.imsave(path, picture if same else image, check_contrast=False)
    found = collection_slices(root)
    patients = {
        label: {f.slice.patient for f in found if f.label == label} for label in (COVID, "other")
    }
    assert patients[COVID] == {"slices_song_covid_p001", "slices_song_covid_p002"}
    assert patients["other"] == {"slices_song_noncovid_p000", "slices_song_noncovid_p001"}
    assert not any(f.outlined for f in found)


def test_outlines_of_the_real_data_make_five_folds(shared_data, tmp_path):
    found = [f for f in outlined_slices(shared_data) if f.slice.source == "sirm100"]
    records = read_image_table(write_table(found, tmp_path / "table"))
    assert len(records) == 50
    folds = make_folds(patients_of(records))
    assert sum(len(fold.test) for fold in folds.folds) == 48  # two pairs stay together
    values = {int(v) for r in records for v in np.unique(read_slice(r, 2).mask)}
    assert values == {0, 1, 2}
