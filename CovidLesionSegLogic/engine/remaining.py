"""How long a stage will still take, from how fast it went so far."""

from __future__ import annotations

import time
from collections.abc import Callable

FIRST_ESTIMATE_S = 2.0


class TimeLeft:
    """Told of every progress, it answers the seconds left of the stage, or None.

    The rate is that since the stage's first report; nothing is said in its first two seconds, nor
    before a step is done. ``clock`` gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage = ""
        self._since = 0.0
        self._first = 0

    def __call__(self, stage: str, done: int, total: int) -> float | None:
        """Seconds from now to the end of the stage."""
        now = self._clock()
        if stage != self._stage:
            self._stage, self._since, self._first = stage, now, done
        passed, steps = now - self._since, done - self._first
        if steps <= 0 or passed < FIRST_ESTIMATE_S or done >= total:
            return None
        return passed / steps * (total - done)


def duration_text(seconds: float) -> str:
    """As people say it: "40 s", "3 min"; coarser the longer, for it is an estimate."""
    if seconds < 55:
        return f"{max(5, 5 * round(seconds / 5))} s"
    return f"{max(1, round(seconds / 60))} min"
