"""One random patient: everything about the phantom that does not depend on the CT grid."""

from __future__ import annotations

from dataclasses import dataclass
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
    def draw(cls, seed: np.random.SeedSequence, severity: str) -> Patient:
        """A patient with the opacities of ``severity``."""
        # A stream each, so that the anatomy is the same whatever the severity.
        body, bones, lungs, disease, texture = (np.random.default_rng(s) for s in seed.spawn(5))
        chest = Chest(Habitus.draw(body))
        muscle = Profile(HEIGHTS, [130, 105, 78, 50, 30, 19, 14, 12, 12, 12, 12])
        return cls(
            chest=chest,
            skeleton=Skeleton.of(chest, bones),
            trees=make_trees(chest, lungs),
            lesions=place_lesions(chest, severity, disease),
            noise=Noise(texture),
            muscle=muscle,
            lung_hu=float(body.uniform(-895.0, -868.0)),
            gas_level=float(body.uniform(-58.0, -40.0)),
            table_y=float(chest.body_back(0.0)) + 5.0,
        )


@lru_cache(maxsize=4)
def draw_patient(seed: int, severity: str) -> Patient:
    """The patient of ``seed``, kept for the next grid: growing the vessels takes a second."""
    return Patient.draw(np.random.SeedSequence([seed, 0]), severity)
