"""The one parameter object of a segmentation, for panel, console, command line and worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any

from CovidLesionSegLogic.engine import AUTO, ENGINES
from CovidLesionSegLogic.errors import InputError, RequestError
from CovidLesionSegLogic.models import DEFAULT_MODEL

MOST_SLICES = 10_000
"""In one pass of a network: more than any CT has."""
_NONE = type(None)
_KINDS: dict[str, tuple[type, ...]] = {
    "model": (str,),
    "device": (str,),
    "threshold": (Real, _NONE),
    "lungs": (str, PathLike, _NONE),
    "regions": (str, PathLike, _NONE),
    "region_names": (Mapping, _NONE),
    "gate": (bool, _NONE),
    "flips": (bool, _NONE),
    "batch_size": (Integral, _NONE),
    "engine": (str,),
    "probability": (bool,),
}


def _fits(value: object, kinds: tuple[type, ...]) -> bool:
    """As isinstance, but true and false are no numbers."""
    return bool in kinds if isinstance(value, bool) else isinstance(value, kinds)


@dataclass(frozen=True)
class SegmentOptions:
    """What the user may choose; wrong values raise RequestError, missing files InputError.

    Parameters
    ----------
    model
        Name of an installed lesion model.
    device
        "auto", "cpu", "cuda", "cuda:N" or "mps".
    threshold
        Probability from which a voxel counts, for every class; None: as the model card says.
    lungs
        A lung mask file on the CT's grid (1 right, 2 left, or 1 for both) instead of an own one.
    regions
        A label map file (lobes, for instance) for which figures are given too.
    region_names
        Label to name of the regions, where their file does not say ("left upper lobe").
    gate
        Whether the model's slice classifier decides which slices are segmented; None: as the
        model was made, that is where it has one. True is refused for a model without one.
    flips
        Whether each slice's mirror image is looked at too, which takes twice as long; None: as
        the model card says.
    batch_size
        Slices that go through the network together; None: by device.
    engine
        "torch", "onnxruntime" (faster on CPUs), or "auto", the faster one that is installed.
    probability
        Keep the probability maps in the result.
    """

    model: str = DEFAULT_MODEL
    device: str = "auto"
    threshold: float | None = None
    lungs: Path | None = None
    regions: Path | None = None
    region_names: Mapping[int, str] | None = None
    gate: bool | None = None
    flips: bool | None = None
    batch_size: int | None = None
    engine: str = AUTO
    probability: bool = False

    def __post_init__(self) -> None:
        self._check_types()
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise RequestError(
                f"The threshold must lie between 0 and 1 (both excluded), not {self.threshold:g}."
            )
        if self.engine not in ENGINES:
            raise RequestError(f"The engine must be one of {', '.join(ENGINES)}.")
        if self.batch_size is not None and not 1 <= self.batch_size < MOST_SLICES:
            raise RequestError(
                f"The batch size must be at least 1 and below {MOST_SLICES}, not {self.batch_size}."
            )
        if self.region_names is not None and self.regions is None:
            raise RequestError("Region names need a region map; give it with --regions.")
        for field in ("lungs", "regions"):
            value = getattr(self, field)
            if value is None:
                continue
            object.__setattr__(self, field, Path(value))
            try:
                there = Path(value).is_file()
            except OSError as error:  # no right to look, or no possible name
                raise InputError(
                    f"The {field} file {value} cannot be reached ({error.strerror or error}); "
                    "check its path and its rights."
                ) from error
            if not there:
                raise InputError(f"The {field} file {value} does not exist; check its path.")

    def _check_types(self) -> None:
        """Programs hand options over as JSON, in which anything may stand anywhere."""
        for name, kinds in _KINDS.items():
            value = getattr(self, name)
            if not _fits(value, kinds):
                raise RequestError(
                    f"The option '{name}' cannot be a value of type {type(value).__name__}."
                )
        names: Mapping[Any, Any] = self.region_names or {}
        if not all(isinstance(k, Integral) and isinstance(v, str) for k, v in names.items()):
            raise RequestError("Region names must be a table of whole numbers and texts.")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, for the provenance."""
        data = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}
        if self.region_names is not None:
            data["region_names"] = {str(k): v for k, v in self.region_names.items()}
        return data
