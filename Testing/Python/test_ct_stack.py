"""Where planes are put: order, spacing, tilt, gaps and duplicates, at the edges of tolerance."""

from __future__ import annotations

import numpy as np
import pytest
from frame_headers import plane

from CovidLesionSegLogic.ct.dicom_spacing import slice_step
from CovidLesionSegLogic.ct.dicom_stack import Stack, build_stack
from CovidLesionSegLogic.ct.straighten import even_heights, fill_heights, straighten
from CovidLesionSegLogic.errors import InputError


def stack(frames: list, **options: object) -> Stack:
    return build_stack(frames, same_pixels=lambda a, b: False, **options)  # type: ignore[arg-type]


def step(heights: list[float], *, fill: bool = False) -> tuple[float, bool, list[str]]:
    warnings: list[str] = []
    spacing, even = slice_step([plane(z) for z in heights], np.array(heights), fill, warnings)
    return spacing, even, warnings


@pytest.mark.parametrize(
    ("heights", "spacing"),
    [
        ([0, 2, 4, 6], 2.0),
        ([0, 2.09, 4, 6], 2.0),  # 4.5 % of the gap
        ([0, 0.118, 0.2, 0.3], 0.1),  # 0.018 mm: positions are often rounded to hundredths
        ([0, 1.96, 3.92, 5.88, 7.84, 9.88, 11.92, 13.96, 16.0], 2.0),
    ],
)
def test_what_passes_for_even(heights: list[float], spacing: float) -> None:
    assert step(heights) == (pytest.approx(spacing), True, [])


@pytest.mark.parametrize(
    "heights",
    [
        [0, 2.11, 4, 6],
        [0, 2.19, 4, 6],
        [0, 2.3, 4, 6],
        [0, 0.1235, 0.2, 0.3],
        # Each gap is within 5 %, but together they lead more than a tenth of a slice astray.
        [0, 1.94, 3.88, 5.82, 7.76, 9.82, 11.88, 13.94, 16.0],
    ],
)
def test_a_little_uneven_is_resampled_and_not_called_missing(heights: list[float]) -> None:
    spacing, even, warnings = step(heights)
    assert spacing == pytest.approx(heights[-1] / (len(heights) - 1))
    assert not even
    assert len(warnings) == 1
    gaps = np.diff(heights)
    assert f"unevenly spaced ({gaps.min():.3g} to {gaps.max():.3g} mm)" in warnings[0]
    assert f"resampled to {spacing:.4g} mm" in warnings[0]


@pytest.mark.parametrize(
    ("heights", "refused"),
    [
        ([0, 2, 4.9, 7, 9], False),  # 1.45 of the gap
        ([0, 2, 5.1, 7, 9.05], True),  # 1.55
        ([0, 2, 3.06, 5, 7], False),  # 0.53
        ([0, 2, 2.94, 4.9, 6.9], True),  # 0.47
    ],
)
def test_gaps_from_half_to_one_and_a_half_are_mended(heights: list[float], refused: bool) -> None:
    if refused:
        with pytest.raises(InputError, match="unevenly spaced"):
            step(heights)
    else:
        assert not step(heights)[1]


def test_missing_slices_are_counted_where_they_are() -> None:
    heights = [0, 2, 8.19, 10, 14, 16]
    with pytest.raises(InputError) as caught:
        step(heights)
    said = str(caught.value)
    assert said.startswith("3 slice(s) are missing from the series in series (")
    assert "(2 between 002.00.dcm and 008.19.dcm, 1 between 010.00.dcm and 014.00.dcm; " in said
    assert "2 mm apart" in said
    spacing, even, warnings = step(heights, fill=True)
    assert (spacing, even) == (2.0, False)
    assert warnings[0].startswith("3 missing slice(s)")


def test_a_gap_that_is_no_multiple_is_not_filled() -> None:
    for heights in ([0, 2, 4, 8.22, 10, 12], [0, 2, 2.15, 4.15, 8.15, 14.15]):
        with pytest.raises(InputError, match="unevenly spaced"):
            step(heights, fill=True)


