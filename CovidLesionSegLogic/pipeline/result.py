"""What a segmentation gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.models import LesionClass
from CovidLesionSegLogic.pipeline.gate import GateResult
from CovidLesionSegLogic.quantify import Quantification


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """Lesions and lungs of one CT on its own grid, with numbers and provenance.

    Parameters
    ----------
    ct
        The input, on its own grid.
    labels
        (z, y, x), uint8: 0 background, else a class's ``label``.
    lungs
        (z, y, x), uint8: 1 the patient's right lung, 2 the left.
    probability
        (classes, z, y, x), float16, 0...1, in the order of ``classes``; None unless asked for.
    classes
        The model's lesion classes.
    quantification
        Volumes, shares, densities.
    provenance
        JSON-ready: software, model, checksum, options, input, device, seconds, memory.
    warnings
        What a person should know before trusting the result, one sentence each.
    gate
        What the model's slice classifier saw; None where it did not run.
    """

    ct: CTVolume
    labels: NDArray[np.uint8]
    lungs: NDArray[np.uint8]
    probability: NDArray[np.float16] | None
    classes: tuple[LesionClass, ...]
    quantification: Quantification
    provenance: dict[str, Any]
    warnings: tuple[str, ...] = ()
    gate: GateResult | None = None
