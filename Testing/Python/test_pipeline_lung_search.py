"""The lung network looks at some slices first, and then only beside those that have lung."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from CovidLesionSegLogic.engine import Box, SlicePrediction
from CovidLesionSegLogic.pipeline.lung_search import first_look, search_lungs, second_look

BOX = Box(0, 2, 0, 2)


def searched(has: list[bool], spacing: float) -> tuple[list[int], list[tuple[int, int]]]:
    """The slices that were looked at, in turn, and the progress told."""
    told: list[tuple[int, int]] = []

    def predict(slices, progress):
        progress("", 0, len(slices))
        for n, k in enumerate(slices, start=1):
            yield SlicePrediction(k, BOX, np.full((2, 2, 2), float(has[k]), np.float32))
            progress("", n, len(slices))

    looked = search_lungs(
        len(has), spacing, predict, lambda stage, done, total: told.append((done, total)), "lungs"
    )
    return [one.index for one in looked], told


def test_the_first_look_goes_every_ten_millimetres_to_the_last_slice():
    assert first_look(13, 2.0) == [0, 5, 10, 12]
    assert first_look(4, 6.0) == [0, 1, 2, 3]
    assert first_look(3, 25.0) == [0, 1, 2]
    assert first_look(1, 1.0) == [0]
    assert first_look(0, 1.0) == []


def test_the_second_look_is_beside_lung_only():
    assert second_look({0: False, 5: False, 10: True, 12: True}) == [6, 7, 8, 9, 11]
    assert second_look({0: False, 5: False}) == []
    assert second_look({0: True}) == []


@given(st.integers(0, 120), st.integers(10, 120), st.integers(1, 200), st.floats(0.3, 12.0))
def test_no_slice_of_a_lung_is_left_out(below, lung, above, spacing):
    has = [False] * below + [True] * lung + [False] * above
    looked, told = searched(has, spacing)
    assert len(looked) == len(set(looked))
    if lung * spacing >= 10.0 + spacing:
        assert {k for k, lungs in enumerate(has) if lungs} <= set(looked)
    assert told[-1] == (len(has), len(has))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_gap_in_the_lungs_is_looked_at_throughout():
    has = [False] * 20 + [True] * 40 + [False] * 21 + [True] * 40 + [False] * 40
    has[65] = True  # a slice that is found between those that are missed
    looked, _ = searched(has, 1.0)
    assert 65 in looked


def test_a_long_scan_costs_little_more_than_its_chest():
    has = [False] * 700 + [True] * 300 + [False] * 200
    looked, _ = searched(has, 1.0)
    assert len(looked) < 300 + 1200 / 10 + 2 * 10
