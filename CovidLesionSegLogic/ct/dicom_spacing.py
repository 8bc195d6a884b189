"""How far the slices of a series lie apart, and whether any are missing."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.dicom_header import FrameHeader
from CovidLesionSegLogic.errors import InputError

SAME_PLACE_MM = 0.01
EVEN_TOLERANCE = 0.05
"""Gaps may differ from their median by this share (positions are often rounded)."""


def slice_step(
    frames: list[FrameHeader],
    heights: NDArray[np.float64],
    allow_missing: bool,
    warnings: list[str],
) -> tuple[float, bool]:
    """Slice spacing in mm and whether the slices are even; refuses or warns otherwise.

    Parameters
    ----------
    frames, heights
        The planes and their places along the normal, mm, from 0, strictly rising.
    allow_missing
        Accept gaps of whole slices, up to as many as there are.
    warnings
        Gets a sentence on what will be interpolated.

    Raises
    ------
    InputError
        When slices are missing, or gaps are too uneven to be mended.
    """
    gaps = np.diff(heights)
    typical = float(np.median(gaps))
    even_step = float(heights[-1]) / (len(heights) - 1)
    tolerance = max(EVEN_TOLERANCE * typical, 2 * SAME_PLACE_MM)
    straight = np.abs(heights - even_step * np.arange(len(heights))).max() <= 2 * tolerance
    if np.abs(gaps - even_step).max() <= tolerance and straight:
        return even_step, True
    counts = np.rint(gaps / typical)
    missing = int(counts.sum()) - len(gaps)
    folder = frames[0].path.parent
    whole = (counts >= 1).all() and np.abs(gaps - counts * typical).max() <= 2 * tolerance
    if missing > 0 and whole:
        where = [
            f"{int(count) - 1} between {a.path.name} and {b.path.name}"
            for count, (a, b) in zip(counts, pairwise(frames), strict=True)
            if count > 1
        ]
        listed = ", ".join(where[:5]) + (", ..." if len(where) > 5 else "")
        if missing > len(frames):
            raise InputError(
                f"{missing} slices are missing from the series in {folder}, more than the "
                f"{len(frames)} that are there ({listed}): copy the whole series."
            )
        if not allow_missing:
            raise InputError(
                f"{missing} slice(s) are missing from the series in {folder} ({listed}; slices "
                f"are {typical:.3g} mm apart): copy the whole series, or have them "
                "interpolated (--allow-missing-slices)."
            )
        warnings.append(
            f"{missing} missing slice(s) were filled by linear interpolation ({listed})."
        )
        return float(heights[-1]) / float(counts.sum()), False
    if gaps.max() > 1.5 * typical or gaps.min() < 0.5 * typical:
        raise InputError(
            f"The slices in {folder} are unevenly spaced ({gaps.min():.3g} to {gaps.max():.3g} mm "
            "apart), too much to make an even volume: give a series of evenly spaced slices."
        )
    warnings.append(
        f"The slices are unevenly spaced ({gaps.min():.3g} to {gaps.max():.3g} mm); they were "
        f"resampled to {even_step:.4g} mm by linear interpolation."
    )
    return even_step, False
