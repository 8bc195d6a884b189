"""One 3-D image file (NIfTI, NRRD, MetaImage) with its geometry, before it is a CT."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.grid import decompose
from CovidLesionSegLogic.ct.volume import Vector3


@dataclass(frozen=True)
class ImageFile:
    """Voxels (z, y, x) as stored, and their grid in LPS mm as in CTVolume."""

    array: NDArray[Any]
    origin: Vector3
    spacing: Vector3
    direction: NDArray[np.float64]
    warnings: tuple[str, ...]


def read_image_file(path: Path, kind: str) -> ImageFile:
    """Read ``path`` of ``kind`` "nifti", "nrrd" or "metaimage".

    Raises
    ------
    InputError
        When the file is damaged, not 3-D, or states no usable geometry.
    """
    if kind == "nifti":
        from CovidLesionSegLogic.ct.nifti import read_nifti as read
    elif kind == "nrrd":
        from CovidLesionSegLogic.ct.nrrd import read_nrrd as read
    else:
        from CovidLesionSegLogic.ct.metaimage import read_metaimage as read
    image = read(path)
    origin, spacing, direction, warnings = decompose(image.affine, image.array.shape, path)
    return ImageFile(image.array, origin, spacing, direction, (*image.warnings, *warnings))
