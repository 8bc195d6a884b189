"""Where a run gets its studies from, one after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Protocol

from CovidLesionSegLogic.batch.outcome import Outcome
from CovidLesionSegLogic.batch.study import Study


class Supply(Protocol):
    """Studies that may come only while the run goes on; asked from one thread."""

    @property
    def total(self) -> int:
        """Number of studies in all."""

    @property
    def ended(self) -> bool:
        """Whether no more will come."""

    def take(self) -> Study | None:
        """The next study; None where there is none yet, or none any more."""

    def put_back(self, study: Study) -> None:
        """It was not done after all."""

    def failed(self) -> list[Outcome]:
        """Studies that will not come, each told once."""


class Waiting:
    """Studies that are all there."""

    def __init__(self, studies: Iterable[Study]) -> None:
        self._studies = deque(studies)
        self.total = len(self._studies)

    @property
    def ended(self) -> bool:
        """Whether none is left."""
        return not self._studies

    def take(self) -> Study | None:
        """The next one."""
        return self._studies.popleft() if self._studies else None

    def put_back(self, study: Study) -> None:
        """Comes next."""
        self._studies.appendleft(study)

    def failed(self) -> list[Outcome]:
        """None."""
        return []
