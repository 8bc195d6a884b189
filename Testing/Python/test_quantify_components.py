"""Components counted block by block agree with a whole-volume labelling."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from CovidLesionSegLogic.quantify.components import ComponentCounter


def reference(mask):
    labels, number = ndimage.label(mask, np.ones((3, 3, 3)))
    return number, int(np.bincount(labels.ravel())[1:].max(initial=0))


def count(mask, step):
    counter = ComponentCounter()
    for start in range(0, len(mask), step):
        counter.update(mask[start : start + step])
    return counter.compute()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    density=st.floats(0.005, 0.6),
    step=st.integers(1, 7),
    depth=st.integers(1, 14),
)
def test_random_masks(seed, density, step, depth):
    mask = np.random.default_rng(seed).random((depth, 9, 8)) < density
    assert count(mask, step) == reference(mask)


def test_two_arms_joined_only_in_a_later_block():
    mask = np.zeros((6, 5, 9), bool)
    mask[:5, 2, 1] = mask[:5, 2, 7] = True
    assert count(mask, 1) == (2, 5)
    mask[5, 2, 1:8] = True
    assert count(mask, 1) == (1, 17)


def test_diagonal_neighbours_across_blocks_touch():
    mask = np.zeros((2, 4, 4), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert count(mask, 1) == (1, 2)


def test_a_gap_between_blocks_separates():
    mask = np.zeros((3, 3, 3), bool)
    mask[0, 1, 1] = mask[2, 1, 1] = True
    assert count(mask, 1) == (2, 1)


def test_empty():
    assert count(np.zeros((4, 3, 3), bool), 2) == (0, 0)
    assert ComponentCounter().compute() == (0, 0)
