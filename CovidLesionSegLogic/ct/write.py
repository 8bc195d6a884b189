"""Writers for volumes on the CT's own grid."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.atomic import atomic_path
from CovidLesionSegLogic.ct.itk import itk_name, quiet_itk, reason, to_itk
from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.ct.written import is_whole
from CovidLesionSegLogic.errors import InputError, RequestError

WRITABLE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")


def write_image(array: NDArray[Any], like: CTVolume, path: str | os.PathLike[str]) -> Path:
    """Write ``array`` on the grid of ``like``; the file appears whole or not at all.

    Parameters
    ----------
    array
        Shape (z, y, x) as ``like``, or (n, z, y, x) for n maps (a fourth axis in the file).
        bool is stored as uint8, float16 as float32, float64 stays.
    like
        The volume whose origin, spacing and direction (LPS, mm) the file carries.
    path
        Ends in .nii.gz, .nii, .nrrd or .mha; voxels are compressed in all but .nii.

    Returns
    -------
    The path written.

    Raises
    ------
    RequestError
        When the suffix is unknown or the file cannot be written.
    ValueError
        When the shape is not that of ``like``.
    """
    import SimpleITK as sitk  # noqa: N813

    path = Path(path)
    if not path.name.lower().endswith(WRITABLE_SUFFIXES):
        known = ", ".join(WRITABLE_SUFFIXES)
        raise RequestError(f"{path.name}: images are written as {known}: choose one.")
    if array.shape[-3:] != like.shape or array.ndim not in (3, 4):
        raise ValueError(f"expected shape {like.shape}, not {array.shape}")
    maps = [array] if array.ndim == 3 else list(array)
    # Converted and copied one map at a time: only ITK's copies are as large as the volume.
    images = [to_itk(_storable(one), like.origin, like.spacing, like.direction) for one in maps]
    image = images[0] if array.ndim == 3 else sitk.JoinSeries(images, 0.0, 1.0)
    del images
    with atomic_path(path) as temporary, quiet_itk():
        try:
            sitk.WriteImage(image, itk_name(temporary), not path.name.lower().endswith(".nii"))
        except (RuntimeError, InputError) as error:
            raise RequestError(
                f"{path} could not be written ({reason(error)}): check the free space and the "
                "rights of the output folder."
            ) from error
        if temporary.exists() and not is_whole(temporary):
            raise cut_short(path)
    return path


def cut_short(path: Path) -> RequestError:
    """What to say of a file that its writer left unfinished without a word."""
    return RequestError(
        f"{path} could not be written, the file was cut short: free some space on its disk or "
        "choose another output folder."
    )


def _storable(array: NDArray[Any]) -> NDArray[Any]:
    """The array in a type that image files know."""
    known = {np.dtype(np.bool_): np.uint8, np.dtype(np.float16): np.float32}
    return array.astype(known.get(array.dtype, array.dtype), copy=False)
