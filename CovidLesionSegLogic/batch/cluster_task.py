"""What a worker of a Dask cluster does: one study at a time, its networks kept."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from CovidLesionSegLogic import __version__
from CovidLesionSegLogic.batch import process
from CovidLesionSegLogic.batch.processors import cpu_count
from CovidLesionSegLogic.batch.settings import Settings, StopBatchError
from CovidLesionSegLogic.batch.study import Study
from CovidLesionSegLogic.engine import Cancel
from CovidLesionSegLogic.errors import CovidLesionSegError
from CovidLesionSegLogic.models import KeptNetworks

TOPIC = "covid-lesion-seg"
SECONDS_BETWEEN = 1.0

_networks = KeptNetworks()
_one_at_a_time = threading.Lock()


def describe(probe: str) -> dict[str, Any]:
    """What this worker is: software version, CPU cores, and whether it sees the file ``probe``."""
    return {"version": __version__, "cpus": cpu_count(), "sees": Path(probe).is_file()}


def do_study(
    study: dict[str, Any], settings: dict[str, Any], results: str, stop: str, threads: int
) -> dict[str, Any]:
    """Read, segment and write a study; its record, or under "error" why there is none.

    Parameters
    ----------
    study, settings
        As :meth:`Study.to_dict` and :meth:`Settings.to_dict` give them.
    results
        Folder on storage that all workers share.
    stop
        A file whose being there asks to stop.
    threads
        CPU threads for the networks.

    Raises
    ------
    Exception
        What is nobody's fault but the program's or the machine's: the cluster tries again,
        perhaps elsewhere.
    """
    import torch

    with _one_at_a_time:  # several threads of a worker would share its memory and its GPU
        torch.set_num_threads(threads)
        job = process.Job(
            study=Study.from_dict(study),
            settings=Settings.from_dict(settings),
            results=Path(results),
            progress=_Tell(study["name"]),
            cancel=_StopFile(Path(stop)),
        )
        try:
            return process.write(process.segment(process.load(job), _networks)).to_dict()
        except CovidLesionSegError as error:
            hidden = job.settings.pseudonymise
            text = process.failure_text(error, job.study, pseudonymise=hidden)
            told = {"code": error.exit_code, "message": text}
            return {"error": {**told, "stop": isinstance(error, StopBatchError)}}


class Sealed(dict[str, Any]):
    """A study on its way to a worker: Dask's logs show the arguments of what failed."""

    def __repr__(self) -> str:
        return f"<study {self['name']}>"


class _StopFile(Cancel):
    """Cancelled by a file, looked for once a second."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path, self._looked = path, 0.0

    def cancelled(self) -> bool:
        now = time.monotonic()
        if not super().cancelled() and now > self._looked + SECONDS_BETWEEN:
            self._looked = now
            if self._path.exists():
                self.cancel()
        return super().cancelled()


class _Tell:
    """Progress as events of the cluster, once a second at most."""

    def __init__(self, name: str) -> None:
        self._name, self._then = name, 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now < self._then + SECONDS_BETWEEN:
            return
        self._then = now
        from distributed import get_worker

        told = {"name": self._name, "stage": stage, "done": done, "total": total}
        get_worker().log_event(TOPIC, told)
