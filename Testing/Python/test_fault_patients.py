"""Patients out of the ordinary, from the file to the lungs' volumes, by the released lung network.

Each gives lungs of the known volume on the right side, or a warning, or one sentence that refuses.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import patients
import pytest
from numpy.typing import NDArray
from patients import LEFT, RIGHT, Patient

from CovidLesionSegLogic.ct import CTVolume, read_ct, to_canonical, write_image
from CovidLesionSegLogic.engine import Cancel, choose_device, no_progress
from CovidLesionSegLogic.errors import InputError
from CovidLesionSegLogic.lungs import body_window, lungs_from_predictions
from CovidLesionSegLogic.pipeline import SegmentOptions, segment_ct
from CovidLesionSegLogic.pipeline.lung_stage import find_lungs
from CovidLesionSegLogic.quantify import quantify

SHAPE = (12, 96, 96)
SPACING = (3.73, 3.73, 24.0)
Change = Callable[[Patient], Patient]


@dataclass(frozen=True, eq=False)
class Found:
    """Lungs on the CT's own grid, their volumes (mL) as the result states them, and remarks."""

    mask: NDArray[np.uint8]
    right: float
    left: float
    warnings: tuple[str, ...]

    def says(self, word: str) -> bool:
        return any(word in w for w in self.warnings)


def lungs_of(ct: CTVolume, folder: Path) -> Found:
    """Write the CT, read it, find and measure its lungs."""
    ct = read_ct(write_image(ct.array, ct, folder / "scan.nrrd"))
    canonical, reorientation = to_canonical(ct)
    stage = find_lungs(
        ct,
        canonical,
        reorientation,
        SegmentOptions(),
        device=choose_device("cpu"),
        progress=no_progress,
        cancel=Cancel(),
        notice=lambda _: None,
    )
    mask = np.ascontiguousarray(reorientation.restore(stage.mask))
    numbers = quantify(ct, np.zeros_like(mask), mask, ())
    warnings = (*canonical.warnings, *stage.warnings, *numbers.warnings)
    return Found(mask, numbers.right_lung.volume_ml, numbers.left_lung.volume_ml, warnings)


@functools.cache
def adult() -> Patient:
    """About 5 L of lung in 12 slices."""
    return patients.adult(SHAPE, SPACING)


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def check(found: Found, patient: Patient, percent: float = 12.0) -> None:
    """Both lungs have their volumes, and lie where they are.

    Slices so thick blur the border: 7 % too much are found in the patient that nothing befell.
    """
    for side, ml, known in zip(
        (RIGHT, LEFT), (found.right, found.left), patient.volumes, strict=True
    ):
        assert ml == pytest.approx(known, rel=percent / 100)
        assert dice(found.mask == side, patient.lungs == side) > 0.9


def twice_metal(patient: Patient) -> Patient:
    rods = slice(1, 11)
    return patients.with_metal(
        patients.with_metal(patient, (60, -15), rods), (60, 15), rods, hu=20000
    )


def bolus(patient: Patient) -> Patient:
    return patients.with_metal(
        patients.with_contrast(patient, 350),
        (-30, -50),
        slice(8, 12),
        radius=8,
        hu=1500,
        streak=400,
    )


def pacemaker(patient: Patient) -> Patient:
    return patients.with_leads(
        patients.with_metal(patient, (-70, 80), slice(7, 9), radius=15), LEFT
    )


def as_floats(patient: Patient) -> Patient:
    array = patient.ct.array.astype(np.float32) + np.float32(0.25)
    return Patient(replace(patient.ct, array=array), patient.lungs)


