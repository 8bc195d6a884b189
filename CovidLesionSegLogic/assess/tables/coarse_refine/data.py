"""The user's table of images, its folds and its census: read once for all runs of a plan."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from CovidLesionSegLogic.assess.tables.build import sha256
from CovidLesionSegLogic.errors import InputError, RequestError
from CovidLesionSegLogic.learn.census import (
    CensusRow,
    Counted,
    census_by_label,
    census_by_part,
    census_by_severity,
    count_lesions,
)
from CovidLesionSegLogic.learn.folds import FoldManifest, make_folds, patients_of, select_fold
from CovidLesionSegLogic.learn.image_table import (
    ImageRecord,
    read_image_table,
    read_slice,
)
from CovidLesionSegLogic.learn.labelled import LabelledSlice
from CovidLesionSegLogic.learn.sources import UNKNOWN_CLASS, Slice
from CovidLesionSegLogic.quantify.export import write_json

FOLDS_FILE, CENSUS_FILE = "folds.json", "census.json"
LESION, FREE = "lesion", "free"
"""Names by which batches tell images with lesion from those without."""


@dataclass(frozen=True, eq=False)
class Image:
    """An image of the table.

    Attributes
    ----------
    key
        Its path from the table's folder, unlike that of any other image.
    pixels
        With the mask of all classes; empty where nobody outlined it. ``source`` is
        :data:`LESION` or :data:`FREE`.
    """

    key: str
    record: ImageRecord
    pixels: Slice

    @property
    def patient(self) -> str:
        """Name of the patient."""
        return self.record.patient

    @property
    def with_lesion(self) -> bool:
        """Whether lesion is outlined."""
        return self.pixels.source == LESION

    @property
    def infected(self) -> bool:
        """Slice label: lesion on it where somebody looked, else the patient's label (2.1, 2.8)."""
        return self.with_lesion if self.record.masks else self.record.positive

    def labelled(self) -> LabelledSlice:
        """For gate and classifier."""
        area = int(np.count_nonzero(self.pixels.mask)) if self.record.masks else None
        return LabelledSlice(
            self.pixels.image, self.infected, self.patient, self.record.label, self.key, area
        )

    def sample(self, classes: str) -> Slice:
        """For a segmentation of "each" class or of "any" lesion."""
        if classes == "each":
            return self.pixels
        return replace(self.pixels, mask=(self.pixels.mask > 0).astype(np.uint8))


@dataclass(frozen=True)
class Part:
    """The images of a fold's part."""

    images: tuple[Image, ...]

    @property
    def segmented(self) -> list[Image]:
        """Those that a segmentation learns from or is tested on."""
        return [image for image in self.images if image.record.segments]

    def counts(self) -> dict[str, int]:
        """Images, patients and images with lesion, for a result file."""
        return {
            "images": len(self.images),
            "patients": len({image.patient for image in self.images}),
            "with_lesion": sum(image.with_lesion for image in self.images),
        }


@dataclass(frozen=True)
class Data:
    """All images with their folds.

    Attributes
    ----------
    classes
        Names of the classes that occur: the plan's, up to the highest value in a mask.
    lungs
        Lung area in pixels by image key, where there is any; see ``lungs.lung_areas``.
    files
        SHA-256 of the tables and of the folds, by role.
    """

    images: tuple[Image, ...]
    folds: FoldManifest
    classes: tuple[str, ...]
    lungs: dict[str, int]
    files: dict[str, str]

    def parts(self, fold: int) -> tuple[Part, Part, Part]:
        """(training, validation, test) of fold 1 to 5."""
        one, two, three = select_fold(self.images, self.folds.fold(fold - 1))
        return Part(tuple(one)), Part(tuple(two)), Part(tuple(three))


def load_data(
    table: Path,
    names: Sequence[str],
    output: Path,
    *,
    folds: Path | None = None,
    seed: int = 0,
) -> Data:
    """Read the table and every image of it.

    Parameters
    ----------
    names
        Of the lesion classes, in the order of the masks' values.
    output
        Folder of the runs; keeps the folds that all runs share.
    folds
        A file of folds; None: those in ``output``, made from ``seed`` where there are none.

    Raises
    ------
    InputError
        The table, a picture or the folds cannot be used.
    RequestError
        ``folds`` are others than those in ``output``.
    """
    records = read_image_table(table)
    images = tuple(_read(record, table.parent, len(names)) for record in records)
    if not any(image.with_lesion for image in images):
        raise InputError(f"{table} names no image with outlined lesion: add masks.")
    highest = max(_highest(image.pixels) for image in images)
    manifest = _folds(records, output / FOLDS_FILE, folds, seed)
    select_fold(images, manifest.fold(0))  # names every patient
    digest = hashlib.sha256(json.dumps(manifest.to_dict()["folds"]).encode()).hexdigest()
    files = {"manifest": sha256(table), "folds": digest}
    return Data(images, manifest, tuple(names[: max(highest, 1)]), {}, files)


def _read(record: ImageRecord, folder: Path, n_classes: int) -> Image:
    pixels = read_slice(record, n_classes)
    key = record.image.relative_to(folder).as_posix()
    source = LESION if pixels.mask.any() else FREE
    return Image(key, record, replace(pixels, source=source, name=key))


def _highest(pixels: Slice) -> int:
    named = pixels.mask[pixels.mask != UNKNOWN_CLASS]
    return int(named.max()) if named.size else 0


def _folds(
    records: Sequence[ImageRecord], kept: Path, given: Path | None, seed: int
) -> FoldManifest:
    manifest = FoldManifest.from_json(given) if given is not None else None
    if kept.exists():
        earlier = FoldManifest.from_json(kept)
        if manifest is not None and manifest.folds != earlier.folds:
            raise RequestError(
                f"{given} holds other folds than {kept}, by which the runs there were divided: "
                "choose another output folder."
            )
        return earlier
    manifest = manifest or make_folds(patients_of(records), seed=seed)
    kept.parent.mkdir(parents=True, exist_ok=True)
    manifest.to_json(kept)
    return manifest


def write_census(data: Data, output: Path, *, phantoms: bool) -> None:
    """Tables 1 to 3, so that a report can be written where the data are not."""
    n = len(data.classes)
    counted = [
        Counted(
            image.patient,
            image.record.label,
            image.record.severity,
            count_lesions(image.pixels.mask, n) if image.record.masks else None,
        )
        for image in data.images
    ]
    parts = [census_by_part(counted, fold) for fold in data.folds.folds]
    census = {
        "classes": list(data.classes),
        "phantoms": phantoms,
        "by_severity": _plain(census_by_severity(counted)),
        "by_label": _plain(census_by_label(counted)),
        "by_part": [_plain(rows) for rows in parts],
        "severities": any(c.severity is not None for c in counted),
        "lungs": bool(data.lungs),
    }
    write_json(census, output / CENSUS_FILE)


def _plain(rows: Iterable[CensusRow]) -> list[dict[str, Any]]:
    return [asdict(row) for row in rows]


Item = TypeVar("Item")


def spread(items: Sequence[Item], patients: Sequence[str], most: int) -> list[Item]:
    """At most ``most`` evenly spread items of each patient, in their order; 0: all."""
    if not most:
        return list(items)
    places: dict[str, list[int]] = {}
    for place, name in enumerate(patients):
        places.setdefault(name, []).append(place)
    chosen: set[int] = set()
    for mine in places.values():
        chosen |= set(mine[:: max(1, math.ceil(len(mine) / most))])
    return [item for place, item in enumerate(items) if place in chosen]
