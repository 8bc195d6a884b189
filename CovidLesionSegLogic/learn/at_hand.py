"""The public data sets at hand as one table of images, for segmentation and classification.

None of it may be published: the folder belongs outside of the repository.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from CovidLesionSegLogic.errors import InputError, RequestError
from CovidLesionSegLogic.outputs import staged_folder
from CovidLesionSegLogic.quantify.export import safe_cell

from . import sources
from .duplicates import keep_together
from .image_table import COVID
from .phantom_table import HEALTHY, TABLE
from .sources import Slice

OTHER = "other"
"""Label of collections that say no more than "not COVID"."""
COLUMNS = ("image", "patient", "label", "mask")


@dataclass(frozen=True, eq=False)
class Labelled:
    """A slice with its patient's label; ``outlined``: its mask is to be believed."""

    slice: Slice
    label: str
    outlined: bool


def outlined_slices(data: Path) -> list[Labelled]:
    """Ground-glass opacity (1) and consolidation (2): ``sirm100_train50``, ``medseg_volumes``.

    Of the volumes every slice with lung, with lesion or not.
    """
    found = [
        *sources.sirm100(data / "sirm100_train50", classes=True),
        *sources.medseg_lesions(data / "medseg_volumes", classes=True),
    ]
    return [Labelled(s, COVID, outlined=True) for s in found]


def true_hu_slices(data: Path, *, every: int = 3) -> list[Labelled]:
    """``covid_ct_md``: slices with infection (nobody outlined them) and without, of two patients.

    ``every``: so-manieth slice; neighbours are near-duplicates.
    """
    root = data / "covid_ct_md"
    infected = sources.covid_ct_md(root, infected=True, every=every)
    free = sources.covid_ct_md(root, infected=False, every=every)
    patients = {s.patient for s in infected}
    return [
        *(Labelled(s, COVID, outlined=False) for s in infected),
        # That a slice shows none is a radiologist's word: its empty mask is true.
        *(Labelled(s, COVID if s.patient in patients else HEALTHY, outlined=True) for s in free),
    ]


def collection_slices(root: Path) -> list[Labelled]:
    """``slices_song`` (by patient) or ``slices_sarscov2ct`` (each image its own patient).

    The label is the patient's disease, whatever the slice shows. Near-identical images of one
    label count as one patient's.
    """
    found = sources.unlabelled(root)
    covid = f"{root.name}_covid_"
    labelled = []
    for label, wanted in ((COVID, True), (OTHER, False)):
        kept, _ = keep_together([s for s in found if s.patient.startswith(covid) == wanted])
        labelled += [Labelled(s, label, outlined=False) for s in kept]
    return labelled


def write_table(found: Iterable[Labelled], folder: Path) -> Path:
    """Write pictures, class masks and ``images.csv`` as ``image_table`` reads them; its path.

    Raises
    ------
    RequestError
        The folder is not empty or cannot be written.
    InputError
        There are no slices.
    """
    from skimage import io

    if folder.is_dir() and any(folder.iterdir()):
        raise RequestError(f"The folder {folder} is not empty: choose another output folder.")
    rows: list[tuple[str, str, str, str]] = []
    with staged_folder(folder) as staged:
        for number, one in enumerate(found):
            name = f"{one.slice.source}/{number:05d}.png"
            mask = f"masks/{number:05d}.png" if one.outlined and one.label == COVID else ""
            for path, picture in ((name, one.slice.image), (mask, one.slice.mask)):
                if path:
                    (staged / path).parent.mkdir(exist_ok=True)
                    io.imsave(staged / path, picture, check_contrast=False)
            rows.append((name, one.slice.patient, one.label, mask))
        if not rows:
            raise InputError("No slices were found: give the folder of the data sets.")
        _save(staged / TABLE, rows)
    return folder / TABLE


def _save(path: Path, rows: Sequence[tuple[str, str, str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)  # whose line ends have a cell with either of them quoted
        writer.writerows([safe_cell(cell) for cell in row] for row in (COLUMNS, *rows))


def write_manifest(args: argparse.Namespace) -> None:
    """Write the public data at hand as one table of images (never into the repository)."""
    found = [*outlined_slices(args.data), *true_hu_slices(args.data, every=args.every)]
    for name in args.collections:
        found += collection_slices(args.data / name)
    table = write_table(found, args.output)
    sys.stdout.write(f"{len(found)} images in {table}\n")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Options of :func:`write_manifest`."""
    command.add_argument("output", type=Path, help="folder to be made, outside of the repository")
    command.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    command.add_argument(
        "--every", type=int, default=3, help="of covid_ct_md take every so-manieth slice"
    )
    command.add_argument(
        "--collections",
        nargs="*",
        default=["slices_song"],
        metavar="NAME",
        help="COVID-or-not collections (slices_song by patient; slices_sarscov2ct names no "
        "patients: each image counts as one, and figures on it are too good)",
    )