CHANGES: dict[str, Change] = {
    "nothing": lambda p: p,
    "contrast": lambda p: patients.with_contrast(p, 300),
    "bolus of contrast with streaks": bolus,
    "rods of metal at the spine": twice_metal,
    "pacemaker and its leads": pacemaker,
    "child of 0.6": lambda p: patients.scaled(p, 0.6),
    "child of 0.4": lambda p: patients.scaled(p, 0.4),
    "preterm baby": lambda p: patients.scaled(p, 0.25),
    "wider than the frame": lambda p: patients.framed(p, -10),
    "frame of 720 mm": lambda p: patients.framed(p, 48),
    "frame of a metre": lambda p: patients.framed(p, 96),
    "child in the frame of an adult": lambda p: patients.scaled(patients.framed(p, 60), 0.5),
    "pixels not square": lambda p: patients.zoomed(p, 1, 2),
    "padding of -2000": lambda p: patients.padded_circle(p, -2000),
    "foam around": patients.on_foam,
    "pneumothorax, right": lambda p: patients.with_pneumothorax(p, RIGHT),
    "pneumothorax, left": lambda p: patients.with_pneumothorax(p, LEFT),
    "three slices": lambda p: patients.slab(p, 4, 7),
    "fractions of HU": as_floats,
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_lungs_are_found(tmp_path: Path, name: str) -> None:
    patient = CHANGES[name](adult())
    found = lungs_of(patient.ct, tmp_path)
    check(found, patient)
    if name == "three slices":
        assert found.says("first and the last slice")
    assert not found.says("lung was found")


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((3, 96, 96), (3.73, 3.73, 1.0)),
        ((6, 96, 96), (3.73, 3.73, 0.3)),
        ((6, 96, 96), (3.73, 3.73, 10.0)),
        ((3, 1024, 1024), (0.35, 0.35, 10.0)),
        ((3, 700, 700), (0.3, 0.3, 10.0)),
        ((3, 64, 64), (5.6, 5.6, 10.0)),
        ((3, 180, 180), (2.0, 2.0, 10.0)),
    ],
)
def test_any_grid(
    tmp_path: Path, shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> None:
    patient = patients.adult(shape, spacing)
    found = lungs_of(patient.ct, tmp_path)
    check(found, patient)
    assert found.says("first and the last slice")


@pytest.mark.parametrize(
    "turned",
    [
        np.diag([1.0, 1.0, -1.0]),  # stored from the head to the feet
        np.diag([-1.0, -1.0, 1.0]),  # prone
        np.diag([-1.0, 1.0, -1.0]),  # feet first
    ],
    ids=["head to feet", "prone", "feet first"],
)
def test_sides_whatever_way_the_patient_lay(tmp_path: Path, turned: NDArray[np.float64]) -> None:
    steps = tuple(int(d) for d in np.diag(turned))[::-1]
    flip = tuple(slice(None, None, s) for s in steps)
    known = adult()
    patient = Patient(
        replace(known.ct, array=np.ascontiguousarray(known.ct.array[flip]), direction=turned),
        np.ascontiguousarray(known.lungs[flip]),
    )
    check(lungs_of(patient.ct, tmp_path), patient)


@pytest.mark.parametrize("side", [RIGHT, LEFT])
@pytest.mark.parametrize("hu", [15, 50])
def test_a_lung_without_air_is_missed_and_said(tmp_path: Path, side: int, hu: int) -> None:
    patient = patients.filled(adult(), (side,), hu)
    found = lungs_of(patient.ct, tmp_path)
    ml = {RIGHT: found.right, LEFT: found.left}
    name = {RIGHT: "right", LEFT: "left"}[side]
    assert found.says(f"Almost no {name} lung was found")
    assert ml[side] < 100
    assert ml[3 - side] == pytest.approx(patient.volumes[2 - side], rel=0.12)


def test_a_lung_half_full_of_fluid_is_said(tmp_path: Path) -> None:
    known = adult()
    fluid = patients.filled(known, (LEFT,))
    array, lungs = known.ct.array.copy(), known.lungs.copy()
    array[:6], lungs[:6] = fluid.ct.array[:6], fluid.lungs[:6]
    patient = known.changed(array, lungs)
    found = lungs_of(patient.ct, tmp_path)
    assert found.says("Far less left than right lung was found")
    assert not found.says("Almost no")
    assert found.left == pytest.approx(patient.volumes[1], rel=0.2)


NOBODY: dict[str, Callable[[], CTVolume]] = {
    "both lungs white": lambda: patients.filled(adult(), (RIGHT, LEFT), 40).ct,
    "abdomen": lambda: patients.abdomen(SHAPE, SPACING),
    "head": lambda: patients.head(SHAPE, SPACING),
    "legs": lambda: patients.legs(SHAPE, SPACING),
    "cylinder of water": lambda: patients.cylinder(SHAPE, SPACING, 0, (100.0, 100.0)),
}


@pytest.mark.parametrize("name", NOBODY)
def test_without_lungs_it_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"No lungs were found .*--lungs"):
        lungs_of(NOBODY[name](), tmp_path)


@pytest.mark.parametrize("slices", [1, 2])
def test_one_or_two_slices_are_refused(tmp_path: Path, slices: int) -> None:
    with pytest.raises(InputError, match="at least 3 slices"):
        lungs_of(patients.slab(adult(), 5, 5 + slices).ct, tmp_path)


def test_a_chest_stored_from_0_to_4095_is_refused(tmp_path: Path) -> None:
    stored = np.clip(adult().ct.array + 1024, 0, 4095)
    with pytest.raises(InputError, match="offset"):
        lungs_of(replace(adult().ct, array=stored), tmp_path)


