"""What became of a study, and who is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from CovidLesionSegLogic.batch.record import Record
from CovidLesionSegLogic.batch.study import Study

DONE, KEPT, FAILED, WAITING = "done", "kept", "failed", "not done"
"""Finished in this run; finished before and still valid; not to be had; not come to its end."""


@dataclass(frozen=True)
class Outcome:
    """What became of a study.

    Parameters
    ----------
    status
        :data:`DONE`, :data:`KEPT`, :data:`FAILED` or :data:`WAITING`.
    record
        Of the results, where there are.
    reason
        One sentence, where it failed.
    details
        For who looks for the fault.
    """

    study: Study
    status: str
    record: Record | None = None
    reason: str = ""
    details: str = ""


class Listener(Protocol):
    """Who is told how the studies get on."""

    def progress(self, study: Study, stage: str, done: int, total: int) -> None:
        """A study is so far."""

    def outcome(self, outcome: Outcome) -> None:
        """A study has come to its end."""
