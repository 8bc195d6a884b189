"""The cards that come with the software, known by their content.

A card decides which weights are right (it has their SHA-256) and how they are used; what decides
that a card is right is this list, a part of the program. It holds for the folders that the
software was installed with; cards in folders of COVIDLESIONSEG_MODELS, and further ones put beside
the shipped ones, are their owner's own.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from CovidLesionSegLogic.errors import InputError

SHIPPED_CARDS = {
    "coarse-refine": "030ad0da2cf5dff5b99232836e6704a9ecb59ec3cebfddcad240973c8e48f7c2",
    "lungs": "a0dd6c2c42d8f975478f406fae3336222b1623959534b69d76b26a5f71243f39",
    "refnet": "e0d3f2984fdbbe4a241eaafbc25dd71cf7822371dbc1db8ad197473bb28a8c34",
}
"""Name -> :func:`checksum_of` its card. To be renewed with each card; a test says how."""


def checksum_of(data: Any) -> str:
    """SHA-256 of a card's values, whatever line ends and blanks its file has."""
    text = json.dumps(data, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def check_shipped(path: Path) -> None:
    """Raise InputError where the card of a shipped model is not the one that was shipped."""
    expected = SHIPPED_CARDS.get(path.stem)
    if expected is None:
        return
    if checksum_of(json.loads(path.read_text(encoding="utf-8"))) != expected:
        raise InputError(
            f"The model card {path} is not the one that came with this version; reinstall the "
            "extension, or keep a model of your own in a folder that COVIDLESIONSEG_MODELS names."
        )
