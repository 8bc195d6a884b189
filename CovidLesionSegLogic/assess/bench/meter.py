"""Seconds and peak memory, stage by stage."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

from CovidLesionSegLogic.pipeline.resources import peak_memory_mb

_RESET = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Cost:
    """Seconds, and the peak of resident memory in MB where it can be known for the stage alone."""

    seconds: float
    peak_mb: float | None


class Meter:
    """Notes what each stage costs, one after the other; also a progress callback.

    The peak is of a stage alone on Linux, where it can be reset; elsewhere it is unknown.
    """

    def __init__(self) -> None:
        self.stages: dict[str, Cost] = {}
        self._name = ""
        self._start = 0.0
        self._resets = False

    def __call__(self, stage: str, done: int, total: int) -> None:
        """As a progress callback: a stage lasts until another one reports."""
        if stage != self._name:
            self.begin(stage)

    def begin(self, stage: str) -> None:
        """End the stage before, if any, and begin ``stage``."""
        self.end()
        self._name = stage
        self._resets = _reset_peak()
        self._start = time.perf_counter()

    def end(self) -> None:
        """End the stage."""
        if not self._name:
            return
        seconds = time.perf_counter() - self._start
        peak = _peak_mb() if self._resets else None
        before = self.stages.get(self._name, Cost(0.0, None))
        highest = max((p for p in (before.peak_mb, peak) if p is not None), default=None)
        self.stages[self._name] = Cost(before.seconds + seconds, highest)
        self._name = ""

    @property
    def seconds(self) -> float:
        """Of all stages together."""
        return sum(cost.seconds for cost in self.stages.values())

    @property
    def peak_mb(self) -> float | None:
        """The highest of the stages; of the process so far where stages are not known."""
        peaks = [c.peak_mb for c in self.stages.values() if c.peak_mb is not None]
        return max(peaks) if peaks else peak_memory_mb()


def _reset_peak() -> bool:
    try:
        _RESET.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _peak_mb() -> float | None:
    match = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text(encoding="ascii"))
    return round(int(match[1]) * 1024 / 1e6, 1) if match else None
