"""Phantom slices as a data set on disk, in the form that ``image_table`` reads."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.outputs import staged_folder
from CovidLesionSegLogic.quantify.export import safe_cell

from .image_table import COVID
from .phantoms import PhantomSlice

TABLE, AREAS = "images.csv", "lung_areas.csv"
HEALTHY = "healthy"


def write_phantom_table(found: Sequence[PhantomSlice], folder: Path) -> Path:
    """Write pictures, class masks and their table; returns the table's path.

    In ``folder``, which is made: ``images/NAME.png``, ``masks/NAME.png``, ``images.csv``
    (columns image, patient, label, mask, severity) and ``lung_areas.csv`` (columns image and
    lung_pixels: the area that lesion areas are divided by). Patients of severity "none" are
    labelled healthy.

    Raises
    ------
    RequestError
        The folder is not empty or cannot be written.
    """
    from skimage import io

    if folder.is_dir() and any(folder.iterdir()):
        raise RequestError(f"The folder {folder} is not empty: choose another output folder.")
    with staged_folder(folder) as staged:
        rows, areas = [], []
        for kind in ("images", "masks"):
            (staged / kind).mkdir()
        for one in found:
            image, mask = (f"{kind}/{one.slice.name}.png" for kind in ("images", "masks"))
            io.imsave(staged / image, one.slice.image, check_contrast=False)
            io.imsave(staged / mask, one.slice.mask, check_contrast=False)
            infected = one.severity != "none"
            label, severity = (COVID, one.severity) if infected else (HEALTHY, "")
            rows.append((image, one.slice.patient, label, mask, severity))
            areas.append((image, one.lung_area))
        _save(staged / TABLE, ("image", "patient", "label", "mask", "severity"), rows)
        _save(staged / AREAS, ("image", "lung_pixels"), areas)
    return folder / TABLE


def _save(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([safe_cell(cell) for cell in row] for row in (header, *rows))
