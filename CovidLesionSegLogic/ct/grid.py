"""An affine matrix to origin, spacing and orthonormal directions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.volume import FARTHEST_MM, Vector3
from CovidLesionSegLogic.errors import InputError

SILENT_VOXELS = 0.1
"""Straightening that moves no voxel further than this is rounding (float32 headers)."""
REFUSE_VOXELS = 0.5
"""Straightening that moves a voxel further than this would put lesions into its neighbour."""


def decompose(
    affine: NDArray[np.float64], shape: tuple[int, ...], where: str | Path
) -> tuple[Vector3, Vector3, NDArray[np.float64], tuple[str, ...]]:
    """Origin, spacing (mm), direction (3, 3; columns i, j, k) of an index-to-LPS affine (4, 4).

    Left-handed axes are kept. Axes that are not perpendicular are replaced by the nearest
    orthonormal ones (polar decomposition) as long as that changes the header only by rounding:
    judged by how far the corner voxels of the volume move, which depends on the shear and on the
    size of the volume. Up to a tenth of a voxel nothing is said, up to half a voxel there is a
    warning, beyond that the voxels themselves would have to be resampled and the file is refused.

    Parameters
    ----------
    affine
        From voxel index (i, j, k, 1) to LPS mm.
    shape
        (z, y, x): the number of voxels along k, j, i.
    where
        The input's path or name, for messages.

    Raises
    ------
    InputError
        When the matrix is singular, not finite, or so sheared that straightening would move a
        voxel by more than half a voxel.
    """
    matrix = np.asarray(affine, dtype=np.float64)
    with np.errstate(over="ignore", under="ignore"):
        spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    far = np.abs(matrix[:3, 3]).max() > FARTHEST_MM
    if not np.isfinite(matrix).all() or far or (spacing < 1e-6).any() or (spacing > 1e6).any():
        raise InputError(
            f"{where} states no valid voxel size or position (a zero, not a number or one beyond "
            "all measure in its affine): correct its header, or export the CT again."
        )
    columns = matrix[:3, :3] / spacing
    u, values, v = np.linalg.svd(columns)
    if values.min() < 1e-3:
        raise InputError(
            f"{where} has two axes in the same direction (a singular affine): correct its header."
        )
    direction = u @ v
    moved = _moved_voxels(matrix[:3, :3], direction, spacing, shape)
    cosines = np.abs(columns.T @ columns - np.diag(np.diag(columns.T @ columns)))
    degrees = float(np.degrees(np.arcsin(np.clip(cosines.max(), 0.0, 1.0))))
    warnings: tuple[str, ...] = ()
    if moved > REFUSE_VOXELS:
        raise InputError(
            f"{where} is sheared (its axes are {degrees:.2g} degrees off perpendicular, as from a "
            f"tilted gantry; straightening them would move voxels by up to {moved:.1f} voxels): "
            "resample it to an orthogonal grid, for example in 3D Slicer with 'Resample Scalar "
            "Volume', or give the DICOM series."
        )
    if moved > SILENT_VOXELS:
        warnings = (
            f"The axes were {degrees:.2g} degrees off perpendicular; they were straightened, which "
            f"moved voxels by up to {moved:.1f} voxels.",
        )
    origin = (float(matrix[0, 3]), float(matrix[1, 3]), float(matrix[2, 3]))
    return origin, (float(spacing[0]), float(spacing[1]), float(spacing[2])), direction, warnings


def _moved_voxels(
    axes: NDArray[np.float64],
    direction: NDArray[np.float64],
    spacing: NDArray[np.float64],
    shape: tuple[int, ...],
) -> float:
    """How far (in voxels, along any axis) the corner voxels move when the axes are straightened."""
    k, j, i = (size - 1 for size in shape)
    corners = np.array([(a, b, c) for a in (0, i) for b in (0, j) for c in (0, k)], dtype=float)
    offsets = corners @ (axes - direction * spacing).T
    return float(np.abs(offsets @ direction / spacing).max())
