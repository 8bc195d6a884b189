"""Are these voxels Hounsfield units? Checks and clean-up shared by all readers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.errors import InputError

AIR_HU = -1024
"""The value of padding and of everything below it: nothing is thinner than vacuum."""
HIGHEST_HU = 32767
MIN_SLICES = 3
SPACING_LIMITS_MM = (0.05, 25.0)


@dataclass(frozen=True)
class CleanVoxels:
    """Voxels fit for a CTVolume, and what was done to them."""

    array: NDArray[Any]
    warnings: tuple[str, ...]


def clean_hounsfield(array: NDArray[Any], where: str | Path, *, narrow: bool = True) -> CleanVoxels:
    """Check that ``array`` holds Hounsfield units and store it as CTVolume does.

    Values below -1024 HU (padding, noise in air) become -1024. The result is int16 when every
    value is a whole number, float32 otherwise. ``array`` itself is returned where nothing must
    change, changed in place where its dtype fits and it is writeable, and otherwise copied slice by
    slice, so that nothing but the result is as large as the volume.

    NaN is accepted only as a background: where every NaN region touches the border of its slice it
    becomes -1024 and a warning says so; NaN elsewhere, or infinity, is refused.

    Parameters
    ----------
    array
        Shape (z, y, x), any real dtype.
    where
        The input's path or name, for messages.
    narrow
        Store a float32 array of whole numbers as int16 too; False leaves it as it is.

    Raises
    ------
    InputError
        When values are not finite inside the body, or their range is not that of a chest CT.
    """
    if array.dtype.kind not in "iuf":
        raise InputError(
            f"{where} holds {array.dtype} values, not Hounsfield units: export the CT itself."
        )
    warnings: list[str] = []
    found = _survey(array, where)
    lowest = found.above_padding if found.low <= AIR_HU < found.high else found.low
    check_range(lowest, found.high, where)
    if found.nan_slices:
        warnings.append(
            f"The background was not a number (NaN) in {found.nan_slices} of {len(array)} slices; "
            f"it was set to {AIR_HU} HU."
        )
    if found.high > HIGHEST_HU:
        warnings.append(
            f"Values above {HIGHEST_HU} HU (up to {found.high:.0f}) were set to {HIGHEST_HU}."
        )
    keep = array.dtype == np.float32 and not narrow
    dtype = np.dtype(np.int16 if found.whole and not keep else np.float32)
    outside = found.low < AIR_HU or found.high > HIGHEST_HU
    if array.dtype == dtype and not outside and not found.nan_slices:
        return CleanVoxels(np.ascontiguousarray(array), tuple(warnings))
    fits = array.dtype == dtype and array.flags.writeable and array.flags.c_contiguous
    target = array if fits else np.empty(array.shape, dtype)
    for into, plane in zip(target, array, strict=True):
        if found.nan_slices:
            plane = np.where(np.isnan(plane), AIR_HU, plane)
        into[...] = np.clip(plane, AIR_HU, HIGHEST_HU) if outside else plane
    return CleanVoxels(target, tuple(warnings))


@dataclass(frozen=True)
class _Survey:
    """What one pass over the slices found, NaN backgrounds taken as air."""

    low: float
    high: float
    above_padding: float
    whole: bool
    nan_slices: int


def _survey(array: NDArray[Any], where: str | Path) -> _Survey:
    low = above = np.inf
    high = -np.inf
    whole = True
    nan_slices = 0
    for index, plane in enumerate(array):
        if array.dtype.kind == "f":
            if not np.isfinite(plane).all():
                plane = _without_background(plane, f"slice {index} of {len(array)}", where)
                nan_slices += 1
            whole = whole and bool((np.rint(plane) == plane).all())
        low, high = min(low, float(plane.min())), max(high, float(plane.max()))
        # the lowest value above -1024: padding must not pass for lung air
        top = plane.max()
        if top > AIR_HU:
            above = min(above, float(plane.min(where=plane > AIR_HU, initial=top)))
    return _Survey(low, high, above, whole, nan_slices)


def check_range(low: float, high: float, where: str | Path) -> None:
    """Refuse what cannot be a chest CT in Hounsfield units.

    A chest CT spans at least from lung air (below -500 HU) to soft tissue (above -200 HU). No
    rescaling is guessed: each refusal names the likely cause and how to mend it.
    """
    found = f"{where} holds values from {low:.6g} to {high:.6g}"
    mend = "give the CT in Hounsfield units (air -1000, water 0)"
    if high > 1e5 or low < -1e5:
        raise InputError(f"{found}, far outside the range of Hounsfield units: {mend}.")
    if high - low < 1e-6:
        raise InputError(f"{found}, the same everywhere: it is not a CT; {mend}.")
    if low >= -1.001 and high <= 1.001:
        raise InputError(f"{found}, an image scaled to 0..1, not Hounsfield units: {mend}.")
    if low >= 0 and high <= 255:
        raise InputError(f"{found}, an 8-bit grey image or a mask, not Hounsfield units: {mend}.")
    if low >= -50 and high > 255:
        raise InputError(
            f"{found}, so air is not at -1000 HU; it was probably stored with an offset (often "
            f"+1024) and no rescale: subtract the offset, or {mend}."
        )
    if low > -500 or high < -200:
        raise InputError(
            f"{found}, which does not span from lung air to soft tissue as a chest CT does: {mend}."
        )


def _without_background(plane: NDArray[Any], name: str, where: str | Path) -> NDArray[Any]:
    """A slice with its NaN regions, which must touch its border, set to -1024 HU."""
    from scipy import ndimage

    nan = np.isnan(plane)
    regions, count = ndimage.label(nan)
    edge = np.concatenate((regions[0], regions[-1], regions[:, 0], regions[:, -1]))
    inside = len(np.setdiff1d(np.arange(1, count + 1), edge))
    if np.isinf(plane).any() or inside or nan.all():
        raise InputError(
            f"{where} holds values that are not numbers (NaN or infinity) inside {name}: export "
            "the CT again without masking it."
        )
    return np.where(nan, AIR_HU, plane)


def check_size_and_spacing(
    shape: tuple[int, ...], spacing: tuple[float, ...], where: str | Path
) -> None:
    """Refuse single slices and voxel sizes no CT has (``spacing`` is i, j, k in mm)."""
    if shape[0] < MIN_SLICES or min(shape[1:]) < 2:
        raise InputError(
            f"{where} holds {shape[0]} slice(s) of {shape[2]}x{shape[1]} pixels, but a CT volume "
            f"needs at least {MIN_SLICES} slices: give the whole series (its folder, or a 3-D "
            "file)."
        )
    low, high = SPACING_LIMITS_MM
    if not all(np.isfinite(s) and low <= s <= high for s in spacing):
        sizes = " x ".join(f"{s:.4g}" for s in spacing)
        raise InputError(
            f"{where} states a voxel size of {sizes} mm, which no CT has: correct the spacing (it "
            "is in millimetres), or export the CT again."
        )