@pytest.mark.slow
def test_the_lungs_of_a_whole_body(tmp_path: Path) -> None:
    patient = patients.whole_body(adult())
    found = lungs_of(patient.ct, tmp_path)
    check(found, patient)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [CHANGES["child of 0.4"], CHANGES["frame of 720 mm"], CHANGES["contrast"]],
    ids=["child", "large frame", "contrast"],
)
def test_lesions_are_found_as_in_the_ordinary_patient(
    lesion_cards: list, tmp_path: Path, change: Change
) -> None:
    known = _lesions(lambda p: p)
    share = _lesions(change)
    assert known > 1
    assert share == pytest.approx(known, rel=0.35)


@functools.cache
def _lesions(change: Change) -> float:
    """Percent of the lungs."""
    patient = change(patients.slab(patients.adult(SHAPE, SPACING, "moderate"), 4, 7))
    result = segment_ct(patient.ct, SegmentOptions(device="cpu"))
    share = result.quantification.total.share_of_lungs_percent
    assert share is not None
    return share


# --- the parts that decide ----------------------------------------------------------------------


def given(labels: NDArray[np.uint8], hu: NDArray[np.int16]) -> NDArray[np.uint8]:
    """What the clean-up leaves of labels that the network is taken to have said."""
    from test_lungs import predictions

    return lungs_from_predictions(predictions(labels), labels.shape, (3.0, 3.0, 5.0), hu=hu).array


def two_boxes() -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    labels = np.zeros((60, 60, 80), np.uint8)
    labels[20:40, 15:45, 10:30], labels[20:40, 15:45, 50:70] = RIGHT, LEFT
    hu = np.full(labels.shape, 40, np.int16)
    hu[labels != 0] = -850
    return labels, hu


@pytest.mark.parametrize("slices", [slice(0, 8), slice(52, 60)])
def test_aerated_pieces_far_from_the_chest_are_no_lung(slices: slice) -> None:
    lungs, hu = two_boxes()
    labels = lungs.copy()
    labels[slices, 20:40, 20:40] = RIGHT
    hu[slices, 20:40, 20:40] = -700
    np.testing.assert_array_equal(given(labels, hu), lungs)


def test_a_piece_of_lung_beyond_a_white_zone_stays() -> None:
    lungs, hu = two_boxes()
    lungs[28:34] = 0
    hu[28:34] = 40
    np.testing.assert_array_equal(given(lungs, hu), lungs)


def test_gas_is_no_lung_and_emphysema_is() -> None:
    lungs, hu = two_boxes()
    hu[lungs == LEFT] = -955
    np.testing.assert_array_equal(given(lungs, hu), lungs)
    hu[lungs == LEFT] = -990
    np.testing.assert_array_equal(given(lungs, hu), np.where(lungs == LEFT, 0, lungs))


@pytest.mark.parametrize(("gas", "rest"), [(0.6, -700), (0.55, -935)])
def test_a_thin_lung_with_tissue_in_it_is_no_gas(gas: float, rest: int) -> None:
    """A large pneumothorax with the collapsed lung in it; emphysema on a scanner that reads low."""
    lungs, hu = two_boxes()
    thin = np.random.default_rng(1).random(hu.shape) < gas
    hu[lungs == LEFT] = np.where(thin, -985, rest)[lungs == LEFT]
    np.testing.assert_array_equal(given(lungs, hu), lungs)


@pytest.mark.parametrize("noise", [0, 60])
def test_gas_is_no_lung_in_noise_either(noise: int) -> None:
    lungs, hu = two_boxes()
    grain = np.random.default_rng(1).normal(-1000, noise, hu.shape)
    hu[lungs == LEFT] = np.maximum(grain, -1024)[lungs == LEFT]
    np.testing.assert_array_equal(given(lungs, hu), np.where(lungs == LEFT, 0, lungs))


def test_slices_far_apart_are_neighbours_all_the_same() -> None:
    """Lung above and below a white slice is of one chest; slices may lie further apart than that
    chests would."""
    from test_lungs import predictions

    labels = np.zeros((3, 60, 80), np.uint8)
    labels[0, 15:30, 10:30], labels[1, 31:50, 10:30], labels[:, 15:45, 50:70] = RIGHT, RIGHT, LEFT
    labels[1:, 15:45, 50:70] = 0
    hu = np.where(labels != 0, -850, 40).astype(np.int16)
    found = lungs_from_predictions(predictions(labels), labels.shape, (3.0, 3.0, 55.0), hu=hu)
    np.testing.assert_array_equal(found.array, labels)


