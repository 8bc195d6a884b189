"""A part of the report: what is shown, and the same as files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from CovidLesionSegLogic.assess.tables.document import Block


@dataclass(frozen=True)
class Section:
    """Blocks of the report, and CSV rows by file name."""

    blocks: tuple[Block, ...]
    csvs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def as_png(draw: Callable[[Path], None]) -> bytes:
    """The bytes of what ``draw`` writes to the path it is given."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figure.png"
        draw(path)
        return path.read_bytes()
