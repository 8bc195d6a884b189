"""Slices with a label, "infected" or not, for classifiers: of a table, or of the public data sets.

What the label means differs. In collections of pictures (``slices_song``, ``slices_sarscov2ct``)
and in tables it is the patient's disease, whatever the slice shows; in HU space it is "lesion on
this slice", by a reader's word (``covid_ct_md``) or outline (``medseg_volumes``).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.errors import InputError

from . import sources
from .folder import Unusable, read_image
from .folds import Patient
from .image_table import COVID, ImageRecord
from .sources import Slice

logger = logging.getLogger(__name__)
OTHER = "other"


@dataclass(frozen=True, eq=False)
class LabelledSlice:
    """One axial slice.

    Attributes
    ----------
    image
        (H, W) uint8, windowed.
    positive
        Infected.
    patient
        Patients never stand on both sides of a split.
    source, name
        Data set and slice.
    lesion_area
        Pixels of outlined lesion; None where nobody outlined any.
    """

    image: NDArray[np.uint8]
    positive: bool
    patient: str
    source: str
    name: str
    lesion_area: int | None = None


def by_masks(slices: Iterable[Slice]) -> list[LabelledSlice]:
    """Outlined slices, positive where there is lesion; unoutlined ones must not be among them."""
    return [
        LabelledSlice(s.image, area > 0, s.patient, s.source, s.name, area)
        for s in slices
        for area in [int(np.count_nonzero(s.mask))]
    ]


def of_table(records: Iterable[ImageRecord]) -> list[LabelledSlice]:
    """All images of a table, positive where the patient has COVID-19 (paper section 2.1).

    InputError where a picture cannot be used.
    """
    slices = []
    for record in records:
        try:
            image = read_image(record.image)
        except Unusable as error:
            raise InputError(f"{record.image} cannot be used: {error}.") from error
        slices.append(
            LabelledSlice(image, record.positive, record.patient, record.label, record.image.stem)
        )
    return slices


def collection(root: Path) -> list[LabelledSlice]:
    """A "COVID or not" collection: ``slices_song`` by patient, ``slices_sarscov2ct`` without.

    Where file names hold no patient (``slices_sarscov2ct``), every slice counts as a patient of
    its own, and a split leaks: neighbouring slices of one patient stand on both sides. It is said
    in the log.
    """
    slices = sources.unlabelled(root)
    covid = f"{root.name}_covid_"
    if len(slices) > 1 and len({s.patient for s in slices}) == len(slices):
        logger.warning(
            "%s names no patients: each slice counts as one, so figures on it are too good",
            root.name,
        )
    return [
        LabelledSlice(s.image, s.patient.startswith(covid), s.patient, s.source, s.name)
        for s in slices
    ]


def in_hu(data: Path, *, every: int = 1) -> list[LabelledSlice]:
    """ "Lesion on this slice or not" of the CT volumes, cropped to the lungs and windowed.

    The names of a volume's slices sort in slice order. Of the thin slices of ``covid_ct_md`` only
    every ``every``-th is taken.
    """
    labelled = by_masks(sources.medseg_lesions(data / "medseg_volumes"))
    for infected in (True, False):
        labelled += [
            LabelledSlice(s.image, infected, s.patient, "covid_ct_md", s.name)
            for s in sources.covid_ct_md(data / "covid_ct_md", infected=infected, every=every)
        ]
    return labelled


def patients_of_slices(
    labelled: Sequence[LabelledSlice], outlined: Iterable[Slice] = ()
) -> list[Patient]:
    """The patients of slices for ``folds.make_folds``, sorted by name.

    A patient with a positive slice or any lesion has COVID-19; severities are not known.
    """
    outlines = list(outlined)
    infected = {s.patient for s in labelled if s.positive}
    infected |= {s.patient for s in outlines if s.mask.any()}
    with_masks = {s.patient for s in outlines}
    everyone = {s.patient for s in labelled} | with_masks
    return [
        Patient(name, COVID if name in infected else OTHER, None, name in with_masks)
        for name in sorted(everyone)
    ]