def test_gas_beside_the_lungs_is_said() -> None:
    from test_lungs import predictions

    lungs, hu = two_boxes()
    labels = lungs.copy()
    labels[25:30, 50:58, 30:50] = LEFT
    hu[25:30, 50:58, 30:50] = -995
    found = lungs_from_predictions(predictions(labels), labels.shape, (3.0, 3.0, 5.0), hu=hu)
    np.testing.assert_array_equal(found.array, lungs)
    assert any("36 mL of gas without lung tissue" in w for w in found.warnings)


def test_little_lung_in_a_large_body_is_none() -> None:
    labels = np.zeros((20, 64, 64), np.uint8)
    labels[9:12, 20:32, 20:32] = RIGHT
    hu = np.where(labels != 0, -850, 40).astype(np.int16)
    assert not given(labels, hu).any()
    hu[:, 40:] = hu[:, :, 40:] = -1000  # now it is much of the body
    hu[:, :14] = hu[:, :, :14] = -1000
    assert given(labels, hu).any()


def test_the_frame_is_the_whole_one_unless_far_larger_than_the_body() -> None:
    known = adult()
    assert body_window(known.ct.array, SPACING) == (slice(0, 96), slice(0, 96))
    wide = patients.framed(known, 96)
    rows, columns = body_window(wide.ct.array, SPACING)
    assert not np.delete(wide.lungs.any(axis=(0, 2)), np.r_[rows]).any()
    assert not np.delete(wide.lungs.any(axis=(0, 1)), np.r_[columns]).any()
    for part in (rows, columns):
        assert 340 < (part.stop - part.start) * SPACING[0] < 450
    empty = np.full((4, 40, 50), -1000, np.int16)
    assert body_window(empty, SPACING) == (slice(0, 40), slice(0, 50))


@pytest.mark.parametrize("wall", [6, 8, 10])
@pytest.mark.parametrize("table", [False, True])
def test_the_frame_holds_lungs_behind_a_thin_wall(wall: int, table: bool) -> None:
    """Slices of a chest without shoulders or belly, whose wall is no thicker than a table's."""
    y, x = np.mgrid[:256, :256] * 1.6 - 204.0
    body = (x / 150) ** 2 + (y / 95) ** 2 < 1
    inner = (x / (150 - wall)) ** 2 + (y / (95 - wall)) ** 2 < 1
    lung = inner & (abs(x) > 40)
    plane = np.where(lung, -850, np.where(body, 40, -1000)).astype(np.int16)
    if table:
        plane[(y > 97) & (y < 137)] = 0
        plane[(y > 103) & (y < 131) & (abs(x) < 195)] = -900
    rows, columns = body_window(np.stack([plane] * 3), (1.6, 1.6, 5.0))
    assert lung[rows, columns].sum() == lung.sum()


# --- real chests --------------------------------------------------------------------------------


@functools.cache
def real(folder: Path) -> Patient:
    """Every ninth slice of a real CT in every second pixel, with the lungs found in it."""
    canonical, _ = to_canonical(read_ct(folder / "covid_ct_md" / "P001"))
    array = np.ascontiguousarray(canonical.array[::9, ::2, ::2])
    x, y, z = canonical.spacing
    ct = replace(canonical, array=array, spacing=(2 * x, 2 * y, 9 * z), planes=())
    return Patient(ct, np.zeros(array.shape, np.uint8))


@pytest.mark.data
def test_a_real_chest_changed(shared_data: Path, tmp_path: Path) -> None:
    plain = real(shared_data)
    found = lungs_of(plain.ct, tmp_path)
    assert 1000 < found.left < found.right < 4000
    known = Patient(plain.ct, found.mask)
    metal = patients.with_metal(known, (30, -10), slice(2, 15))
    check(lungs_of(metal.ct, tmp_path), known, percent=8)
    water = patients.filled(known, (RIGHT,), 20)
    assert lungs_of(water.ct, tmp_path).says("Almost no right lung was found")
    half = known.ct.array.shape[2] // 2
    removed, rest = known.ct.array.copy(), known.lungs.copy()
    removed[:, :, half:], rest[:, :, half:] = -1000, 0
    cut = lungs_of(known.changed(removed).ct, tmp_path)
    assert cut.says("Almost no left lung was found")
    assert cut.right == pytest.approx(known.volumes[0], rel=0.15)
    wide = patients.framed(known, 200)
    check(lungs_of(wide.ct, tmp_path), wide, percent=4)
    few = patients.slab(known, 6, 9)
    check(lungs_of(few.ct, tmp_path), few, percent=4)
