"""The processors of this machine and how they are divided among worker processes."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """What one worker process gets: a device by name, and a number of CPU threads."""

    device: str
    threads: int


def cpu_count() -> int:
    """Number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def shares(workers: int, device: str, gpus: int, cpus: int | None = None) -> list[Share]:
    """The machine divided among ``workers`` processes.

    Parameters
    ----------
    workers
        Number of processes; 0: one per GPU that is used, one in all on the CPU, where a second one
        takes its memory again and saves a tenth of the time (docs/batch.md).
    device
        As the user asked: "auto", "cpu", "cuda", "cuda:N" or "mps".
    gpus
        Number of NVIDIA GPUs that can be used.
    cpus
        Number of CPU cores; None: those of this machine.
    """
    cpus = cpus or cpu_count()
    spread = device in ("auto", "cuda") and gpus > 0
    count = workers or (gpus if spread else 1)
    threads = max(1, cpus // count)
    return [Share(f"cuda:{i % gpus}" if spread else device, threads) for i in range(count)]
