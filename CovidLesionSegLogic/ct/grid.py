"""An affine matrix to origin, spacing and orthonormal directions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.volume import Vector3
from CovidLesionSegLogic.errors import InputError

SHEAR_DEGREES = 0.5
"""Axes this far from perpendicular are straightened without a word: float32 headers, rounding."""
REFUSE_DEGREES = 3.0


def decompose(
    affine: NDArray[np.float64], where: str | Path
) -> tuple[Vector3, Vector3, NDArray[np.float64], tuple[str, ...]]:
    """Origin, spacing (mm), direction (3, 3; columns i, j, k) of an index-to-LPS affine (4, 4).

    Left-handed axes are kept. Axes up to 3 degrees from perpendicular are replaced by the nearest
    orthonormal ones (polar decomposition), with a warning beyond 0.5 degrees.

    Raises
    ------
    InputError
        When the matrix is singular, not finite, or sheared by more than 3 degrees.
    """
    matrix = np.asarray(affine, dtype=np.float64)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    if not np.isfinite(matrix).all() or (spacing <= 0).any():
        raise InputError(
            f"{where} states no valid voxel size or position (a zero or not a number in its "
            "affine): correct its header, or export the CT again."
        )
    columns = matrix[:3, :3] / spacing
    u, values, v = np.linalg.svd(columns)
    if values.min() < 1e-3:
        raise InputError(
            f"{where} has two axes in the same direction (a singular affine): correct its header."
        )
    direction = u @ v
    cosines = np.clip(np.sum(direction * columns, axis=0), -1.0, 1.0)
    degrees = float(np.degrees(np.arccos(cosines)).max())
    warnings: tuple[str, ...] = ()
    if degrees > REFUSE_DEGREES:
        raise InputError(
            f"{where} is sheared (its axes are {degrees:.1f} degrees off perpendicular, as from a "
            "tilted gantry): resample it to a straight grid, or give the DICOM series."
        )
    if degrees > SHEAR_DEGREES:
        warnings = (
            f"The axes were {degrees:.1f} degrees off perpendicular; they were straightened.",
        )
    origin = (float(matrix[0, 3]), float(matrix[1, 3]), float(matrix[2, 3]))
    return origin, (float(spacing[0]), float(spacing[1]), float(spacing[2])), direction, warnings
