"""How long the event loop stood still, by the clock and by the processor's time of this thread."""

from __future__ import annotations

import time

from PySide6 import QtCore

_INTERVAL_MS = 5


class GapProbe:
    """Longest time, in seconds, between two turns of the event loop; used as a context manager.

    ``longest`` is by the clock: time in which nobody processes events, or in which a busy machine
    gives this process no turn, counts as well. ``longest_own`` is what this thread itself computed
    between two turns.
    """

    def __init__(self) -> None:
        self.longest = self.longest_own = 0.0
        self._last = self._last_own = 0.0
        self._timer = QtCore.QTimer()
        self._timer.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
        self._timer.setInterval(_INTERVAL_MS)
        self._timer.timeout.connect(self._tick)

    def _tick(self) -> None:
        now, own = time.monotonic(), time.thread_time()
        self.longest = max(self.longest, now - self._last - _INTERVAL_MS / 1000)
        self.longest_own = max(self.longest_own, own - self._last_own)
        self._last, self._last_own = now, own

    def start(self) -> None:
        self.longest = self.longest_own = 0.0
        self._last, self._last_own = time.monotonic(), time.thread_time()
        self._timer.start()

    def stop(self) -> float:
        """Stop, and give the longest gap."""
        if self._timer.isActive():
            self._tick()
            self._timer.stop()
        return self.longest

    def __enter__(self) -> GapProbe:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()
