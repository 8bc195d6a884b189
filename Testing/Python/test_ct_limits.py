"""The edges of what passes for a CT: values, sizes, spacings, affines, boxes, windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from CovidLesionSegLogic.ct import CTVolume, to_canonical, window
from CovidLesionSegLogic.ct.box import Box, Placed
from CovidLesionSegLogic.ct.grid import decompose
from CovidLesionSegLogic.ct.values import check_range, check_size_and_spacing, clean_hounsfield
from CovidLesionSegLogic.ct.volume import SourcePlane
from CovidLesionSegLogic.errors import InputError


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-500, -200, None),
        (-1024, 3071, None),
        (-1e5, 1e5, None),
        (-1000, 100_000.5, "far outside"),
        (-100_000.5, 1000, "far outside"),
        (-600, -600, "the same everywhere"),
        (0, 0.95e-6, "the same everywhere"),
        (0, 1.05e-6, "scaled to 0..1"),
        (0, 1, "scaled to 0..1"),
        (-1.001, 1.001, "scaled to 0..1"),
        (-1.002, 1.001, "does not span"),
        (0, 1.002, "8-bit"),
        (0, 255, "8-bit"),
        (-1, 255, "does not span"),
        (0, 256, "offset"),
        (0, 255.5, "offset"),
        (-50, 4000, "offset"),
        (-51, 4000, "does not span"),
        (-499, 3000, "does not span"),
        (-1000, -201, "does not span"),
    ],
)
def test_ranges_of_values(low: float, high: float, said: str | None) -> None:
    if said is None:
        check_range(low, high, "ct.nii")
    else:
        with pytest.raises(InputError, match=said):
            check_range(low, high, "ct.nii")


@pytest.mark.parametrize(
    ("shape", "spacing", "fine"),
    [
        ((3, 2, 2), (0.05, 25.0, 1.0), True),
        ((2, 9, 9), (1.0, 1.0, 1.0), False),
        ((3, 1, 9), (1.0, 1.0, 1.0), False),
        ((3, 9, 1), (1.0, 1.0, 1.0), False),
        ((3, 9, 9), (0.049, 1.0, 1.0), False),
        ((3, 9, 9), (1.0, 0.049, 1.0), False),
        ((3, 9, 9), (1.0, 1.0, 25.1), False),
        ((3, 9, 9), (1.0, 1.0, np.nan), False),
    ],
)
def test_sizes_and_spacings(shape: tuple, spacing: tuple, fine: bool) -> None:
    if fine:
        check_size_and_spacing(shape, spacing, "ct.nii")
    else:
        with pytest.raises(InputError, match=r"slice\(s\)|voxel size"):
            check_size_and_spacing(shape, spacing, "ct.nii")


def test_a_refused_size_is_told_columns_first() -> None:
    with pytest.raises(InputError, match=r"holds 2 slice\(s\) of 7x9 pixels"):
        check_size_and_spacing((2, 9, 7), (1.0, 1.0, 1.0), "ct.nii")


def chest(*values: float, dtype: type = np.int16) -> np.ndarray:
    """Air and soft tissue in three slices, with ``values`` in the middle of the second."""
    array = np.full((3, 5, 7), -1000, dtype)
    array[:, 3:] = 40
    array[1, 2, 1 : 1 + len(values)] = values
    return array


def test_padding_is_no_lung_air() -> None:
    """What is darker than -500 HU must be more than the padding at -1024."""
    array = np.full((3, 4, 4), 40, np.int16)
    array[:, 0] = -1024
    array[:, 1] = -499
    with pytest.raises(InputError, match="from -499 to 40"):
        clean_hounsfield(array, "ct.nii")
    array[1, 1, 1] = -500
    clean_hounsfield(array, "ct.nii")
    array[0, 1] = -500  # the lowest of any slice counts, whichever comes first
    array[1, 1] = -450
    clean_hounsfield(array, "ct.nii")
    with pytest.raises(InputError, match="the same everywhere"):
        clean_hounsfield(np.full((3, 4, 4), -1024, np.int16), "ct.nii")


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_values_beyond_vacuum_and_metal_are_clipped(dtype: type) -> None:
    top = 32767 if dtype is np.int16 else 40000
    result = clean_hounsfield(chest(-1023, -1024, -1025, -3000, top, dtype=dtype), "ct.nii")
    assert result.array.dtype == np.int16
    assert result.array[1, 2, 1:6].tolist() == [-1023, -1024, -1024, -1024, 32767]
    np.testing.assert_array_equal(result.array[0], chest()[0])
    said = ("Values above 32767 HU (up to 40000) were set to 32767.",)
    assert result.warnings == (() if dtype is np.int16 else said)


def test_the_highest_value_is_no_overflow() -> None:
    result = clean_hounsfield(chest(32767, dtype=np.int32), "ct.nii")
    assert result.warnings == ()
    assert result.array[1, 2, 1] == 32767


def test_halves_stay_and_whole_numbers_become_int16() -> None:
    half = clean_hounsfield(chest(0.5, dtype=np.float64), "ct.nii")
    assert half.array.dtype == np.float32
    assert half.array[1, 2, 1] == 0.5
    assert clean_hounsfield(chest(dtype=np.float64), "ct.nii").array.dtype == np.int16
    single = chest(dtype=np.float32)
    assert clean_hounsfield(single, "ct.nii").array.dtype == np.int16
    assert np.shares_memory(clean_hounsfield(single, "ct.nii", narrow=False).array, single)
    assert clean_hounsfield(chest(), "ct.nii", narrow=False).array.dtype == np.int16


def test_arrays_that_may_not_change_are_copied() -> None:
    fixed = chest(-3000)
    fixed.flags.writeable = False
    assert clean_hounsfield(fixed, "ct.nii").array.min() == -1024
    assert fixed.min() == -3000
    turned = chest(-3000).transpose(0, 2, 1)
    cleaned = clean_hounsfield(turned, "ct.nii").array
    assert cleaned.flags.c_contiguous
    assert (cleaned.min(), turned.min()) == (-1024, -3000)


@pytest.mark.parametrize("border", ["top", "bottom", "left", "right"])
def test_a_background_of_nan_is_air(border: str) -> None:
    array = chest(dtype=np.float32)
    row, column = {"top": (0, 3), "bottom": (-1, 3), "left": (2, 0), "right": (2, -1)}[border]
    array[1, row, column] = np.nan
    result = clean_hounsfield(array, "ct.nii")
    assert result.array[1, row, column] == -1024
    assert np.count_nonzero(result.array == -1024) == 1
    assert result.warnings == (
        "The background was not a number (NaN) in 1 of 3 slices; it was set to -1024 HU.",
    )


def test_a_frame_of_nan_around_slices_with_halves() -> None:
    """All lung air lies in the second of two framed slices."""
    array = np.full((3, 5, 7), -400.5, np.float32)
    array[:, 3:] = 40
    array[1, 2, 2:5] = -1000
    for k in (0, 1):
        array[k, [0, -1]] = np.nan
        array[k, :, [0, -1]] = np.nan
    result = clean_hounsfield(array, "ct.nii")
    assert result.array.dtype == np.float32
    assert np.count_nonzero(result.array == -1024) == 2 * (35 - 15)
    assert "in 2 of 3 slices" in result.warnings[0]
    assert np.isfinite(result.array).all()


def test_a_slice_of_padding_is_no_lung_air() -> None:
    array = np.full((3, 4, 4), -499, np.int16)
    array[:, 2:] = 40
    array[0] = -1024
    with pytest.raises(InputError, match="from -499 to 40"):
        clean_hounsfield(array, "ct.nii")


def test_metal_alone_is_clipped_and_a_plain_ct_left_alone() -> None:
    assert clean_hounsfield(chest(40000, dtype=np.float32), "ct.nii").array.max() == 32767
    assert clean_hounsfield(chest(), "ct.nii").warnings == ()


@pytest.mark.parametrize("fault", ["inside", "beside a background", "infinite", "empty slice"])
def test_what_is_no_number_within_the_body_is_refused(fault: str) -> None:
    array = chest(dtype=np.float32)
    if fault == "infinite":
        array[1, 0, 0] = np.inf
    elif fault == "empty slice":
        array[1] = np.nan
    else:
        array[1, 2, 3] = np.nan
        if fault == "beside a background":
            array[1, 0] = np.nan
    with pytest.raises(InputError, match="inside slice 1 of 3"):
        clean_hounsfield(array, "ct.nii")


@pytest.mark.parametrize("dtype", [bool, complex])
def test_other_kinds_of_numbers_are_refused(dtype: type) -> None:
    with pytest.raises(InputError, match="not Hounsfield units"):
        clean_hounsfield(np.ones((3, 4, 4), dtype), "ct.nii")


AXES = [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)]


def sheared(long: int, other: int, moved: float) -> tuple[np.ndarray, tuple[int, int, int]]:
    """An affine, and a shape whose last voxel along ``long`` moves when it is straightened.

    Index axes ``long`` and ``other`` lean towards each other by the same angle, so that the
    nearest perpendicular axes are those of the patient. Eleven voxels of 1 mm along ``long`` move
    the last by ``moved`` voxels of 0.5 mm along ``other``.
    """
    lean = moved * 0.5 / 10
    spacing = np.full(3, 2.0)
    spacing[long], spacing[other] = 1.0, 0.5
    axes = np.eye(3)
    axes[other, long] = axes[long, other] = lean
    affine = np.eye(4)
    affine[:3, :3] = axes / np.linalg.norm(axes, axis=0) * spacing
    affine[:3, 3] = (1.0, 2.0, 3.0)
    size = [1, 1, 1]
    size[long] = 11
    return affine, (size[2], size[1], size[0])


@pytest.mark.parametrize(("long", "other"), AXES)
@pytest.mark.parametrize(("moved", "said"), [(0.095, 0), (0.105, 1), (0.485, 1)])
def test_a_tenth_of_a_voxel_is_straightened_silently(
    long: int, other: int, moved: float, said: int
) -> None:
    affine, shape = sheared(long, other, moved)
    origin, spacing, direction, warnings = decompose(affine, shape, "ct.nii")
    assert origin == (1.0, 2.0, 3.0)
    expected = [2.0] * 3
    expected[long], expected[other] = 1.0, 0.5
    assert spacing == pytest.approx(expected)
    np.testing.assert_allclose(direction, np.eye(3), atol=1e-9)
    assert len(warnings) == said
    if said:
        degrees = np.degrees(2 * np.arctan(moved * 0.05))
        assert warnings == (
            f"The axes were {degrees:.2g} degrees off perpendicular; they were straightened, which "
            f"moved voxels by up to {moved:.1f} voxels.",
        )


@pytest.mark.parametrize(("long", "other"), AXES)
def test_more_than_half_a_voxel_is_refused(long: int, other: int) -> None:
    with pytest.raises(InputError, match=r" 3 degrees .* up to 0\.5 voxels"):
        decompose(*sheared(long, other, 0.515), "ct.nii")


def test_the_refused_shear_is_told_in_voxels_and_degrees() -> None:
    affine, shape = sheared(1, 0, 3.0)
    with pytest.raises(InputError, match=r"17 degrees off .* up to 3\.0 voxels"):
        decompose(affine, shape, "ct.nii")


@pytest.mark.parametrize(
    ("row", "column", "value", "fine"),
    [
        (0, 0, 0.0, False),
        (0, 0, 0.9e-6, False),
        (0, 0, 1.05e-6, True),
        (1, 1, 0.95e6, True),
        (1, 1, 1_000_000.5, False),
        (1, 1, 1.05e6, False),
        (2, 2, np.nan, False),
        (2, 2, np.inf, False),
        (2, 3, np.nan, False),
        (0, 3, -0.95e9, True),
        (0, 3, -1.05e9, False),
        (2, 3, 1.05e9, False),
    ],
)
def test_absurd_affines_are_refused(row: int, column: int, value: float, fine: bool) -> None:
    affine = np.eye(4)
    affine[row, column] = value
    if fine:
        decompose(affine, (2, 2, 2), "ct.nii")
    else:
        with pytest.raises(InputError, match="no valid voxel size or position"):
            decompose(affine, (2, 2, 2), "ct.nii")


@pytest.mark.filterwarnings("error")
def test_an_overflow_is_refused_and_not_remarked_upon() -> None:
    affine = np.eye(4)
    affine[0, 0] = 1e200
    with pytest.raises(InputError, match="no valid voxel size"):
        decompose(affine, (2, 2, 2), "ct.nii")


@pytest.mark.parametrize("third", [0, 1, 2])
def test_the_corner_that_moves_most_is_any(third: int) -> None:
    """Leaning along the third axis takes back half of what the first two axes do to each other.

    So the corner at the start of the third axis moves most: by 0.11 voxels.
    """
    first, second = (axis for axis in range(3) if axis != third)
    axes = np.eye(3)
    axes[first, second] = axes[second, first] = 0.11
    for axis in (first, second):
        axes[axis, third] = axes[third, axis] = -0.0055
    spacing = np.ones(3)
    spacing[third] = 10.0
    affine = np.eye(4)
    affine[:3, :3] = axes / np.linalg.norm(axes, axis=0) * spacing
    warnings = decompose(affine, (2, 2, 2), "ct.nii")[3]
    assert len(warnings) == 1
    assert warnings[0].endswith("by up to 0.1 voxels.")


@pytest.mark.parametrize(("angle", "fine"), [(1.9e-3, False), (2.1e-3, True)])
def test_axes_of_one_direction_are_refused(angle: float, fine: bool) -> None:
    """Two unit vectors at a small angle have a smallest singular value of about half of it."""
    angle = np.sqrt(2) * angle / 2  # sqrt(1 - cos a) is a / sqrt(2)
    affine = np.eye(4)
    affine[:2, 1] = np.cos(angle), np.sin(angle)
    match = "sheared" if fine else "same direction"
    with pytest.raises(InputError, match=match):
        decompose(affine, (20, 20, 20), "ct.nii")


def test_left_handed_axes_are_kept() -> None:
    affine = np.diag([-0.7, 0.8, 2.5, 1.0])
    _, spacing, direction, warnings = decompose(affine, (5, 5, 5), "ct.nii")
    assert spacing == pytest.approx((0.7, 0.8, 2.5))
    np.testing.assert_allclose(direction, np.diag([-1.0, 1.0, 1.0]), atol=1e-12)
    assert warnings == ()


AIR = np.zeros((3, 4, 5), np.int16)


@pytest.mark.parametrize(
    "change",
    [
        {"array": AIR[0]},
        {"array": AIR.astype(np.int32)},
        {"array": AIR.astype(np.float64)},
        {"spacing": (1.0, 0.0, 1.0)},
        {"spacing": (1.0, 1.0, -1.0)},
        {"spacing": (1.0, 1.0, 1e9)},
        {"spacing": (1.0, 1.0)},
        {"spacing": (np.nan, 1.0, 1.0)},
        {"origin": (0.0, 2e9, 0.0)},
        {"origin": (0.0, -2e9, 0.0)},
        {"origin": (0.0, 0.0)},
        {"origin": (np.nan, 0.0, 0.0)},
        {"direction": np.eye(3) * 1.1},
        {"direction": [[1, 1.05e-4, 0], [0, 1, 0], [0, 0, 1]]},
        {"direction": np.full((3, 3), np.nan)},
        {"planes": (None, None)},
    ],
)
def test_what_is_no_volume(change: dict) -> None:
    with pytest.raises(ValueError, match=r"CT array|planes|direction|spacing|origin"):
        CTVolume(**{"array": AIR, **change})


def test_what_just_is_a_volume() -> None:
    nearly = np.array([[1, 0.95e-4, 0], [0, 1, 0], [0, 0, 1]])
    ct = CTVolume(AIR, (0.9e9, -0.9e9, 0), (1e-9, 0.9e9, 2), nearly, planes=(None, None, None))
    assert ct.shape == (3, 4, 5)
    assert all(isinstance(v, float) for v in (*ct.origin, *ct.spacing))
    flat = CTVolume(AIR.astype(np.float32), direction=np.eye(3, dtype=int).ravel())
    assert (flat.direction.shape, flat.direction.dtype) == ((3, 3), np.float64)


@pytest.mark.filterwarnings("error")
def test_a_direction_beyond_all_measure_is_no_overflow() -> None:
    with pytest.raises(ValueError, match="orthonormal"):
        CTVolume(AIR, direction=np.eye(3) * 1e200)


def test_affine_and_volume_of_a_voxel() -> None:
    turned = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, -1]])
    ct = CTVolume(AIR, (1.0, 2.0, 3.0), (0.5, 0.8, 2.5), turned)
    assert (ct.affine @ [1, 0, 0, 1]).tolist() == [1, 2.5, 3, 1]
    assert (ct.affine @ [0, 1, 0, 1]).tolist() == [1.8, 2, 3, 1]
    assert (ct.affine @ [0, 0, 1, 1]).tolist() == [1, 2, 0.5, 1]
    assert ct.voxel_volume_ml == pytest.approx(0.001)
    plain = CTVolume(AIR)
    assert plain.affine.tolist() == np.eye(4).tolist()
    assert (plain.name, plain.source, plain.warnings) == ("ct", {}, ())
    assert plain.voxel_volume_ml == 0.001


def test_copies_keep_grid_and_warnings() -> None:
    ct = CTVolume(AIR, (1.0, 2.0, 3.0), (0.5, 0.8, 2.5), warnings=("one\ntwo",))
    assert ct.warnings == ("one two",)
    other = ct.with_array(AIR + np.int16(1)).with_warnings("three", "four")
    assert other.warnings == ("one two", "three", "four")
    assert (other.origin, other.spacing, other.array.max()) == (ct.origin, ct.spacing, 1)
    with pytest.raises(ValueError, match=r"expected shape \(3, 4, 5\)"):
        ct.with_array(AIR[:2])


def test_canonical_volumes_have_no_planes() -> None:
    source = SourcePlane(Path("1.dcm"), 0, 1, "", "", "")
    assert source.aligned
    ct = CTVolume(AIR, planes=(source,) * 3)
    assert to_canonical(ct)[0].planes == ()


def test_a_cosine_a_little_above_one_is_no_angle() -> None:
    ct = CTVolume(AIR, direction=np.eye(3) * (1 + 1e-5))
    assert to_canonical(ct)[0].warnings == ()


@pytest.mark.parametrize(("degrees", "said"), [(19.8, ()), (20.2, ("20 degrees",))])
def test_oblique_from_20_degrees(degrees: float, said: tuple[str, ...]) -> None:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    ct = CTVolume(AIR, direction=np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]))
    warnings = to_canonical(ct)[0].warnings
    assert len(warnings) == len(said)
    assert all(word in message for word, message in zip(said, warnings, strict=True))


@pytest.mark.parametrize(
    ("start", "stop"),
    [((0, 0, 0), (1, 0, 1)), ((0, 2, 0), (1, 1, 1)), ((0, 0, -1), (1, 1, 1))],
)
def test_a_box_that_holds_nothing_is_refused(start: tuple, stop: tuple) -> None:
    with pytest.raises(ValueError, match="holds nothing"):
        Box(start, stop)


def test_a_box_by_hand() -> None:
    array = np.zeros((6, 7, 8), np.uint8)
    array[1, 3, 2] = array[4, 3, 6] = 5
    box = Box.around(array)
    assert (box.start, box.stop, box.shape) == ((1, 3, 2), (5, 4, 7), (4, 1, 5))
    assert box.slices == np.s_[1:5, 3:4, 2:7]
    assert Box.around(np.zeros((2, 3, 4))).stop == (1, 1, 1)
    placed = Placed.of(array)
    assert (placed.shape, placed.array.shape) == ((6, 7, 8), (4, 1, 5))
    assert placed.whole().dtype == np.uint8
    whole = Placed(np.ones((2, 2, 2)), Box((0, 0, 0), (2, 2, 2)), (2, 2, 2)).whole()
    assert whole.all()
    with pytest.raises(ValueError, match="in a box of"):
        Placed(np.ones((2, 2, 1)), Box((0, 0, 0), (2, 2, 2)), (2, 2, 2))
    with pytest.raises(ValueError, match="in a volume of"):
        Placed(np.ones((2, 2, 2)), Box((0, 0, 0), (2, 2, 2)), (2, 2, 1))


def test_a_window_writes_where_it_is_told() -> None:
    hu = np.array([-1350.0, -975, 150, 151], np.float32)
    assert window(hu, -1350, 150).tolist() == pytest.approx([0, 0.25, 1, 1])
    assert window(hu.astype(np.int32), -975, 525).tolist() == pytest.approx(
        [0, 0, 0.75, 1126 / 1500]
    )
    for out in (np.empty(4), np.empty(3, np.float32)):
        with pytest.raises(ValueError, match="out must be float32"):
            window(hu, -1350, 150, out=out)