def test_one_missing_slice_is_filled() -> None:
    with pytest.raises(InputError, match=r"^1 slice\(s\) are missing"):
        step([0, 2, 6, 8])
    spacing, even, warnings = step([0, 2, 6, 8], fill=True)
    assert (spacing, even, len(warnings)) == (2.0, False, 1)


def test_more_missing_than_there_are_is_refused() -> None:
    assert step([0, 2, 4, 14], fill=True)[0] == 2.0  # four of eight
    with pytest.raises(InputError, match=r"5 slices are missing .* 4 that are there"):
        step([0, 2, 4, 16], fill=True)


def test_five_gaps_are_listed_and_the_rest_counted() -> None:
    def gaps(number: int) -> list[float]:
        pairs = [(6.0 * n, 6.0 * n + 2) for n in range(number + 1)]
        extra = [pairs[-1][1] + 2.0 * n for n in range(1, 20)]
        return [z for pair in pairs for z in pair] + extra

    for number, more in ((5, False), (6, True)):
        with pytest.raises(InputError) as caught:
            step(gaps(number))
        assert str(caught.value).count(" between ") == 5
        assert (".dcm, ...; slices are" in str(caught.value)) == more


def test_planes_in_any_order_make_a_grid() -> None:
    frames = [plane(z) for z in (104.0, 100.0, 106.0, 102.0)]
    built = stack(frames)
    assert [f.position[2] for f in built.frames if f.position] == [100, 102, 104, 106]
    assert built.origin.tolist() == [-10, -20, 100]
    assert built.spacing == (0.7, 0.8, 2.0)
    assert built.heights.tolist() == [0, 2, 4, 6]
    assert built.direction.tolist() == np.eye(3).tolist()
    assert (built.drift, built.even, built.warnings) == (None, True, ())


