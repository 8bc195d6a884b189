"""Calls into SimpleITK, without its chatter."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.errors import InputError

if TYPE_CHECKING:
    import SimpleITK as sitk  # noqa: N813

_lock = threading.RLock()
_depth = 0
_before = True


@contextlib.contextmanager
def quiet_itk() -> Iterator[None]:
    """Silence ITK's warnings on standard error; nests, and is safe from several threads.

    The switch is process-wide (inside Slicer too), so it is put back by the last one out.
    """
    global _depth, _before
    import SimpleITK as sitk  # noqa: N813

    with _lock:
        if _depth == 0:
            _before = sitk.ProcessObject.GetGlobalWarningDisplay()
            sitk.ProcessObject.SetGlobalWarningDisplay(False)
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                sitk.ProcessObject.SetGlobalWarningDisplay(_before)


def to_itk(
    array: NDArray[Any],
    origin: Sequence[float],
    spacing: Sequence[float],
    direction: NDArray[np.float64],
) -> sitk.Image:
    """A scalar 3-D image of ``array`` (z, y, x) on the given LPS grid; copies the voxels."""
    import SimpleITK as sitk  # noqa: N813

    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetOrigin([float(v) for v in origin])
    image.SetSpacing([float(v) for v in spacing])
    image.SetDirection([float(v) for v in np.asarray(direction).ravel()])
    return image


def itk_name(path: str | os.PathLike[str]) -> str:
    """``path`` as ITK and VTK take it, to whom the bytes of a name are UTF-8 in every locale.

    InputError where they are not: ITK's Python wrapping ends the whole process then.
    """
    try:
        return os.fsencode(path).decode("utf-8")
    except UnicodeError as error:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise InputError(
            f"The name {shown} is not valid UTF-8, which the image libraries need: rename it."
        ) from error


def reason(error: Exception) -> str:
    """The telling end of an ITK exception: its last line without file names and addresses."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = lines[-1] if lines else type(error).__name__
    if last.startswith("itk::ERROR:"):
        last = last.removeprefix("itk::ERROR:").strip()
    if "): " in last:
        last = last.split("): ", 1)[1]
    return last.rstrip(".")
