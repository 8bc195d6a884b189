"""Lung areas of the table's images, from a second table: what lesion areas are divided by."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from CovidLesionSegLogic.assess.tables.coarse_refine.data import Image
from CovidLesionSegLogic.errors import InputError
from CovidLesionSegLogic.learn.folder import Unusable, read_mask

BESIDE = "lung_areas.csv"
"""Looked for beside the table of images where no other file is given."""
AREA, MASK = "lung_pixels", "lung"


def lung_areas(path: Path, images: Sequence[Image]) -> dict[str, int]:
    """Pixels of lung by image key, outlined lesions included; of those images that it names.

    Parameters
    ----------
    path
        CSV file (UTF-8) with the column ``image`` (as in the table of images) and one of
        ``lung_pixels`` (area in pixels of the picture, lesions included) and ``lung`` (picture of
        the image's size, not 0 inside; its path from this file's folder).

    Raises
    ------
    InputError
        The file or a row of it cannot be used.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"The lung areas {path} cannot be read ({error}): give a CSV file in UTF-8."
        ) from error
    rows = csv.DictReader(text.splitlines())
    names = rows.fieldnames or []
    if "image" not in names or not {AREA, MASK} & set(names):
        raise InputError(
            f"Row 1 of {path} must name the column 'image' and one of '{AREA}' and '{MASK}'."
        )
    known = {image.key: image for image in images}
    found = {}
    for number, row in enumerate(rows, 2):
        image = known.get((row["image"] or "").strip())
        if image is None:
            continue
        try:
            found[image.key] = _area(row, image, path.parent)
        except (ValueError, Unusable) as error:
            raise InputError(f"Row {number} of {path} cannot be used: {error}.") from error
    if not found:
        raise InputError(f"{path} names no image of the table: write its images as there.")
    return found


def _area(row: dict[str, str], image: Image, folder: Path) -> int:
    pixels = image.pixels.mask
    if text := (row.get(AREA) or "").strip():
        if not text.isdecimal() or not 0 < int(text) <= pixels.size:
            raise ValueError(f"its {AREA} is '{text}': give a whole number from 1 to {pixels.size}")
        return int(text)
    name = (row.get(MASK) or "").strip()
    if not name or not (folder / name).is_file():
        raise ValueError(f"it names no file of a lung mask: fill in '{AREA}' or '{MASK}'")
    inside = read_mask(folder / name)
    if inside.shape != pixels.shape:
        raise ValueError(f"{folder / name} is not of the image's size")
    # A mask found by density spares consolidation.
    return int(np.count_nonzero((inside > 0) | (pixels > 0)))
