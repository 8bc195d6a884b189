"""What is asked of a result so that it can be shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.errors import CovidLesionSegError
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


@dataclass(frozen=True)
class ModelText:
    """What is said of the model; "" where unknown."""

    name: str = ""
    licence: str = ""
    citation: str = ""


def describe_model(provenance: Mapping[str, Any]) -> ModelText:
    """Title and version, licence and citation of the model that made a result.

    From the provenance; what it lacks comes from the installed model card of the same name and
    weights, if there is one.
    """
    record = provenance.get("model")
    if not isinstance(record, Mapping):
        record = {"name": record} if isinstance(record, str) else {}
    card = _installed_card(record)
    title = record.get("title") or getattr(card, "title", "") or record.get("name") or ""
    version = record.get("version") or ""
    return ModelText(
        name=f"{title} {version}".strip(),
        licence=str(record.get("licence") or getattr(card, "licence", "")),
        citation=str(record.get("citation") or getattr(card, "citation", "")),
    )


def software_name(provenance: Mapping[str, Any]) -> str:
    """Name and version of the software that made a result; "" where unknown."""
    record = provenance.get("software")
    if isinstance(record, Mapping):
        return f"{record.get('name', '')} {record.get('version', '')}".strip()
    return record if isinstance(record, str) else ""


def _installed_card(record: Mapping[str, Any]) -> Any:
    from CovidLesionSegLogic.models import get_card

    try:
        card = get_card(str(record.get("name", "")))
    except CovidLesionSegError:
        return None
    # Another model of the same name must not lend its licence to this result.
    return card if record.get("sha256") in (None, card.weights.sha256) else None
