"""Masks on the CT's own grid."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.formats import detect_format
from CovidLesionSegLogic.ct.itk import quiet_itk, to_itk
from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.errors import InputError

if TYPE_CHECKING:
    import SimpleITK as sitk  # noqa: N813

logger = logging.getLogger(__name__)


def read_labels(
    path: str | os.PathLike[str], like: CTVolume, *, notes: list[str] | None = None
) -> NDArray[np.uint8]:
    """Read a label map (NIfTI, NRRD, MetaImage) onto the grid of ``like``.

    A mask on another grid of the same patient space is resampled by nearest neighbour; a warning
    is logged, and appended to ``notes`` where given.

    Returns
    -------
    Shape (z, y, x) of ``like``, uint8.

    Raises
    ------
    InputError
        When the file is no label map (not whole numbers 0..255), or does not overlap the CT.
    """
    path = Path(path).expanduser()
    kind = detect_format(path)
    if kind == "dicom":
        raise InputError(f"{path} is DICOM: give the mask as .nii, .nii.gz, .nrrd or .mha.")
    from CovidLesionSegLogic.ct.image_file import read_image_file

    image = read_image_file(path, kind)
    array = image.array
    if not all(_holds_labels(plane) for plane in array):
        raise InputError(
            f"The label map {path} holds values from {array.min():.6g} to {array.max():.6g}, not "
            "labels (whole numbers 0 to 255): give another file."
        )
    labels = np.ascontiguousarray(array, dtype=np.uint8)
    image = replace(image, array=labels)  # lets go of the voxels as stored
    del array
    own = np.eye(4)
    own[:3, :3] = image.direction * np.array(image.spacing)
    own[:3, 3] = image.origin
    messages = list(image.warnings)
    if labels.shape != like.shape or not _same_place(own, like):
        labels = _resample(labels, image.origin, image.spacing, image.direction, like, path)
        messages.append(
            f"The mask {path.name} lies on another grid than the CT; it was resampled (nearest "
            "neighbour)."
        )
    for message in messages:
        logger.warning(message)
    if notes is not None:
        notes.extend(messages)
    return labels


def _holds_labels(plane: NDArray[Any]) -> bool:
    with np.errstate(invalid="ignore"):  # some kinds of NaN complain when they are rounded
        whole = plane.dtype.kind in "iub" or bool((np.rint(plane) == plane).all())
    return whole and bool(plane.min() >= 0 and plane.max() <= 255)


def _same_place(affine: NDArray[np.float64], like: CTVolume) -> bool:
    """Whether all corner voxels of the CT's grid agree to a tenth of the smallest voxel side."""
    z, y, x = like.shape
    corners = np.array(
        [(i, j, k, 1) for i in (0, x - 1) for j in (0, y - 1) for k in (0, z - 1)], dtype=float
    )
    apart = np.linalg.norm(corners @ (affine - like.affine).T, axis=1).max()
    return bool(apart <= 0.1 * min(like.spacing))


def _resample(
    labels: NDArray[np.uint8],
    origin: tuple[float, float, float],
    spacing: tuple[float, float, float],
    direction: NDArray[np.float64],
    like: CTVolume,
    path: Path,
) -> NDArray[np.uint8]:
    import SimpleITK as sitk  # noqa: N813

    with quiet_itk():
        covered = _onto(like, to_itk(np.ones_like(labels), origin, spacing, direction))
        if not sitk.GetArrayViewFromImage(covered).any():  # a view: the image must outlive it
            raise InputError(
                f"{path} does not overlap the CT in space: give the mask made for this CT."
            )
        del covered
        return sitk.GetArrayFromImage(_onto(like, to_itk(labels, origin, spacing, direction)))


def _onto(like: CTVolume, image: sitk.Image) -> sitk.Image:
    """``image`` on the grid of ``like``, nearest neighbour, 0 outside."""
    import SimpleITK as sitk  # noqa: N813

    return sitk.Resample(
        image,
        like.shape[::-1],
        sitk.Transform(),
        sitk.sitkNearestNeighbor,
        like.origin,
        like.spacing,
        like.direction.ravel().tolist(),
        0.0,
    )