def test_coronal_planes_run_along_their_own_normal() -> None:
    """Rows towards the left, columns towards the feet: the normal is then posterior."""
    down = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
    frames = [plane(50.0, y=y, orientation=down, name=f"{y}") for y in (3.0, -1.0, 1.0)]
    built = stack(frames)
    assert built.direction.T.tolist() == [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    assert built.origin.tolist() == [-10, -1, 50]
    assert built.heights.tolist() == [0, 2, 4]


@pytest.mark.parametrize(
    ("orientation", "fine"),
    [
        ((1.019, 0, 0, 0, 1, 0), True),
        ((1.021, 0, 0, 0, 1, 0), False),
        ((1, 0, 0, 0, 0.979, 0), False),
        ((1, 0.019, 0, 0, 1, 0), True),
        ((1, 0.021, 0, 0, 1, 0), False),
        ((1, -0.021, 0, 0, 1, 0), False),
    ],
)
def test_directions_are_perpendicular_unit_vectors(orientation: tuple, fine: bool) -> None:
    frames = [plane(z, orientation=orientation) for z in (0.0, 2.0, 4.0)]
    if fine:
        direction = stack(frames).direction
        np.testing.assert_allclose(direction.T @ direction, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(direction[:, 2], [0, 0, 1], atol=1e-12)
    else:
        with pytest.raises(InputError, match="not two perpendicular unit vectors"):
            stack(frames)


@pytest.mark.parametrize(("mm", "tilted"), [(0.17, False), (0.18, True)])
@pytest.mark.parametrize("axis", ["x", "y"])
def test_a_quarter_of_a_pixel_is_a_tilt(mm: float, tilted: bool, axis: str) -> None:
    """0.25 of 0.7 mm along x is 0.175 mm, of 0.8 mm along y 0.2 mm."""
    mm = mm if axis == "x" else mm * 0.8 / 0.7
    shift = {axis: {"x": -10.0, "y": -20.0}[axis] + mm}
    built = stack([plane(0.0), plane(2.0), plane(4.0, **shift)])
    assert (built.drift is not None) == tilted
    assert len(built.warnings) == tilted
    if built.drift is not None:
        expected = [[0, 0], [0, 0], [mm, 0] if axis == "x" else [0, mm]]
        np.testing.assert_allclose(built.drift, expected, atol=1e-9)
        degrees = np.degrees(np.arctan(mm / 4))
        assert f"slant of {degrees:.1f} degrees" in built.warnings[0]


@pytest.mark.parametrize(("degrees", "refused"), [(59.5, False), (60.5, True)])
def test_a_slant_of_more_than_60_degrees_is_no_volume(degrees: float, refused: bool) -> None:
    drift = np.tan(np.radians(degrees))
    frames = [plane(z, x=-10 + z * drift, y=-20 - z) for z in (0.0, 2.0, 4.0)]
    if refused:
        with pytest.raises(InputError, match=r"slant of 60\.5 degrees"):
            stack(frames)
    else:
        built = stack(frames)
        assert "slant of 59.5 degrees" in built.warnings[0]
        assert built.drift is not None
        np.testing.assert_allclose(built.drift, np.outer([0, 2, 4], [drift, -1]), atol=1e-9)


@pytest.mark.parametrize(("cosine", "apart"), [(0.0099, False), (0.0101, True)])
def test_planes_turned_by_a_hundredth_are_another_stack(cosine: float, apart: bool) -> None:
    turned = (1.0, cosine, 0.0, -cosine, 1.0, 0.0)
    frames = [plane(2.0 * n) for n in range(4)] + [plane(8.0, orientation=turned)]
    built = stack(frames)
    assert len(built.frames) == (4 if apart else 5)
    assert bool(built.warnings) == apart
    if apart:
        assert "mixes 2 slice orientations; 4 parallel slices were read" in built.warnings[0]
        assert "1 other(s)" in built.warnings[0]


def test_three_axial_planes_go_before_more_coronal_ones() -> None:
    down = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
    coronal = [plane(0.0, y=2.0 * n, orientation=down, name=f"c{n}") for n in range(5)]
    axial = [plane(2.0 * n) for n in range(3)]
    assert len(stack(coronal + axial).frames) == 3
    assert len(stack(coronal + axial[:2]).frames) == 5


@pytest.mark.parametrize(("degrees", "axial"), [(44.0, True), (46.0, False)])
def test_axial_is_what_lies_closer_to_it_than_45_degrees(degrees: float, axial: bool) -> None:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    leaning = (1.0, 0.0, 0.0, 0.0, c, s)  # its normal is (0, -s, c)
    tilted = [
        plane(2.0 * n * c, y=-2.0 * n * s, orientation=leaning, name=f"t{n}") for n in range(3)
    ]
    side = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
    sagittal = [plane(0.0, x=2.0 * n, orientation=side, name=f"s{n}") for n in range(4)]
    assert len(stack(sagittal + tilted).frames) == (3 if axial else 4)


@pytest.mark.parametrize(("spacing", "same"), [((0.8, 0.70066), True), ((0.8, 0.70074), False)])
def test_pixel_spacing_may_differ_by_a_thousandth(spacing: tuple, same: bool) -> None:
    frames = [plane(0.0), plane(2.0), plane(4.0, spacing=spacing)]
    if same:
        assert stack(frames).spacing[0] == 0.7
    else:
        with pytest.raises(InputError, match="differ in PixelSpacing"):
            stack(frames)


@pytest.mark.parametrize("change", [{"rows": 41}, {"columns": 37}])
def test_planes_have_one_size(change: dict) -> None:
    with pytest.raises(InputError, match="Rows and Columns"):
        stack([plane(0.0), plane(2.0), plane(4.0, **change)])


def test_the_same_place_is_a_hundredth_of_a_millimetre() -> None:
    def twice(gap: float) -> list:
        return [plane(0.0), plane(0.0 + gap, name="again"), plane(2.0), plane(4.0)]

    built = build_stack(twice(0.0095), same_pixels=lambda a, b: True)
    assert [f.path.stem for f in built.frames] == ["000.00", "002.00", "004.00"]
    assert built.warnings[0].startswith("1 duplicate slice(s)")
    with pytest.raises(InputError, match=r"000\.00\.dcm and .*again\.dcm lie at the same place"):
        stack(twice(0.0095))
    with pytest.raises(InputError, match="unevenly spaced"):
        stack(twice(0.0105))


def test_the_larger_of_two_phases_is_read() -> None:
    def phase(value: str, number: int) -> list:
        told = (("AcquisitionNumber", "1"), ("TemporalPositionIdentifier", value))
        return [plane(2.0 * n, phase=told, name=f"{value}-{n}") for n in range(number)]

    built = stack(phase("1", 3) + phase("2", 4))
    assert [f.path.stem for f in built.frames] == ["2-0", "2-1", "2-2", "2-3"]
    assert "TemporalPositionIdentifier (slices 1: 3, 2: 4)" in built.warnings[0]
    assert "TemporalPositionIdentifier 2 was read" in built.warnings[0]
    # Of equal ones the first by name.
    assert stack(phase("2", 3) + phase("1", 3)).frames[0].path.stem == "1-0"
    # One plane too many in a phase, or too few for a volume, and nothing is told apart.
    with pytest.raises(InputError, match="nothing in their headers"):
        stack([*phase("1", 3), *phase("2", 4), plane(2.0, phase=phase("1", 1)[0].phase)])
    with pytest.raises(InputError, match="nothing in their headers"):
        stack(phase("1", 2) + phase("2", 2))


def test_two_planes_are_no_volume_and_three_are() -> None:
    assert len(stack([plane(0.0), plane(2.0), plane(4.0)]).frames) == 3
    with pytest.raises(InputError, match=r"series of 2 slice\(s\)"):
        stack([plane(0.0), plane(2.0)])


def test_even_heights_by_hand() -> None:
    places = list(even_heights(np.array([0.0, 2.0, 5.0, 6.0]), 2.0))
    assert [p.own for p in places] == [0, 1, None, 3]
    assert places[0] == (1, 0.0, 0)
    assert (places[2].upper, places[2].share) == (2, pytest.approx(2 / 3))


@pytest.mark.parametrize(("height", "own"), [(2.036, 1), (2.044, None), (3.956, None), (3.964, 2)])
def test_a_slice_within_a_fiftieth_is_taken_as_it_is(height: float, own: int | None) -> None:
    """Slices at 0, 2 and 4 mm, and one wanted ``height`` mm up: its own, or a mixture."""
    places = list(even_heights(np.array([0.0, 2.0, 4.0, 2 * height]), height))
    assert places[1].own == own


def test_a_slice_taken_as_it_is_keeps_its_values() -> None:
    array = np.array([0, 1000, 0], np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)
    filled = fill_heights(array, np.array([0.0, 2.0, 4.0]), 2.03)  # 1.5 % of the gap too high
    assert filled[1].tolist() == [[1000, 1000], [1000, 1000]]


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_slices_between_are_mixed_by_distance(dtype: type) -> None:
    array = np.array([-1000, 0, 301], dtype)[:, None, None] * np.ones((1, 2, 2), dtype)
    filled = fill_heights(array, np.array([0.0, 2.0, 6.0]), 1.0)
    assert filled.dtype == dtype
    exact = np.array([-1000, -500, 0, 75.25, 150.5, 225.75, 301])
    expected = np.rint(exact) if dtype is np.int16 else exact
    assert filled[:, 1, 0].tolist() == expected.tolist()


def test_a_drift_of_pixels_by_hand() -> None:
    """Three slices of one bright row of two pixels, each shifted along x and y."""
    array = np.full((3, 1, 2), 100, np.int16)
    drift = np.array([[0.0, 0.0], [0.7, -0.8], [1.05, 0.4]])  # pixels: (0, 0), (1, -1), (1.5, 0.5)
    straight, shift = straighten(array, drift, (0.7, 0.8))
    assert straight.shape == (3, 3, 4)
    assert straight.dtype == np.int16
    assert shift.tolist() == [0, -0.8]
    air = -1024
    assert straight[0].tolist() == [[air] * 4, [100, 100, air, air], [air] * 4]
    assert straight[1].tolist() == [[air, 100, 100, air], [air] * 4, [air] * 4]
    # Half a row below, half a pixel to the side: -462 is the mean of 100 and -1024.
    half, quarter = -462, -743
    assert straight[2].tolist() == [
        [air] * 4,
        [air, quarter, half, quarter],
        [air, quarter, half, quarter],
    ]


@pytest.mark.parametrize(("pixels", "moved"), [(0.045, False), (0.055, True)])
def test_a_twentieth_of_a_pixel_is_rounding(pixels: float, moved: bool) -> None:
    array = np.array([[[0, 1000]], [[0, 1000]]], np.float32)
    drift = np.array([[0.0, 0.0], [0.7 * pixels, 0.8 * 2.0]])
    straight, shift = straighten(array, drift, (0.7, 0.8))
    assert straight.shape == (2, 3, 2 + moved)
    assert straight.dtype == np.float32
    assert shift.tolist() == [0, 0]
    assert (straight[1, 2, 0] != 0) == moved


def test_missing_slices_are_refused_unless_allowed() -> None:
    frames = [plane(z) for z in (0.0, 2.0, 4.0, 8.0, 10.0)]
    with pytest.raises(InputError, match=r"1 slice\(s\) are missing"):
        stack(frames)
    built = stack(frames, allow_missing_slices=True)
    assert (built.even, built.spacing[2], len(built.warnings)) == (False, 2.0, 1)


@pytest.mark.parametrize(
    ("change", "keyword"),
    [
        ({"position": None}, "ImagePositionPatient"),
        ({"orientation": None}, "ImageOrientationPatient"),
        ({"spacing": None}, "PixelSpacing"),
    ],
)
def test_missing_attributes_are_named(change: dict, keyword: str) -> None:
    with pytest.raises(InputError, match=rf"has no valid {keyword}, without"):
        stack([plane(0.0), plane(2.0), plane(4.0, **change)])


def test_pixels_no_ct_has_are_refused() -> None:
    with pytest.raises(InputError, match=r"0\.04 x 0\.04 x 2 mm"):
        stack([plane(z, spacing=(0.04, 0.04)) for z in (0.0, 2.0, 4.0)])


def test_two_planes_in_each_of_two_directions_are_no_volume() -> None:
    down = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
    other = [plane(0.0, y=y, orientation=down, name=f"c{y}") for y in (0.0, 2.0)]
    with pytest.raises(InputError, match="2 different directions"):
        stack([plane(0.0), plane(2.0), *other])


def test_of_two_planes_at_one_place_the_first_by_name_is_kept_or_blamed() -> None:
    frames = [plane(2.0, name="b"), plane(2.0, name="a"), plane(0.0), plane(4.0)]
    compared = []

    def same(a: object, b: object) -> bool:
        compared.append((a, b))
        return True

    built = build_stack(frames, same_pixels=same)
    assert [f.path.stem for f in built.frames] == ["000.00", "a", "004.00"]
    assert compared == [(frames[1], frames[0])]
    with pytest.raises(InputError, match=r"a\.dcm and series.b\.dcm lie at the same place"):
        stack(frames)


def test_planes_without_the_phase_are_a_phase() -> None:
    told = (("AcquisitionNumber", "2"),)
    named = [plane(2.0 * n, phase=told, name=f"a{n}") for n in range(4)]
    plain = [plane(2.0 * n, name=f"z{n}") for n in range(3)]
    built = stack(plain + named)
    assert [f.path.stem for f in built.frames] == ["a0", "a1", "a2", "a3"]
