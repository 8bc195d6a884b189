"""Lung masks: density, sides, and the clean-up of a network's slices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from CovidLesionSegLogic.ct import to_canonical
from CovidLesionSegLogic.engine.preprocess import Box
from CovidLesionSegLogic.lungs import (
    LEFT,
    RIGHT,
    lungs_from_density,
    lungs_from_predictions,
    split_sides,
)
from CovidLesionSegLogic.pipeline.labelling import complete_lungs


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@dataclass
class Prediction:
    index: int
    box: Box
    probability: np.ndarray


def predictions(labels):
    whole = Box(0, labels.shape[1], 0, labels.shape[2])
    for k, plane in enumerate(labels):
        maps = np.stack([plane == RIGHT, plane == LEFT]).astype(np.float32)
        yield Prediction(k, whole, maps * 0.8 + 0.1)


def test_density_finds_the_lungs_of_a_phantom(phantom):
    ct, orientation = to_canonical(phantom.ct)
    truth = orientation.apply(phantom.lungs)
    found = lungs_from_density(ct.array, ct.spacing)
    assert found.method == "classical"
    assert dice(found.array > 0, truth > 0) > 0.85
    assert dice(found.array == RIGHT, truth == RIGHT) > 0.8
    assert "density" in found.warnings[0]


def test_density_finds_no_lungs_in_a_block_of_tissue():
    hu = np.full((20, 64, 64), -1000, np.int16)
    hu[:, 10:54, 10:54] = 40
    assert not lungs_from_density(hu, (5.0, 5.0, 5.0)).array.any()


def two_lungs(bridge):
    mask = np.zeros((40, 60, 80), bool)
    z, y, x = np.ogrid[:40, :60, :80]
    for centre in (22, 57):
        mask |= ((z - 20) / 18) ** 2 + ((y - 30) / 22) ** 2 + ((x - centre) / 14) ** 2 < 1
    if bridge:
        mask[18:24, 24:34, 34:46] = True
    return mask


@pytest.mark.parametrize("bridge", [False, True])
def test_sides_are_told_apart_even_where_the_lungs_touch(bridge):
    mask = two_lungs(bridge)
    labels = split_sides(mask, (3.0, 3.0, 3.0))
    assert np.array_equal(labels > 0, mask)
    right, left = (np.nonzero(labels == side)[2] for side in (RIGHT, LEFT))
    assert right.max() < 46
    assert left.min() > 34
    assert right.size == pytest.approx(left.size, rel=0.1)


def test_one_lung_is_named_by_its_place():
    mask = two_lungs(bridge=False)
    mask[:, :, :40] = False
    assert set(np.unique(split_sides(mask, (3.0, 3.0, 3.0)))) == {0, LEFT}


def test_an_empty_mask_stays_empty():
    assert not split_sides(np.zeros((4, 8, 8), bool), (1.0, 1.0, 1.0)).any()


def test_network_slices_lose_debris_and_holes():
    truth = split_sides(two_lungs(bridge=False), (3.0, 3.0, 3.0))
    noisy = truth.copy()
    noisy[2:4, 2:5, 70:74] = LEFT  # debris beside the body
    noisy[20, 28:32, 20:24] = 0  # a vessel
    found = lungs_from_predictions(predictions(noisy), truth.shape, (3.0, 3.0, 3.0))
    assert found.method == "network"
    assert np.array_equal(found.array, truth)


def test_too_little_lung_is_none():
    labels = np.zeros((10, 64, 64), np.uint8)
    labels[4:6, 30:34, 30:34] = RIGHT
    assert not lungs_from_predictions(
        predictions(labels), labels.shape, (1.0, 1.0, 1.0)
    ).array.any()


def test_a_missing_lung_and_a_cut_scan_are_said():
    truth = split_sides(two_lungs(bridge=False), (3.0, 3.0, 3.0))
    truth[truth == LEFT] = 0
    found = lungs_from_predictions(predictions(truth[20:]), truth[20:].shape, (3.0, 3.0, 3.0))
    assert any("left lung" in w for w in found.warnings)
    assert any("outside the scan" in w for w in found.warnings)


def test_lesions_at_the_pleura_join_the_nearest_lung():
    lungs = np.zeros((2, 10, 20), np.uint8)
    lungs[0, 2:8, 2:8], lungs[0, 2:8, 12:18] = RIGHT, LEFT
    labels = np.zeros_like(lungs)
    labels[0, 4, 1] = labels[0, 4, 8] = labels[0, 4, 11] = 1
    labels[1, 4, 4] = 1  # a slice without lung: nothing to join
    complete_lungs(lungs, labels, (1.0, 1.0))
    assert (lungs[0, 4, 1], lungs[0, 4, 8], lungs[0, 4, 11]) == (RIGHT, RIGHT, LEFT)
    assert not lungs[1].any()
    assert np.count_nonzero(lungs) == 2 * 36 + 3
