"""One picture of a user's own data: an image, a lesion mask, or a mask with lesion classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .class_values import ClassValues

INEXACT = (".jpg", ".jpeg")
SMALLEST = 32
# A mask with more grey levels than these has soft borders, or is no mask.
FEW_LEVELS = 16


class Unusable(Exception):  # noqa: N818 - never leaves this room
    """Why one file cannot be used, and how to mend it, without the file's name."""


def read_image(path: Path) -> NDArray[np.uint8]:
    """An 8-bit grey image (H, W)."""
    grey = _decode(path, "use a grey image: colour may hold marks drawn onto the CT")
    if min(grey.shape) < SMALLEST:
        raise Unusable(f"it is smaller than {SMALLEST} pixels: give the image at its own size")
    return grey


def read_mask(path: Path) -> NDArray[np.uint8]:
    """A lesion mask (H, W), 0 or 1."""
    grey = _decode_mask(path)
    soft = _is_soft(grey)
    return np.asarray(grey > (int(grey.max()) / 2 if soft else 0), np.uint8)


def read_class_mask(path: Path, classes: ClassValues) -> NDArray[np.uint8]:
    """A mask with classes, (H, W): 0, 1 to n and ``UNKNOWN_CLASS``; values are taken exactly."""
    if path.suffix.lower() in INEXACT:
        raise Unusable("JPEG does not keep the values of lesion classes: give the mask as PNG")
    grey = _decode_mask(path)
    reason = classes.strange(grey)
    if reason is not None:
        _is_soft(grey)  # says it better where the file is no mask at all
        raise Unusable(reason)
    return classes.encode(grey)


def _decode_mask(path: Path) -> NDArray[np.uint8]:
    return _decode(
        path,
        "save the mask as grey, 0 for the background",
        "save the mask with 8 bits and its values as they are",
    )


def _is_soft(grey: NDArray[np.uint8]) -> bool:
    """Whether a mask has soft borders; Unusable where it is no mask."""
    counts = np.bincount(grey.ravel(), minlength=256)
    top = int(grey.max())
    soft = int(np.count_nonzero(counts)) > FEW_LEVELS
    # Soft borders and JPEG leave few pixels between the background's grey and the lesion's.
    if soft and counts[13 : max(13, top - 12)].sum() > 0.1 * grey.size:
        raise Unusable(
            "as a mask it has too many grey levels and looks like an image: give a mask that is 0 "
            "outside lesions (are --images and --masks exchanged?)"
        )
    return soft


def _decode(
    path: Path,
    colour_advice: str,
    depth_advice: str = "convert it to 8 bits with a lung window, or train on volumes (--ct)",
) -> NDArray[np.uint8]:
    from skimage import io

    try:
        array = np.asarray(io.imread(path))
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise Unusable(
            f"it cannot be read ({reason}) and may be cut off or damaged: export it again"
        ) from error
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    if array.dtype != np.uint8:
        raise Unusable(f"it has more than 8 bits ({array.dtype.name}): {depth_advice}")
    if array.ndim == 3 and array.shape[-1] in (2, 4) and (array[..., -1] == 255).all():
        array = array[..., :-1]
    if array.ndim == 3 and array.shape[-1] in (1, 3) and (array == array[..., :1]).all():
        array = array[..., 0]
    if array.ndim != 2 or not array.size:
        what = (
            "in colour"
            if array.ndim == 3 and array.shape[-1] == 3
            else ("transparent or has several pages")
        )
        raise Unusable(f"it is {what}: {colour_advice}")
    return np.ascontiguousarray(array)
