"""How long a training took, over all the processes that it was resumed in."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from CovidLesionSegLogic.assess.tables.result import read_json
from CovidLesionSegLogic.engine import Progress
from CovidLesionSegLogic.quantify.export import write_json


class Stopwatch:
    """Adds to a file how long a training took and for how many steps, also when it is stopped.

    What a killed process did is not known: ``timed_steps`` then is less than ``steps``, at which
    the training ended.
    """

    def __init__(self, path: Path, progress: Progress) -> None:
        self._path, self._progress = path, progress
        self._first: int | None = None
        self._last = 0

    def progress(self, stage: str, done: int, total: int) -> None:
        """Hand on, and notice at which step this process began."""
        self._first = done if self._first is None else self._first
        self._last = done
        self._progress(stage, done, total)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Time the body."""
        before = read_json(self._path) or {"seconds": 0.0, "timed_steps": 0, "sessions": 0}
        begun = time.monotonic()
        try:
            yield
        finally:
            steps = self._last - (self._first or 0)
            write_json(
                {
                    "seconds": before["seconds"] + time.monotonic() - begun,
                    "timed_steps": before["timed_steps"] + steps,
                    "sessions": before["sessions"] + 1,
                    "steps": self._last,
                },
                self._path,
            )
