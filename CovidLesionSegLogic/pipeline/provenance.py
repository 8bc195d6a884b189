"""Where a result comes from, so that its numbers can be quoted and repeated."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from typing import Any

import numpy as np

import CovidLesionSegLogic
from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.models import ModelCard


def model_record(card: ModelCard | None) -> dict[str, Any] | None:
    """Name, version and weight checksum of a model."""
    if card is None:
        return None
    return {"name": card.name, "version": card.version, "sha256": card.weights.sha256}


def input_record(ct: CTVolume) -> dict[str, Any]:
    """The input's identifiers and geometry (LPS, mm)."""
    return {
        "name": ct.name,
        **ct.source,
        "shape_zyx": list(ct.shape),
        "spacing_ijk_mm": list(ct.spacing),
        "origin_lps_mm": list(ct.origin),
    }


def software_record() -> dict[str, Any]:
    """Versions of this software and of what computes below it."""
    import torch

    return {
        "name": "CovidLesionSeg",
        "version": CovidLesionSegLogic.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": platform.system(),
    }


def now() -> str:
    """The time, ISO 8601, UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
