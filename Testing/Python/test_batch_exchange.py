"""Volumes that two processes hand each other through files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from CovidLesionSegLogic.batch import exchange
from CovidLesionSegLogic.ct import read_labels
from CovidLesionSegLogic.ct.box import Box, Placed
from CovidLesionSegLogic.ct.raw import RawVolume
from CovidLesionSegLogic.errors import InputError, RequestError
from CovidLesionSegLogic.phantom import Phantom

OBLIQUE = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, -1.0]])


def raw_volume(array: np.ndarray) -> RawVolume:
    return RawVolume(
        array,
        (-101.3, 20.7, 0.1),
        (0.7, 0.7, 1.3),
        OBLIQUE,
        "Thorax",
        "The volume 'Thorax'",
        {"format": "mrml", "node": "vtkMRMLScalarVolumeNode1"},
        ("a note",),
    )


def hand_over(raw: RawVolume, folder: Path) -> list[tuple[int, int]]:
    return list(exchange.write_ct(raw, folder))


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint16, np.float32, np.float64])
def test_a_ct_comes_back_as_it_was(tmp_path: Path, dtype: type) -> None:
    array = np.arange(5 * 7 * 11).reshape(5, 7, 11).astype(dtype)
    told = hand_over(raw_volume(array), tmp_path)
    back = exchange.open_ct(tmp_path)
    assert told[-1] == (array.nbytes, array.nbytes)
    assert back.array.dtype == array.dtype
    np.testing.assert_array_equal(back.array, array)
    np.testing.assert_array_equal(back.direction, OBLIQUE)
    assert (back.origin, back.spacing) == ((-101.3, 20.7, 0.1), (0.7, 0.7, 1.3))
    assert (back.name, back.warnings) == ("Thorax", ("a note",))
    assert back.source["node"] == "vtkMRMLScalarVolumeNode1"


def test_a_large_ct_is_written_block_by_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "BLOCK_BYTES", 300)
    array = np.arange(10 * 10 * 10, dtype=np.int16).reshape(10, 10, 10)[:, ::-1]  # not contiguous
    told = hand_over(raw_volume(array), tmp_path)
    assert [done for done, _ in told] == [200 * n for n in range(1, 11)]
    np.testing.assert_array_equal(exchange.open_ct(tmp_path).array, array)


def test_an_interrupted_hand_over_leaves_no_ct(tmp_path: Path) -> None:
    steps = exchange.write_ct(raw_volume(np.zeros((4, 4, 4), np.int16)), tmp_path)
    next(steps)
    steps.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="start the run again"):
        exchange.open_ct(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [4, 4, 5]},
        {"shape": [0, 4, 4]},
        {"shape": [4, 4]},
        {"dtype": "|O"},
        {"dtype": "nonsense"},
        {"spacing": None},
        {"source": 3},
    ],
)
def test_a_damaged_header_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    hand_over(raw_volume(np.zeros((4, 4, 4), np.int16)), tmp_path)
    header = tmp_path / exchange.CT_HEADER
    header.write_text(json.dumps(json.loads(header.read_text()) | change))
    with pytest.raises(InputError, match="start the run again"):
        exchange.open_ct(tmp_path).checked()


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6)))
def test_a_box_holds_every_voxel_and_no_empty_border(array: np.ndarray) -> None:
    placed = Placed.of(array)
    np.testing.assert_array_equal(placed.whole(), array)
    if array.any():
        for axis in range(3):
            faces = np.moveaxis(placed.array, axis, 0)
            assert faces[0].any()
            assert faces[-1].any()
    else:
        assert placed.array.size == 1


@given(st.data())
def test_a_box_outside_its_volume_is_refused(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 5))
    with pytest.raises(ValueError, match="in a volume of"):
        Placed(np.zeros((size, 1, 1)), Box((0, 0, 0), (size, 1, 1)), (size - 1, 1, 1))


def test_labels_come_back_where_they_were(tmp_path: Path) -> None:
    labels = np.zeros((6, 8, 9), np.uint8)
    labels[2:4, 1:5, 6] = 3
    told = exchange.write_placed(Placed.of(labels), tmp_path / "labels.raw")
    assert json.loads(json.dumps(told)) == told
    assert (tmp_path / "labels.raw").stat().st_size == 2 * 4
    np.testing.assert_array_equal(exchange.open_placed(told, tmp_path).whole(), labels)


@pytest.mark.parametrize(
    "change",
    [
        {"file": "../labels.raw"},
        {"file": "missing.raw"},
        {"start": [3, 1, 6]},
        {"stop": [5, 5, 7]},
        {"shape": [3, 8, 9]},
        {"dtype": "<f8"},
        {"start": "abc"},
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    labels = np.zeros((6, 8, 9), np.uint8)
    labels[2:4, 1:5, 6] = 3
    told = exchange.write_placed(Placed.of(labels), tmp_path / "labels.raw") | change
    with pytest.raises((InputError, RequestError)):
        exchange.open_placed(told, tmp_path)


def test_a_label_map_lies_on_the_grid_of_its_ct(tmp_path: Path, phantom: Phantom) -> None:
    name = exchange.write_label_map(phantom.lungs, phantom.ct, tmp_path, "lungs")
    notes: list[str] = []
    back = read_labels(tmp_path / name, phantom.ct, notes=notes)
    np.testing.assert_array_equal(back, phantom.lungs)
    assert notes == []
