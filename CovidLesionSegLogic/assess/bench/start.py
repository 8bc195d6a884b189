"""Seconds from the start of a process until it answers."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from statistics import median
from typing import Any

from CovidLesionSegLogic.errors import InputError

_COMMAND = [sys.executable, "-m", "CovidLesionSegLogic"]
_LONGEST = 120.0


def cold_starts(repeats: int) -> list[dict[str, Any]]:
    """Of ``segment --help``, of the worker, and of the worker until a model is loaded."""
    taken: dict[str, list[float]] = {"segment --help": [], "worker": [], "worker, model loaded": []}
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(
            [*_COMMAND, "segment", "--help"],
            stdout=subprocess.DEVNULL,
            timeout=_LONGEST,
            check=True,
        )
        taken["segment --help"].append(time.perf_counter() - start)
        ready, loaded = _worker()
        taken["worker"].append(ready)
        taken["worker, model loaded"].append(loaded)
    return [{"start": name, "seconds": median(seconds)} for name, seconds in taken.items()]


def _worker() -> tuple[float, float]:
    start = time.perf_counter()
    with (
        tempfile.TemporaryDirectory(prefix="CovidLesionSeg-") as exchange,
        subprocess.Popen(
            [*_COMMAND, "worker", "--exchange", exchange],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as worker,
    ):
        assert worker.stdin is not None
        assert worker.stdout is not None
        events = map(json.loads, worker.stdout)
        times = []
        for request in ({"do": "prepare", "id": 1, "options": {"device": "cpu"}}, {"do": "exit"}):
            found = next((e for e in events if e["event"] in ("ready", "done", "error")), None)
            if found is None or found["event"] == "error":
                why = "it ended" if found is None else str(found.get("message", found))
                raise InputError(f"The worker did not answer the benchmark: {why}")
            times.append(time.perf_counter() - start)
            worker.stdin.write(json.dumps(request) + "\n")
            worker.stdin.flush()
        worker.communicate(timeout=_LONGEST)
    return times[0], times[1]
