"""The lesion networks' public training data: what is there, and which patients validate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from . import sources
from .batches import (
    MIXTURE,
    ONE_READER_MIXTURE,
    SIZES,
    LesionBatch,
    LesionBatches,
    normalise,
    refnet_batch_loss,
)
from .sources import Slice
from .validation import LesionValidation, PatientValidation, predict_slice

__all__ = [
    "MIXTURE",
    "ONE_READER_MIXTURE",
    "SIZES",
    "VALIDATION_PATIENTS",
    "LesionBatch",
    "LesionBatches",
    "LesionValidation",
    "PatientValidation",
    "load_slices",
    "normalise",
    "one_reader",
    "predict_slice",
    "refnet_batch_loss",
    "split",
]

# Validation patients; everything else trains. Patients of 100-slice images are not published, so
# the eight images are chosen among sizes and greys that no training image shares.
VALIDATION_PATIENTS = frozenset(
    {f"sirm_{n}" for n in (3, 15, 26, 40, 41, 51, 52, 54)}
    | {"coronacases_009", "coronacases_010", "radiopaedia_27_86410", "radiopaedia_36_86526"}
)


def load_slices(data: Path, *, true_hu: bool = False) -> list[Slice]:
    """All labelled slices at hand, decoded.

    ``true_hu`` adds the lesion-free slices of ``covid_ct_md``: without them that data set is an
    independent test.
    """
    slices = [
        *sources.sirm100(data / "sirm100_train50"),
        *sources.zenodo20(data / "zenodo20"),
        *sources.medseg_lesions(data / "medseg_volumes"),
    ]
    return slices + (sources.covid_ct_md(data / "covid_ct_md", infected=False) if true_hu else [])


def one_reader(slices: Sequence[Slice]) -> list[Slice]:
    """Without outlines that disagree with those of medicalsegmentation.com.

    The Radiopaedia cases of ``zenodo20`` are outlined more widely than the same patients' volumes
    there; marks of a teacher on slices said to be free of COVID-19 are other diseases or wrong.
    """
    return [
        s
        for s in slices
        if not (s.source == "zenodo20" and s.patient.startswith("radiopaedia"))
        and not (s.patient.startswith("slices_sarscov2ct_noncovid") and s.mask.any())
    ]


def split(slices: Sequence[Slice]) -> tuple[list[Slice], list[Slice]]:
    """(training, validation) by patient."""
    training = [s for s in slices if s.patient not in VALIDATION_PATIENTS]
    return training, [s for s in slices if s.patient in VALIDATION_PATIENTS]
