"""The one value that travels through the product: a CT with its geometry."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.errors import one_line

Vector3 = tuple[float, float, float]
FARTHEST_MM = 1e9
"""No scanner is that large; products of such numbers are finite."""


@dataclass(frozen=True)
class SourcePlane:
    """The DICOM image plane that one slice of a CT volume shows.

    Parameters
    ----------
    path, frame
        The file, and which of its frames, from 0.
    frames
        How many frames the file has.
    sop_class, sop_instance
        SOP Class UID and SOP Instance UID of the image; "" where the file has none.
    frame_of_reference
        Frame of Reference UID; "" where the file has none.
    aligned
        Whether each voxel of the slice is the pixel of the same row and column; not so where a
        slanted stack was straightened.
    """

    path: Path
    frame: int
    frames: int
    sop_class: str
    sop_instance: str
    frame_of_reference: str
    aligned: bool = True


@dataclass(frozen=True, eq=False)
class CTVolume:
    """A CT volume in Hounsfield units on its own grid, in the DICOM patient system (LPS, mm).

    Parameters
    ----------
    array
        Shape (z, y, x), int16 or float32, HU. Axis order is the reverse of the index order
        (i, j, k) that ``spacing``, ``origin`` and ``direction`` use, as in SimpleITK.
    origin
        Centre of voxel (i, j, k) = (0, 0, 0), LPS mm (DICOM PS3.3 C.7.6.2.1.1).
    spacing
        Distance between voxel centres along i, j, k, mm.
    direction
        Shape (3, 3), float64: columns are the unit vectors of i, j, k in LPS.
    name
        The study's name, used for files and nodes; never a patient's name.
    source
        Identifiers of the input: path, format, series UID, ... (goes into the provenance).
    warnings
        What was noticed and handled while reading, one sentence each.
    planes
        For a CT read from DICOM: what each slice shows, None for a slice that was interpolated.
        Empty for any other CT. Not part of the provenance.
    """

    array: NDArray[Any]
    origin: Vector3 = (0.0, 0.0, 0.0)
    spacing: Vector3 = (1.0, 1.0, 1.0)
    direction: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))
    name: str = "ct"
    source: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    planes: tuple[SourcePlane | None, ...] = ()

    def __post_init__(self) -> None:
        if self.array.ndim != 3:
            raise ValueError(f"a CT array has shape (z, y, x), not {self.array.shape}")
        if self.array.dtype not in (np.dtype(np.int16), np.dtype(np.float32)):
            raise ValueError(f"a CT array is int16 or float32, not {self.array.dtype}")
        if self.planes and len(self.planes) != len(self.array):
            raise ValueError(f"{len(self.planes)} planes for {len(self.array)} slices")
        direction = np.asarray(self.direction, dtype=np.float64).reshape(3, 3)
        if not np.abs(direction).max() < 2 or not np.allclose(
            direction.T @ direction, np.eye(3), atol=1e-4
        ):
            raise ValueError("the direction's columns must be orthonormal")
        if len(self.spacing) != 3 or not all(0 < s < FARTHEST_MM for s in self.spacing):
            raise ValueError(f"spacing must be three positive numbers, not {self.spacing}")
        # Readers take positions up to that; a straightened or mirrored volume begins elsewhere.
        if len(self.origin) != 3 or not all(abs(v) < 2 * FARTHEST_MM for v in self.origin):
            raise ValueError(f"origin must be three numbers, not {self.origin}")
        object.__setattr__(self, "warnings", tuple(map(one_line, self.warnings)))
        object.__setattr__(self, "direction", direction)
        object.__setattr__(self, "origin", tuple(float(v) for v in self.origin))
        object.__setattr__(self, "spacing", tuple(float(v) for v in self.spacing))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x): slices, rows, columns."""
        z, y, x = self.array.shape
        return z, y, x

    @property
    def affine(self) -> NDArray[np.float64]:
        """4x4 matrix from voxel index (i, j, k, 1) to LPS mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.direction * np.asarray(self.spacing)
        matrix[:3, 3] = self.origin
        return matrix

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in mL."""
        return float(np.prod(self.spacing)) / 1000.0

    def with_array(self, array: NDArray[Any]) -> CTVolume:
        """The same grid and identity with other voxels of the same shape."""
        if array.shape != self.array.shape:
            raise ValueError(f"expected shape {self.array.shape}, not {array.shape}")
        return replace(self, array=array)

    def with_warnings(self, *messages: str) -> CTVolume:
        """The same volume with ``messages`` added to its warnings."""
        return replace(self, warnings=(*self.warnings, *messages))
