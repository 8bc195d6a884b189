"""A worker's result on the parent's side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from CovidLesionSegLogic.batch.exchange import open_placed
from CovidLesionSegLogic.ct.box import Placed
from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.errors import CovidLesionSegError, RequestError, quoted
from CovidLesionSegLogic.models import LesionClass
from CovidLesionSegLogic.pipeline import GateResult
from CovidLesionSegLogic.quantify import Quantification


@dataclass(frozen=True, eq=False)
class HandedResult:
    """As :class:`~CovidLesionSegLogic.pipeline.SegmentationResult`, with boxes for arrays.

    ``ct`` is the grid alone; ``probability`` has a box per class, or is None; ``folder`` is where
    the CT was handed over, for further requests.
    """

    ct: CTVolume
    labels: Placed
    lungs: Placed
    probability: tuple[Placed, ...] | None
    classes: tuple[LesionClass, ...]
    quantification: Quantification
    provenance: dict[str, Any]
    warnings: tuple[str, ...]
    gate: GateResult | None
    folder: Path


def read_result(told: Mapping[str, Any], folder: Path, grid: CTVolume) -> HandedResult:
    """What a worker answered to "segment" for the CT of ``grid`` in ``folder``.

    Raises
    ------
    InputError
        A file is missing or damaged.
    CovidLesionSegError
        The answer is not understood: the worker is of another version.
    """
    try:
        numbers = told["numbers"]
        maps = told.get("probability")
        return HandedResult(
            ct=grid,
            labels=open_placed(told["labels"], folder),
            lungs=open_placed(told["lungs"], folder),
            probability=None if maps is None else tuple(open_placed(m, folder) for m in maps),
            classes=tuple(read_class(one) for one in told["classes"]),
            quantification=Quantification.from_dict(numbers),
            provenance=dict(numbers["provenance"]),
            warnings=tuple(numbers["warnings"]),
            gate=None if numbers["gate"] is None else GateResult.from_dict(numbers["gate"]),
            folder=folder,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CovidLesionSegError(
            f"The answer of the program that computes is not understood ({error}): restart Slicer."
        ) from error


def read_class(data: Mapping[str, Any]) -> LesionClass:
    """A lesion class from a message; RequestError where it is none."""
    try:
        return LesionClass(**{**data, "color": tuple(data["color"])})
    except (TypeError, ValueError, KeyError) as error:
        raise RequestError(f"A lesion class of the request is wrong ({quoted(error)}).") from error
