"""How many patients, slices and lesions a data set holds (coarse-refine paper, Tables 1 to 3).

A lesion is a connected component of one class on one slice; pixels that touch at a corner belong
together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .folds import PARTS, Fold
from .image_table import COVID, SEVERITIES, ImageRecord, read_slice
from .sources import UNKNOWN_CLASS


@dataclass(frozen=True)
class Counted:
    """One image: its patient, label, severity and, where it was outlined, its lesions.

    ``lesions``: one number per class, last those of unnamed class; None: nobody outlined it.
    """

    patient: str
    label: str
    severity: str | None = None
    lesions: tuple[int, ...] | None = None


@dataclass(frozen=True)
class CensusRow:
    """A line of a table: patients and slices, and lesions as in :class:`Counted`.

    ``lesions`` is None where no image of the line was outlined.
    """

    name: str
    patients: int
    slices: int
    lesions: tuple[int, ...] | None


def count_lesions(mask: NDArray[np.uint8], n_classes: int) -> tuple[int, ...]:
    """Connected components of each class of a mask (H, W), last those of unnamed class."""
    corners = np.ones((3, 3), bool)
    return tuple(
        int(ndimage.label(mask == value, structure=corners)[1])
        for value in (*range(1, n_classes + 1), UNKNOWN_CLASS)
    )


def count_records(records: Sequence[ImageRecord], n_classes: int) -> list[Counted]:
    """Every image of a table with its lesions; reads one image at a time (InputError as there)."""
    return [
        Counted(
            record.patient,
            record.label,
            record.severity,
            count_lesions(read_slice(record, n_classes).mask, n_classes) if record.masks else None,
        )
        for record in records
    ]


def census_by_severity(images: Sequence[Counted]) -> list[CensusRow]:
    """Table 1: outlined images of patients with COVID-19, by severity; "not stated" where asked."""
    chosen = _outlined(images)
    names = [*SEVERITIES, *(["not stated"] if any(i.severity is None for i in chosen) else [])]
    return _rows(chosen, names, lambda i: i.severity or "not stated")


def census_by_label(images: Sequence[Counted]) -> list[CensusRow]:
    """Table 2: all images, by label, COVID-19 first."""
    names = sorted({i.label for i in images}, key=lambda label: (label != COVID, label))
    return _rows(images, names, lambda i: i.label)


def census_by_part(images: Sequence[Counted], fold: Fold) -> list[CensusRow]:
    """Table 3: outlined images of patients with COVID-19, by part of a fold."""
    part_of = {name: part for part, names in zip(PARTS, fold, strict=True) for name in names}
    return _rows(_outlined(images), PARTS, lambda i: part_of[i.patient])


def _outlined(images: Iterable[Counted]) -> list[Counted]:
    return [i for i in images if i.label == COVID and i.lesions is not None]


def _rows(
    images: Sequence[Counted], names: Sequence[str], name_of: Callable[[Counted], str]
) -> list[CensusRow]:
    """A row for each name, and "total"."""
    groups = {name: [i for i in images if name_of(i) == name] for name in names}
    return [_row(name, members) for name, members in (*groups.items(), ("total", images))]


def _row(name: str, members: Sequence[Counted]) -> CensusRow:
    lesions = [i.lesions for i in members if i.lesions is not None]
    summed = tuple(sum(column) for column in zip(*lesions, strict=True)) if lesions else None
    return CensusRow(name, len({i.patient for i in members}), len(members), summed)
