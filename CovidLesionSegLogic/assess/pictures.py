"""Folders of 8-bit slices and their masks: paired by name, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.errors import InputError, RequestError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
MASK_RULE = "lesion is > 127 where a mask's largest value is over 127, else > 0"


@dataclass(frozen=True)
class Pair:
    """An image and its mask, and the stem they share."""

    name: str
    image: Path
    mask: Path


def find_pairs(images: Path, masks: Path) -> list[Pair]:
    """Pair the pictures of two folders by stem, in the order of their names.

    Raises
    ------
    RequestError
        A folder does not exist or is no folder.
    InputError
        A folder has no pictures, two of one stem, or one without its partner.
    """
    image_files, mask_files = _pictures(images), _pictures(masks)
    for ours, theirs, what, where in (
        (image_files, mask_files, "mask", masks),
        (mask_files, image_files, "image", images),
    ):
        alone = sorted(ours.keys() - theirs.keys())
        if alone:
            more = f", nor {len(alone) - 1} others" if len(alone) > 1 else ""
            raise InputError(
                f"{ours[alone[0]]} has no {what} of the same name in {where}{more}: "
                f"add the {what} or take the file away."
            )
    return [Pair(stem, image_files[stem], mask_files[stem]) for stem in sorted(image_files)]


def _pictures(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise RequestError(f"{folder} is not a folder: give the folder with the pictures.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in SUFFIXES or not path.is_file():
            continue
        if path.stem in found:
            raise InputError(
                f"{path} and {found[path.stem].name} have the same name without suffix: "
                "keep one of them."
            )
        found[path.stem] = path
    if not found:
        raise InputError(
            f"{folder} holds no picture ({', '.join(SUFFIXES)}): give the right folder."
        )
    return found


def check_pairs(
    pairs: list[Pair], progress: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Decode every picture once; InputError names the first that cannot be used."""
    for done, pair in enumerate(pairs):
        progress(done, len(pairs))
        read_pair(pair)
    progress(len(pairs), len(pairs))


def read_pair(pair: Pair) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The grey image (H, W) and its lesion mask (H, W).

    Raises
    ------
    InputError
        Not readable, not 8-bit grey, or the two differ in size.
    """
    image = read_grey(pair.image)
    mask = to_mask(read_grey(pair.mask))
    if image.shape != mask.shape:
        height, width = image.shape
        raise InputError(
            f"{pair.image} has {width} x {height} pixels but {pair.mask} has {mask.shape[1]} x "
            f"{mask.shape[0]}: give image and mask of the same size."
        )
    return image, mask


def to_mask(grey: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Lesion pixels of a mask: 0/255 with soft borders, 0/1, or small labels (0, 1, 2, ...)."""
    return np.asarray(grey > (127 if grey.max() > 127 else 0))


def read_grey(path: Path) -> NDArray[np.uint8]:
    """An 8-bit grey picture (H, W); grey stored as equal colour channels is accepted.

    Raises
    ------
    InputError
        The file cannot be decoded, has more than 8 bits, colour, transparency or several pages.
    """
    from skimage import io

    try:
        array: NDArray[Any] = np.asarray(io.imread(path))
    except (OSError, ValueError, SyntaxError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"{path} cannot be read as a picture ({reason}): copy or export it again."
        ) from error
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    if array.dtype != np.uint8:
        raise InputError(
            f"{path} is not an 8-bit picture ({array.dtype.name}): export it with 8 bits of grey."
        )
    if array.ndim == 3 and array.shape[-1] in (2, 4) and (array[..., -1] == 255).all():
        array = array[..., :-1]
    if array.ndim == 3 and array.shape[-1] in (1, 3) and (array == array[..., :1]).all():
        array = array[..., 0]
    if array.ndim != 2 or not array.size:
        raise InputError(
            f"{path} is not one grey picture (its shape is {array.shape}: colour, transparency or "
            "several pages): export it as 8-bit grey."
        )
    return np.ascontiguousarray(array)
