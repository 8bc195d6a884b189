"""One 3-D image file (NIfTI, NRRD, MetaImage) with its geometry, before it is a CT."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.grid import decompose
from CovidLesionSegLogic.ct.image_header import check_metaimage, check_nrrd
from CovidLesionSegLogic.ct.itk import itk_name, quiet_itk, reason
from CovidLesionSegLogic.ct.volume import Vector3
from CovidLesionSegLogic.errors import InputError


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
        from CovidLesionSegLogic.ct.nifti import read_nifti

        image = read_nifti(path)
        array, affine, notes = image.array, image.affine, image.warnings
    else:
        array, affine, notes = _read_itk(path, kind)
    origin, spacing, direction, warnings = decompose(affine, array.shape, path)
    return ImageFile(array, origin, spacing, direction, (*notes, *warnings))


def _read_itk(path: Path, kind: str) -> tuple[NDArray[Any], NDArray[np.float64], tuple[str, ...]]:
    import SimpleITK as sitk  # noqa: N813

    notes = check_metaimage(path) if kind == "metaimage" else check_nrrd(path)
    with quiet_itk():
        try:
            reader = sitk.ImageFileReader()
            reader.SetImageIO("NrrdImageIO" if kind == "nrrd" else "MetaImageIO")
            reader.SetFileName(itk_name(path))
            image = reader.Execute()
        except RuntimeError as error:
            raise InputError(
                f"{path} cannot be read ({reason(error)}), it is damaged or cut short: copy or "
                "export it again."
            ) from error
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(
            f"{path} holds {image.GetNumberOfComponentsPerPixel()} values a voxel (colours or "
            "several maps), but a CT has one: save one volume of it."
        )
    size = image.GetSize()
    while image.GetDimension() > 3 and size[-1] == 1:
        image = image[..., 0]
        size = image.GetSize()
    if image.GetDimension() != 3:
        text = " x ".join(map(str, size))
        raise InputError(
            f"{path} has {len(size)} dimensions ({text}), but a CT has three: save one volume of "
            "it, or give the whole series."
        )
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image), affine, notes
