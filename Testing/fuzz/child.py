"""One input in a forked process with limits: a crash is an outcome there, not the end here."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from target import FINDING, Verdict, as_json, judge, silent

WALL_PER_CPU_SECOND = 3


@dataclass(frozen=True)
class Limits:
    """CPU seconds, and MiB of address space on top of what the parent has."""

    seconds: int = 20
    megabytes: int = 1024


def run(kind: str, folder: Path, limits: Limits) -> tuple[Verdict, float]:
    """The verdict on an input, and the CPU seconds that it took."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _work(kind, folder, limits, writing)
    os.close(writing)
    told = _heard(reading, limits.seconds * WALL_PER_CPU_SECOND)
    os.close(reading)
    if told is None:
        os.kill(child, signal.SIGKILL)
    _, status, used = os.wait4(child, 0)
    cpu = used.ru_utime + used.ru_stime
    if told is None:
        return Verdict(FINDING, f"no end after {limits.seconds} s", "timeout (waiting)"), cpu
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGXCPU:
            return Verdict(FINDING, f"more than {limits.seconds} s of CPU", "timeout"), cpu
        return Verdict(FINDING, "", f"crash: {signal.Signals(number).name}"), cpu
    if not told:
        return Verdict(FINDING, f"exit {os.waitstatus_to_exitcode(status)}", "crash: exit"), cpu
    return Verdict(**json.loads(told)), cpu


def _work(kind: str, folder: Path, limits: Limits, writing: int) -> None:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        most = now + (limits.megabytes << 20)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CPU, (limits.seconds, limits.seconds + 5))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with silent():
            verdict = judge(kind, folder)
        os.write(writing, as_json(verdict)[:60000])
    finally:
        os._exit(0)


def _heard(reading: int, seconds: float) -> bytes | None:
    """All that the child says; None where it does not end in time."""
    told = b""
    until = time.monotonic() + seconds
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return None
        part = os.read(reading, 65536)
        if not part:
            return told
        told += part
