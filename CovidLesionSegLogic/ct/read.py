"""The one door for CT volumes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from CovidLesionSegLogic.ct.formats import detect_format, study_name
from CovidLesionSegLogic.ct.values import check_size_and_spacing, clean_hounsfield
from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.errors import InputError

FORMAT_TITLES = {"nifti": "NIfTI", "nrrd": "NRRD", "metaimage": "MetaImage"}


def read_ct(
    path: str | os.PathLike[str],
    *,
    series_uid: str | None = None,
    allow_missing_slices: bool = False,
    files: Sequence[Path] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> CTVolume:
    """Read a CT in Hounsfield units from a DICOM folder or file, NIfTI, NRRD or MetaImage.

    What had to be handled is said in the volume's ``warnings``; what would need a guess is refused.
    The study's name comes from the file or folder name, never from the patient's name.

    Parameters
    ----------
    path
        A DICOM folder (nested folders too) or multi-frame file, .nii[.gz], .nrrd, .nhdr, .mha
        or .mhd.
    series_uid
        The DICOM series to read; by default the axial CT with most slices.
    allow_missing_slices
        Fill gaps of whole DICOM slices by linear interpolation instead of refusing them.
    files
        The only files of a DICOM folder to read, as an earlier look into it found them.
    progress
        Called with ("scan" or "read", done, total) while files are read.

    Returns
    -------
    CTVolume
        int16 where the values are whole numbers, else float32; LPS mm; below -1024 HU nothing.

    Raises
    ------
    InputError
        When the input cannot be used; one sentence names the file, the reason and the remedy.
    """
    path = Path(path).expanduser()
    kind = detect_format(path)
    if kind == "dicom":
        from CovidLesionSegLogic.ct.dicom import read_dicom

        return read_dicom(
            path,
            series_uid=series_uid,
            allow_missing_slices=allow_missing_slices,
            files=files,
            progress=progress,
        )
    if series_uid is not None:
        raise InputError(
            f"{path} is not DICOM, so it has no series to choose: leave the series UID out."
        )
    from CovidLesionSegLogic.ct.image_file import read_image_file

    if progress is not None:
        progress("read", 0, 1)
    image = read_image_file(path, kind)
    check_size_and_spacing(image.array.shape, image.spacing, path)
    voxels = clean_hounsfield(image.array, path)
    if progress is not None:
        progress("read", 1, 1)
    return CTVolume(
        array=voxels.array,
        origin=image.origin,
        spacing=image.spacing,
        direction=image.direction,
        name=study_name(path),
        source={
            "path": str(path.resolve()),
            "format": FORMAT_TITLES[kind],
            "slices": image.array.shape[0],
        },
        warnings=(*image.warnings, *voxels.warnings),
    )
