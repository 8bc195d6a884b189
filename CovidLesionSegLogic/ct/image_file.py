"""One 3-D image file (NIfTI, NRRD, MetaImage) with its geometry, before it is a CT."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.grid import decompose
from CovidLesionSegLogic.ct.itk import quiet_itk, reason
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
    origin, spacing, direction, warnings = decompose(affine, path)
    return ImageFile(array, origin, spacing, direction, (*notes, *warnings))


def _read_itk(path: Path, kind: str) -> tuple[NDArray[Any], NDArray[np.float64], tuple[str, ...]]:
    import SimpleITK as sitk  # noqa: N813

    notes = _check_header(path, kind)
    with quiet_itk():
        try:
            reader = sitk.ImageFileReader()
            reader.SetImageIO("NrrdImageIO" if kind == "nrrd" else "MetaImageIO")
            reader.SetFileName(str(path))
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


def _check_header(path: Path, kind: str) -> tuple[str, ...]:
    """Geometry that ITK would silently replace by a default: refuse or warn."""
    with path.open("rb") as stream:
        head = stream.read(65536)
    if kind == "nrrd":
        text = head.split(b"\n\n")[0].split(b"\r\n\r\n")[0].decode("latin-1")
        fields = {line.split(":")[0].strip().lower() for line in text.splitlines() if ":" in line}
        size_known = bool(fields & {"space directions", "spacings"})
        direction_known = "space directions" in fields and bool(
            fields & {"space", "space dimension"}
        )
    else:
        text = head.decode("latin-1").split("ElementDataFile")[0]
        fields = {match.lower() for match in re.findall(r"(?m)^\s*(\w+)\s*=", text)}
        size_known = bool(fields & {"elementspacing", "elementsize"})
        direction_known = bool(fields & {"transformmatrix", "orientation", "rotation"})
    if not size_known:
        raise InputError(
            f"{path} states no voxel size, without which volumes cannot be measured: add the "
            "spacing (mm) to its header, or export the CT again."
        )
    if not direction_known:
        return (
            "The file states no orientation; its axes were taken as patient left, posterior, "
            "superior.",
        )
    return ()
