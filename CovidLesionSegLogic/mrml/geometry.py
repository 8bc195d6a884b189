"""Voxel grids between LPS (DICOM, SimpleITK) and RAS (MRML).

Both systems are in mm and share the third axis; the first two change sign (DICOM PS3.3
C.7.6.2.1.1 defines LPS).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from CovidLesionSegLogic.ct import CTVolume

LPS_TO_RAS: NDArray[np.float64] = np.array([-1.0, -1.0, 1.0])
"""Factor per coordinate; its own inverse."""


def ijk_to_ras(ct: CTVolume) -> NDArray[np.float64]:
    """4x4 matrix from voxel index (i, j, k, 1) to RAS mm; signs change, nothing is rounded."""
    matrix = ct.affine.copy()
    matrix[:2] *= -1.0
    return matrix


def to_vtk_matrix(matrix: NDArray[np.float64]) -> Any:
    """vtkMatrix4x4 (or vtkMatrix3x3) with the elements of a 4x4 (3x3) array."""
    import vtk

    size = matrix.shape[0]
    result = vtk.vtkMatrix4x4() if size == 4 else vtk.vtkMatrix3x3()
    for row in range(size):
        for column in range(size):
            result.SetElement(row, column, float(matrix[row, column]))
    return result


def from_vtk_matrix(matrix: Any) -> NDArray[np.float64]:
    """The elements of a vtkMatrix4x4 as a 4x4 array."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def image_to_array(image: Any) -> NDArray[Any]:
    """View of a vtkImageData's single-component voxels, shape (z, y, x)."""
    from vtk.util.numpy_support import vtk_to_numpy

    x, y, z = image.GetDimensions()
    return np.asarray(vtk_to_numpy(image.GetPointData().GetScalars()).reshape(z, y, x))


def allocate(image: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Allocate voxels of ``dtype`` for a vtkImageData whose extent is set; returns their view."""
    from vtk.util.numpy_support import get_vtk_array_type

    image.AllocateScalars(get_vtk_array_type(dtype), 1)
    return image_to_array(image)
