"""A DICOM CT series to a CTVolume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.dicom_header import FrameHeader
from CovidLesionSegLogic.ct.dicom_pixels import decode_planes, same_pixels, syntax_name
from CovidLesionSegLogic.ct.dicom_scan import scan
from CovidLesionSegLogic.ct.dicom_series import choose_series
from CovidLesionSegLogic.ct.dicom_stack import Stack, build_stack
from CovidLesionSegLogic.ct.formats import study_name
from CovidLesionSegLogic.ct.straighten import even_heights, fill_heights, straighten
from CovidLesionSegLogic.ct.values import clean_hounsfield
from CovidLesionSegLogic.ct.volume import CTVolume, SourcePlane
from CovidLesionSegLogic.errors import InputError

Progress = Callable[[str, int, int], None]


def read_dicom(
    path: Path,
    *,
    series_uid: str | None = None,
    allow_missing_slices: bool = False,
    files: Sequence[Path] | None = None,
    progress: Progress | None = None,
) -> CTVolume:
    """Read the CT series of a folder (nested folders too), or a multi-frame file.

    Slices are ordered by ImagePositionPatient along the normal of ImageOrientationPatient
    (PS3.3 C.7.6.2), so array[0] lies at the negative end of the normal; for a usual axial series
    that is the caudal end. See ``read_ct`` for parameters and errors.
    """
    found = scan(path, progress, files)
    frames, notes = choose_series(found, series_uid)
    if any(f.frames > 1 and f.position is None for f in frames):
        raise InputError(
            f"{frames[0].path} is a multi-frame file without positions for its frames "
            "(PerFrameFunctionalGroupsSequence): export the series as single-frame CT images."
        )
    if path.is_file() and len(frames) == 1:
        raise InputError(
            f"{path} is a single slice, but a CT volume needs several: give the folder that holds "
            f"the whole series ({path.resolve().parent})."
        )
    stack = build_stack(frames, same_pixels=same_pixels, allow_missing_slices=allow_missing_slices)
    planes = decode_planes(stack.frames, progress=progress)
    array, origin = _on_grid(planes.array, stack)
    voxels = clean_hounsfield(array, path)
    return CTVolume(
        array=voxels.array,
        origin=(float(origin[0]), float(origin[1]), float(origin[2])),
        spacing=stack.spacing,
        direction=stack.direction,
        name=study_name(path),
        source=_source(path, stack.frames),
        warnings=(*notes, *stack.warnings, *planes.warnings, *voxels.warnings),
        planes=_planes(stack),
    )


def _on_grid(array: NDArray[Any], stack: Stack) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Straightened and filled up to an even grid; the planes themselves where they are even."""
    origin, drift = stack.origin, stack.drift
    if drift is not None:
        array, shift = straighten(array, drift, stack.spacing[:2])
        origin = origin + stack.direction[:, :2] @ shift
    if not stack.even:
        array = fill_heights(array, stack.heights, stack.spacing[2])
    return array, origin


def _planes(stack: Stack) -> tuple[SourcePlane | None, ...]:
    """What each slice of the grid shows; None where it was interpolated between two planes."""
    shown = [
        SourcePlane(
            f.path,
            f.frame,
            f.frames,
            f.sop_class,
            f.sop_instance,
            f.frame_of_reference,
            aligned=stack.drift is None,
        )
        for f in stack.frames
    ]
    if stack.even:
        return tuple(shown)
    return tuple(
        None if place.own is None else shown[place.own]
        for place in even_heights(stack.heights, stack.spacing[2])
    )


def _source(path: Path, frames: tuple[FrameHeader, ...]) -> dict[str, Any]:
    first = frames[0]
    return {
        "path": str(path.resolve()),
        "format": "DICOM",
        "series_uid": first.series_uid,
        "study_uid": first.study_uid,
        "series_description": first.description,
        "slices": len(frames),
        "manufacturer": first.manufacturer,
        "model": first.model,
        "kernel": first.kernel,
        "slice_thickness_mm": first.thickness,
        "transfer_syntax": syntax_name(first),
    }
