"""What is asked of a result so that it can be shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.quantify import Quantification

DISCLAIMER = "Research software - not for clinical use"


class ShownClass(Protocol):
    """A lesion class: its name, label value and colour (red, green, blue; 0 to 255)."""

    @property
    def name(self) -> str:
        """Name shown to people."""

    @property
    def label(self) -> int:
        """Value in the label map."""

    @property
    def color(self) -> tuple[int, int, int]:
        """Red, green, blue, 0 to 255."""


class ShownResult(Protocol):
    """A segmentation to report on; ``pipeline.SegmentationResult`` fits.

    ``labels`` and ``lungs`` are (z, y, x) on the CT's own grid; lungs 1 right, 2 left.
    """

    @property
    def ct(self) -> CTVolume:
        """The CT, own grid."""

    @property
    def labels(self) -> NDArray[np.uint8]:
        """Lesion labels."""

    @property
    def lungs(self) -> NDArray[np.uint8]:
        """Lung labels."""

    @property
    def classes(self) -> Sequence[ShownClass]:
        """The lesion classes."""

    @property
    def quantification(self) -> Quantification:
        """The numbers."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """How the result came about."""

    @property
    def warnings(self) -> Sequence[str]:
        """What a person should know first."""


def all_warnings(result: ShownResult) -> list[str]:
    """Warnings of the result, the CT and the numbers, each once, in that order."""
    return list(
        dict.fromkeys([*result.warnings, *result.ct.warnings, *result.quantification.warnings])
    )


def model_name(provenance: Mapping[str, Any]) -> str:
    """The model as people would say it: title or name, then the version; "" where unknown."""
    model = provenance.get("model")
    if isinstance(model, Mapping):
        name = str(model.get("title") or model.get("name") or "")
        version = model.get("version")
        return f"{name} {version}".strip() if version else name
    return "" if model is None else str(model)
