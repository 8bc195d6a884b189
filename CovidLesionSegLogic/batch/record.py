"""The record of a finished study: what it was made from, its files, the numbers for the summary.

It lies in the study's folder and comes there together with the results, so that there are results
exactly where there is a record.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

from CovidLesionSegLogic.batch.checksums import Inputs
from CovidLesionSegLogic.batch.record_checks import check_record
from CovidLesionSegLogic.ct.atomic import atomic_path
from CovidLesionSegLogic.pipeline import SegmentationResult

FORMAT = 1
_LONGEST = 1 << 24
"""Bytes of a record's file; ours have some thousands."""


@dataclass(frozen=True)
class Record:
    """One finished study.

    Parameters
    ----------
    name, key
        :attr:`Study.name` and :attr:`Study.key`.
    request
        :meth:`Settings.requests`.
    inputs
        The files it was made from.
    outputs
        Kind of file -> its name and size in bytes, in the study's folder.
    numbers
        What the summary shows, see :func:`numbers_of`.
    seconds
        Of reading and computing.
    stored
        Where it was sent, if it was.
    """

    name: str
    key: str
    request: str
    inputs: Inputs
    outputs: dict[str, dict[str, Any]]
    numbers: dict[str, Any]
    seconds: float = 0.0
    stored: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Record:
        """What :meth:`to_dict` wrote; KeyError, TypeError or ValueError where it did not."""
        if data["format"] != FORMAT:
            raise ValueError("a record of another version")
        known = {f.name: data[f.name] for f in fields(cls)}
        return cls(**{**known, "inputs": Inputs(**data["inputs"])})

    def whole(self, folder: Path) -> bool:
        """Whether all its files are there, in their sizes."""
        try:
            return all(
                (folder / one["file"]).stat().st_size == one["bytes"]
                for one in self.outputs.values()
            )
        except OSError:
            return False


def read_record(folder: Path) -> Record | None:
    """The record in a study's folder; None where there is none, or none that this program wrote."""
    path = folder / f"{folder.name}_batch.json"
    try:
        if not path.is_file():  # a pipe may never end
            return None
        with path.open("rb") as file:
            content = file.read(_LONGEST + 1)
        if len(content) > _LONGEST:
            return None
        data = json.loads(content.decode("utf-8"), parse_constant=_refuse)
        check_record(data)
        record = Record.from_dict(data)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return record if record.name == folder.name else None


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def write_record(record: Record, folder: Path) -> None:
    """Write the record into the study's folder, whole or not at all."""
    with atomic_path(folder / f"{record.name}_batch.json") as temporary:
        text = json.dumps(record.to_dict(), indent=1, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8", newline="\n")


def numbers_of(result: SegmentationResult) -> dict[str, Any]:
    """The numbers of a result for a table of many: volumes in mL, shares in percent of the lungs.

    ``classes`` has name, volume and share of each class; "infected" is the gate's view of the
    patient, a screening, None where it did not run.
    """
    q = result.quantification
    gate = result.gate
    return {
        # Not there where the results are to say nothing of the person.
        "study_uid": result.ct.source.get("study_uid"),
        "series_uid": result.ct.source.get("series_uid"),
        "model": result.provenance["model"]["name"],
        "slices": len(q.slices),
        "slices_with_lesion": len(q.slices_with_lesion),
        "lungs_ml": q.lungs.volume_ml,
        "classes": [
            {"name": c.name, "volume_ml": c.volume_ml, "share_percent": c.share_of_lungs_percent}
            for c in q.classes
        ],
        "total_ml": q.total.volume_ml,
        "total_percent": q.total.share_of_lungs_percent,
        "score_0_to_25": q.score_0_to_25,
        "slices_positive": None if gate is None else gate.positive,
        "infected": None if gate is None else gate.infected,
        "warnings": list(result.warnings),
    }
