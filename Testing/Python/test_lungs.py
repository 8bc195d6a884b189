"""Lung masks: density, sides, and the clean-up of a network's slices."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import ndimage

from CovidLesionSegLogic.ct import to_canonical
from CovidLesionSegLogic.engine.preprocess import Box
from CovidLesionSegLogic.lungs import (
    LEFT,
    RIGHT,
    count_labels,
    lungs_from_density,
    lungs_from_predictions,
    split_sides,
)
from CovidLesionSegLogic.lungs.classical import fill_small_holes
from CovidLesionSegLogic.lungs.mask import _fill_holes
from CovidLesionSegLogic.pipeline.labelling import complete_lungs, near_lung, remove_small


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


def blobs(seed, shape=(5, 40, 52), density=0.5, empty=()):
    """Irregular labels 0, 1 and 2 with holes, some slices empty."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal(shape), (0.7, 1.5, 1.5))
    labels = (field > np.quantile(field, density)) * rng.integers(1, 3, shape).astype(np.uint8)
    labels[:, :, :26][labels[:, :, :26] != 0] = RIGHT
    labels[list(empty)] = 0
    return labels


@pytest.mark.parametrize("seed", range(4))
def test_holes_are_filled_as_on_whole_slices(seed):
    labels = blobs(seed, density=0.4, empty=(2,))
    labels[1, :12] = labels[1, :, :7] = 0  # a slice whose lungs lie far from the frame
    expected = labels.copy()
    for plane in expected:
        for side in (RIGHT, LEFT):
            plane[fill_small_holes(plane == side, 600.0 / 16) & (plane == 0)] = side
    assert not np.array_equal(expected, labels)
    _fill_holes(labels, (4.0, 4.0, 5.0))
    assert np.array_equal(labels, expected)


@pytest.mark.parametrize("seed", range(4))
def test_lesions_join_the_lungs_as_on_whole_slices(seed):
    lungs, lesions = blobs(seed, density=0.9, empty=(1,)), blobs(seed + 9, density=0.8, empty=(3,))
    lungs[:, :10] = 0
    expected = lungs.copy()
    for lung, label in zip(expected, lesions, strict=True):
        missing = (label != 0) & (lung == 0)
        if missing.any() and lung.any():
            nearest = ndimage.distance_transform_edt(
                lung == 0, sampling=(1.3, 0.7), return_distances=False, return_indices=True
            )
            lung[missing] = lung[tuple(nearest)][missing]
    assert not np.array_equal(expected, lungs)
    complete_lungs(lungs, lesions, (1.3, 0.7))
    assert np.array_equal(lungs, expected)


@pytest.mark.parametrize("seed", range(4))
def test_pixels_near_the_lung_are_those_of_the_whole_slice(seed):
    lungs = blobs(seed, density=0.97, empty=(3,))
    lungs[:, 20:] = 0
    for mask in lungs:
        distance = ndimage.distance_transform_edt(mask == 0, sampling=(1.3, 0.7))
        expected = (distance <= 3.0) if mask.any() else np.zeros(mask.shape, bool)
        assert np.array_equal(near_lung(mask, (1.3, 0.7)), expected)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("least", [1, 2, 9, 60, 10**6])
def test_small_lesions_are_those_of_the_whole_volume(seed, least):
    labels = blobs(seed, (7, 24, 26), density=0.75 + 0.03 * seed, empty=(4,) if seed % 2 else ())
    components, count = ndimage.label(labels != 0, np.ones((3, 3, 3)))
    sizes = np.bincount(components.ravel(), minlength=count + 1)
    small = sizes < least
    small[0] = False
    expected = np.where(small[components], 0, labels)
    assert remove_small(labels, least) == small.sum()
    assert np.array_equal(labels, expected)


def test_lesions_joined_by_a_corner_across_slices_count_as_one():
    labels = np.zeros((3, 6, 6), np.uint8)
    labels[0, 1, 1] = labels[1, 2, 2] = labels[2, 3, 1] = 1
    labels[0, 5, 5] = 2
    assert remove_small(labels, 3) == 1
    assert np.count_nonzero(labels) == 3
    assert remove_small(np.zeros((2, 3, 3), np.uint8), 3) == 0


def test_labels_are_counted_without_a_large_copy():
    labels = np.zeros((60, 64, 64), np.uint8)
    labels[3, :5, :5], labels[40, 1, 1] = 2, 255
    tracemalloc.start()
    counts = count_labels(labels)
    specks = remove_small(labels, 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (counts[2], counts[255], counts.sum()) == (25, 1, labels.size)
    assert specks == 1
    assert peak < labels.nbytes
