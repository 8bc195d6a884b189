"""One random patient: everything about the phantom that does not depend on the CT grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from CovidLesionSegLogic.phantom.anatomy import HEIGHTS, Chest, Habitus
from CovidLesionSegLogic.phantom.fields import Noise, Profile
from CovidLesionSegLogic.phantom.lesions import Lesion, place_lesions
from CovidLesionSegLogic.phantom.skeleton import Skeleton
from CovidLesionSegLogic.phantom.trees import LungTrees, make_trees


@dataclass(frozen=True, eq=False)
class Patient:
    """Geometry in LPS mm; the same seed gives the same patient, with or without lesions."""

    chest: Chest
    skeleton: Skeleton
    trees: LungTrees
    lesions: list[Lesion]
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


def draw_patient(seed: int, severity: str) -> Patient:
    """The patient of ``seed`` with the opacities of ``severity``."""
    patient = _healthy(seed)
    # A stream of its own, so that the anatomy is the same whatever the severity.
    rng = np.random.default_rng([seed, 5])
    return replace(patient, lesions=place_lesions(patient.chest, severity, rng))
