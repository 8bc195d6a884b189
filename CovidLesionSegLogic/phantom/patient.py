"""One random patient: everything about the phantom that does not depend on the CT grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from CovidLesionSegLogic.phantom.anatomy import HEIGHTS, Chest, Habitus
from CovidLesionSegLogic.phantom.fibrosis import Scar, place_scars
from CovidLesionSegLogic.phantom.fields import Noise, Profile
from CovidLesionSegLogic.phantom.lesions import Lesion, place_lesions
from CovidLesionSegLogic.phantom.skeleton import Skeleton
from CovidLesionSegLogic.phantom.traction import drawn
from CovidLesionSegLogic.phantom.trees import LungTrees, make_trees


@dataclass(frozen=True, eq=False)
class Patient:
    """Geometry in LPS mm; the same seed gives the same patient, with or without lesions."""

    chest: Chest
    skeleton: Skeleton
    trees: LungTrees
    lesions: list[Lesion]
    scars: list[Scar]
    noise: Noise
    muscle: Profile
    lung_hu: float
    table_y: float
    gas_level: float

    @classmethod
    def draw(cls, seed: int) -> Patient:
        """A healthy patient."""
        body, bones, lungs, texture = (np.random.default_rng([seed, n]) for n in range(1, 5))
        chest = Chest(Habitus.draw(body))
        muscle = Profile(HEIGHTS, [130, 105, 78, 50, 30, 19, 14, 12, 12, 12, 12])
        return cls(
            chest=chest,
            skeleton=Skeleton.of(chest, bones),
            trees=make_trees(chest, lungs),
            lesions=[],
            scars=[],
            noise=Noise(texture),
            muscle=muscle,
            lung_hu=float(body.uniform(-895.0, -868.0)),
            gas_level=float(body.uniform(-58.0, -40.0)),
            table_y=float(chest.body_back(0.0)) + 5.0,
        )


@lru_cache(maxsize=4)
def _healthy(seed: int) -> Patient:
    # Kept for the next grid or severity: growing the vessels takes a second.
    return Patient.draw(seed)


@lru_cache(maxsize=4)
def draw_patient(seed: int, severity: str, *, fibrosis: bool = False) -> Patient:
    """The patient of ``seed`` with the opacities of ``severity``, and its fibrosis if wanted."""
    patient = _healthy(seed)
    # Streams of their own: the anatomy is the same whatever the severity, and the opacities are
    # the same with and without fibrosis.
    lesions = place_lesions(patient.chest, severity, np.random.default_rng([seed, 5]))
    if not fibrosis:
        return replace(patient, lesions=lesions)
    scars = place_scars(patient.chest, severity, np.random.default_rng([seed, 7]))
    trees = drawn(patient.trees, scars, patient.noise) if scars else patient.trees
    return replace(patient, lesions=lesions, scars=scars, trees=trees)
