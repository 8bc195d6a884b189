"""Studies through an existing Dask cluster, whose workers share storage with the caller.

A study is a task. Only as many tasks are handed out as there are workers, for Dask holds the loss
of a worker against every task that was waiting for it.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from CovidLesionSegLogic.batch import cluster_task
from CovidLesionSegLogic.batch.outcome import DONE, FAILED, Listener, Outcome
from CovidLesionSegLogic.batch.place import HIDDEN
from CovidLesionSegLogic.batch.record import Record
from CovidLesionSegLogic.batch.session import error_of
from CovidLesionSegLogic.batch.settings import Settings, StopBatchError
from CovidLesionSegLogic.batch.study import Study
from CovidLesionSegLogic.batch.supply import Supply
from CovidLesionSegLogic.engine import Cancel
from CovidLesionSegLogic.errors import CancelledError, CovidLesionSegError, RequestError

RETRIES = 2
"""For a study whose task raised what is nobody's fault."""
CONNECT_S = 15
LOOK_S = 0.5
PATIENCE_S = 10.0
"""For workers that were asked to stop."""


class ClusterRun:
    """One run of studies on a cluster.

    Parameters
    ----------
    address
        Of the scheduler, as in ``tcp://host:8786``.
    settings
        The same for all.
    results
        Folder of the results, the same path on every worker.
    """

    def __init__(
        self,
        address: str,
        settings: Settings,
        results: Path,
        listener: Listener,
        *,
        cancel: Cancel | None = None,
    ) -> None:
        self._address, self._settings = address, settings
        self._results, self._listener = results, listener
        self._cancel = cancel or Cancel()
        self._in_hand: dict[str, Study] = {}
        self._open: dict[str, tuple[Any, Study]] = {}
        self._stop = results / HIDDEN / f"stop-{uuid.uuid4().hex[:12]}"

    def run(self, supply: Supply) -> None:
        """Do all studies; the listener is told of each.

        Raises
        ------
        RequestError
            The cluster cannot be reached, lacks the software or does not see the results folder.
        StopBatchError
            The results cannot be written.
        CancelledError
            Stopping was asked for; what was being done has been asked to stop.
        """
        with self._connected() as client:
            threads = self._check(client)
            client.subscribe_topic(cluster_task.TOPIC, self._told)
            try:
                self._do(client, supply, threads)
            except BaseException as error:
                with contextlib.suppress(OSError):
                    self._stop.touch()
                if isinstance(error, Exception):  # not a second Ctrl-C
                    if client.status != "running" and not isinstance(error, CovidLesionSegError):
                        raise self._gone() from error
                    self._wait_for_the_end()
                raise
            finally:
                with contextlib.suppress(Exception):  # the scheduler may be gone
                    client.unsubscribe_topic(cluster_task.TOPIC)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Any]:
        try:
            from distributed import Client
        except ImportError as error:
            raise RequestError(
                "A cluster needs Dask, which is not installed here; run 'pip install "
                '"covid-lesion-seg[cluster]"\'.'
            ) from error
        try:
            client = Client(self._address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise RequestError(
                f"The cluster at {self._address} cannot be reached ({error}); check the address of "
                "its scheduler, such as tcp://host:8786."
            ) from error
        try:
            yield client
        finally:
            client.close()

    def _check(self, client: Any) -> int:
        """That every worker can do the work; the CPU threads that each may use."""
        from CovidLesionSegLogic import __version__

        probe = self._results / HIDDEN / f"probe-{uuid.uuid4().hex[:12]}"
        probe.touch()
        try:
            told = client.run(cluster_task.describe, str(probe))
        except Exception as error:  # whatever the workers raise, a missing package above all
            raise RequestError(
                f"The workers of the cluster at {self._address} cannot run this software "
                f"({type(error).__name__}: {error}); install CovidLesionSeg {__version__} there."
            ) from error
        finally:
            probe.unlink(missing_ok=True)
        if not told:
            raise RequestError(
                f"The cluster at {self._address} has no workers; start some and try again."
            )
        for worker, one in told.items():
            if one["version"] != __version__:
                raise RequestError(
                    f"The worker {worker} has CovidLesionSeg {one['version']}, this is "
                    f"{__version__}; install the same version on all."
                )
            if not one["sees"]:
                raise RequestError(
                    f"The worker {worker} does not see the results folder {self._results}; choose "
                    "one on storage that all workers share, under the same path."
                )
        count = Counter(_host(worker) for worker in told)
        return max(1, min(one["cpus"] // count[_host(w)] for w, one in told.items()))

    def _do(self, client: Any, supply: Supply, threads: int) -> None:
        from distributed import as_completed

        open_tasks = self._open
        queue = as_completed(loop=client.loop)
        while open_tasks or not supply.ended:
            if self._cancel.cancelled():
                raise CancelledError
            for outcome in supply.failed():
                self._listener.outcome(outcome)
            room = max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
            while len(open_tasks) < room and (study := supply.take()) is not None:
                self._in_hand[study.name] = study
                future = self._submit(client, study, threads)
                open_tasks[future.key] = (future, study)
                queue.add(future)
            for future in self._finished(client, queue):
                _, study = open_tasks.pop(future.key)
                del self._in_hand[study.name]
                self._take(study, future)

    def _finished(self, client: Any, queue: Any) -> list[Any]:
        """Tasks that have ended, after a short wait."""
        time.sleep(LOOK_S)
        if client.status not in ("running", "connecting"):
            raise self._gone()
        ended: list[Any] = queue.next_batch(block=False)
        return ended

    def _gone(self) -> RequestError:
        return RequestError(
            f"The cluster at {self._address} is gone; start it and give the same command "
            "again, which goes on where this one ended."
        )

    def _wait_for_the_end(self) -> None:
        """Of what workers have in hand: the next run is not to meet them at work."""
        until = time.monotonic() + PATIENCE_S
        while any(future.status == "pending" for future, _ in self._open.values()):
            if time.monotonic() > until:
                break
            time.sleep(LOOK_S)

    def _submit(self, client: Any, study: Study, threads: int) -> Any:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        gpus = any(one.get("resources", {}).get("GPU") for one in workers.values())
        wants_gpu = gpus and self._settings.options.device != "cpu"
        return client.submit(
            cluster_task.do_study,
            cluster_task.Sealed(replace(study, path=study.path.absolute()).to_dict()),
            self._settings.to_dict(),
            str(self._results),
            str(self._stop),
            threads,
            key=f"{study.name}-{uuid.uuid4().hex[:8]}",
            retries=RETRIES,
            resources={"GPU": 1} if wants_gpu else None,
            pure=False,
        )

    def _take(self, study: Study, future: Any) -> None:
        if future.status == "cancelled":  # by nobody here: the scheduler forgot it
            raise self._gone()
        if future.status != "finished":
            error = future.exception() if future.status == "error" else None
            lost = type(error).__name__ == "KilledWorker"
            why = (
                "Every worker that took it was lost, perhaps for lack of memory."
                if lost
                else f"internal error: {type(error).__name__}: {error}."
            )
            self._listener.outcome(Outcome(study, FAILED, None, why))
            return
        result = future.result()
        if "error" not in result:
            self._listener.outcome(Outcome(study, DONE, Record.from_dict(result)))
            return
        failure = error_of(result["error"])
        if isinstance(failure, (StopBatchError, CancelledError)):
            raise failure
        self._listener.outcome(Outcome(study, FAILED, None, str(failure)))

    def _told(self, event: Any) -> None:
        told = event[1] if isinstance(event, (tuple, list)) else event
        study = self._in_hand.get(told.get("name", ""))
        if study is not None:
            self._listener.progress(study, told["stage"], told["done"], told["total"])


def _host(address: str) -> str:
    return address.rpartition("/")[2].rpartition(":")[0]
