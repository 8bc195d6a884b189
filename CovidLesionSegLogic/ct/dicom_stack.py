"""From image planes to a straight, even stack: order, spacing, tilt, gaps, duplicates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.dicom_header import FrameHeader
from CovidLesionSegLogic.ct.dicom_spacing import SAME_PLACE_MM, slice_step
from CovidLesionSegLogic.ct.values import MIN_SLICES, check_size_and_spacing
from CovidLesionSegLogic.errors import InputError

SAME_DIRECTION = 0.01
"""Largest difference of direction cosines between slices of one stack (0.6 degrees)."""
SHEAR_PIXELS = 0.25
"""A sideways drift below this is rounding of positions, not a tilted gantry."""

STEEPEST_SLANT = 60.0
"""Degrees; a gantry tilts by up to 30, and reformatted stacks are slanted by up to 45."""

SamePixels = Callable[[FrameHeader, FrameHeader], bool]


@dataclass(frozen=True)
class Stack:
    """Where each decoded plane goes.

    Parameters
    ----------
    frames
        The planes in order along the normal.
    heights
        Their places along the normal, mm, from 0; shape (n,), float64, strictly rising.
    drift
        Their sideways offsets (along a row, along a column) against the first, mm; shape (n, 2);
        None where there is none beyond rounding.
    origin, spacing, direction
        The grid of the planes as acquired (LPS, mm; i, j, k), before drift is straightened.
    even
        Whether ``heights`` are multiples of ``spacing[2]``, without gaps.
    warnings
        What was noticed, one sentence each.
    """

    frames: tuple[FrameHeader, ...]
    heights: NDArray[np.float64]
    drift: NDArray[np.float64] | None
    origin: NDArray[np.float64]
    spacing: tuple[float, float, float]
    direction: NDArray[np.float64]
    even: bool
    warnings: tuple[str, ...]


def build_stack(
    frames: list[FrameHeader], *, same_pixels: SamePixels, allow_missing_slices: bool = False
) -> Stack:
    """Order the planes of one series along the slice normal (never by name or number).

    Parameters
    ----------
    frames
        Planes of one series in any order.
    same_pixels
        Tells whether two planes at the same place hold the same pixels.
    allow_missing_slices
        Accept gaps of whole slices (the reader fills them by interpolation).

    Raises
    ------
    InputError
        When attributes are missing, planes do not fit together, slices are missing, or gaps are
        too uneven to be mended.
    """
    warnings: list[str] = []
    for frame in frames:
        _check_attributes(frame)
    frames = _one_shape(_one_orientation(frames, warnings))
    direction = _direction(frames[0])
    normal = direction[:, 2]
    frames = sorted(frames, key=lambda f: (float(np.dot(f.position or (), normal)), str(f.path)))
    frames = _one_per_place(frames, normal, same_pixels, warnings)
    frame = frames[0]
    if len(frames) < MIN_SLICES:
        raise InputError(
            f"{frame.path} belongs to a series of {len(frames)} slice(s), but a CT volume needs at "
            f"least {MIN_SLICES}: give the folder that holds the whole series."
        )
    positions = np.array([f.position for f in frames], dtype=np.float64)
    heights = (positions - positions[0]) @ normal
    step, even = slice_step(frames, heights, allow_missing_slices, warnings)
    assert frame.spacing is not None
    spacing = (frame.spacing[1], frame.spacing[0], step)
    check_size_and_spacing((len(frames), frame.rows, frame.columns), spacing, frame.path.parent)
    drift = (positions - positions[0]) @ direction[:, :2]
    drifting = bool((np.ptp(drift, axis=0) > SHEAR_PIXELS * np.array(spacing[:2])).any())
    if drifting:
        degrees = float(np.degrees(np.arctan2(np.ptp(drift, axis=0).max(), heights[-1])))
        if degrees > STEEPEST_SLANT:
            raise InputError(
                f"The slices in {frame.path.parent} lie up to {np.ptp(drift, axis=0).max():.3g} mm "
                f"beside each other (a slant of {degrees:.1f} degrees), so they are no volume: "
                "export the series again."
            )
        warnings.append(
            f"The slices are stacked at a slant of {degrees:.1f} degrees (tilted gantry); they "
            "were shifted onto a straight grid by linear interpolation."
        )
    return Stack(
        frames=tuple(frames),
        heights=heights,
        drift=drift if drifting else None,
        origin=positions[0],
        spacing=spacing,
        direction=direction,
        even=even,
        warnings=tuple(warnings),
    )


def _check_attributes(frame: FrameHeader) -> None:
    for value, keyword in (
        (frame.position, "ImagePositionPatient"),
        (frame.orientation, "ImageOrientationPatient"),
        (frame.spacing, "PixelSpacing"),
    ):
        if value is None:
            raise InputError(
                f"{frame.path} has no valid {keyword}, without which slices cannot be placed: "
                "export the series again with complete headers."
            )
    row, column = np.array(frame.orientation).reshape(2, 3)
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if np.abs(np.array(lengths) - 1).max() > 0.02 or abs(row @ column) > 0.02:
        raise InputError(
            f"{frame.path} has an ImageOrientationPatient whose vectors are not two perpendicular "
            "unit vectors: export the series again."
        )


def _one_orientation(frames: list[FrameHeader], warnings: list[str]) -> list[FrameHeader]:
    """The planes of the orientation to read: the axial one, else the one with most planes."""
    groups: list[list[FrameHeader]] = []
    for frame in frames:
        for group in groups:
            first = np.array(group[0].orientation)
            if np.abs(first - np.array(frame.orientation)).max() <= SAME_DIRECTION:
                group.append(frame)
                break
        else:
            groups.append([frame])

    def rank(group: list[FrameHeader]) -> tuple[bool, int]:
        normal = group[0].normal
        axial = normal is not None and abs(normal[2]) > np.cos(np.pi / 4)
        return (axial and len(group) >= MIN_SLICES, len(group))

    groups.sort(key=rank, reverse=True)
    if len(groups) > 1:
        rest = sum(len(group) for group in groups[1:])
        best = groups[0]
        if len(best) < MIN_SLICES:
            raise InputError(
                f"The slices of series {best[0].series_uid} in {best[0].path.parent} point in "
                f"{len(groups)} different directions (ImageOrientationPatient): they are no "
                "volume; give a series of parallel slices."
            )
        warnings.append(
            f"The series mixes {len(groups)} slice orientations; {len(best)} parallel slices were "
            f"read and {rest} other(s) left out."
        )
    return groups[0]


def _one_shape(frames: list[FrameHeader]) -> list[FrameHeader]:
    first = frames[0]
    for frame in frames:
        if (frame.rows, frame.columns) != (first.rows, first.columns):
            what = "Rows and Columns"
            values = f"{first.columns}x{first.rows} and {frame.columns}x{frame.rows}"
        elif not np.allclose(frame.spacing or (), first.spacing or (), rtol=1e-3, atol=0):
            what, values = "PixelSpacing", f"{first.spacing} and {frame.spacing} mm"
        else:
            continue
        raise InputError(
            f"The slices of series {first.series_uid} differ in {what} ({values}, the latter in "
            f"{frame.path}): they are no single volume; separate them into folders of their own."
        )
    return frames


def _direction(frame: FrameHeader) -> NDArray[np.float64]:
    """Orthonormal columns (row direction, column direction, normal), LPS."""
    row, column = np.array(frame.orientation, dtype=np.float64).reshape(2, 3)
    row = row / np.linalg.norm(row)
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    return np.stack([row, np.cross(normal, row), normal], axis=1)


def _places(frames: list[FrameHeader], normal: NDArray[np.float64]) -> list[list[FrameHeader]]:
    """Sorted planes grouped by place along the normal."""
    places: list[list[FrameHeader]] = []
    last = -np.inf
    for frame in frames:
        height = float(np.dot(frame.position or (), normal))
        if height - last <= SAME_PLACE_MM:
            places[-1].append(frame)
        else:
            places.append([frame])
        last = height
    return places


def _one_per_place(
    frames: list[FrameHeader],
    normal: NDArray[np.float64],
    same_pixels: SamePixels,
    warnings: list[str],
) -> list[FrameHeader]:
    """Drop exact duplicates; tell phases apart; refuse what stays ambiguous."""
    places = _places(frames, normal)
    if all(len(place) == 1 for place in places):
        return frames
    if all(same_pixels(place[0], other) for place in places for other in place[1:]):
        dropped = len(frames) - len(places)
        warnings.append(f"{dropped} duplicate slice(s) with identical pixels were left out.")
        return [place[0] for place in places]
    keywords = [name for name, _ in frames[0].phase]
    for keyword in keywords:
        phases: dict[str, list[FrameHeader]] = {}
        for frame in frames:
            phases.setdefault(dict(frame.phase).get(keyword, ""), []).append(frame)
        sizes = [len(_places(phase, normal)) for phase in phases.values()]
        if (
            len(phases) < 2
            or any(size != len(phase) for size, phase in zip(sizes, phases.values(), strict=True))
            or max(sizes) < MIN_SLICES
        ):
            continue
        value = max(sorted(phases), key=lambda name: len(phases[name]))
        counts = ", ".join(f"{name}: {len(phase)}" for name, phase in sorted(phases.items()))
        warnings.append(
            f"The series holds several volumes told apart by {keyword} (slices {counts}); "
            f"{keyword} {value} was read."
        )
        return phases[value]
    place = next(place for place in places if len(place) > 1)
    raise InputError(
        f"{place[0].path} and {place[1].path} lie at the same place but show different pixels, and "
        "nothing in their headers tells the volumes apart: separate them into folders of their own."
    )
