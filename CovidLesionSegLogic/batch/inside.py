"""Studies one after the other in this very process: inside the Slicer application.

There, the MRML libraries that write Slicer's files belong to the application's own process and
main thread. The next study is read meanwhile in another thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from CovidLesionSegLogic.batch import process
from CovidLesionSegLogic.batch.outcome import DONE, FAILED, Listener, Outcome
from CovidLesionSegLogic.batch.settings import Settings, StopBatchError
from CovidLesionSegLogic.batch.study import Study
from CovidLesionSegLogic.batch.supply import Supply
from CovidLesionSegLogic.engine import Cancel
from CovidLesionSegLogic.engine.memory import is_out_of_memory
from CovidLesionSegLogic.errors import NO_MEMORY, CancelledError, CovidLesionSegError, InputError
from CovidLesionSegLogic.models import KeptNetworks
from CovidLesionSegLogic.pipeline import check_options

IN_HAND = 2
"""Studies at a time: one is computed, one read."""
LOOK_S = 0.1


class InsideRun:
    """One run of studies in the calling thread; see :class:`.local.LocalRun` for the arguments."""

    def __init__(
        self,
        settings: Settings,
        results: Path,
        listener: Listener,
        *,
        cancel: Cancel | None = None,
    ) -> None:
        self._settings, self._results, self._listener = settings, results, listener
        self._cancel = cancel or Cancel()
        self._networks = KeptNetworks()

    def run(self, supply: Supply) -> None:
        """Do all studies; the errors are those of :meth:`.local.LocalRun.run`."""
        check_options(self._settings.options)
        ahead: deque[tuple[Study, Future[process.Loaded]]] = deque()
        with ThreadPoolExecutor(1) as reader:
            while ahead or not supply.ended:
                self._cancel.check()
                for outcome in supply.failed():
                    self._listener.outcome(outcome)
                while len(ahead) < IN_HAND and (study := supply.take()) is not None:
                    ahead.append((study, reader.submit(process.load, self._job(study))))
                if not ahead:
                    time.sleep(LOOK_S)
                    continue
                study, loaded = ahead.popleft()
                try:
                    self._listener.outcome(self._outcome(study, loaded.result))
                except BaseException:
                    self._cancel.cancel()  # the reader stops too
                    raise

    def _outcome(self, study: Study, load: Callable[[], process.Loaded]) -> Outcome:
        try:
            segmented = process.segment(load(), self._networks)
            return Outcome(study, DONE, process.write(segmented))
        except (StopBatchError, CancelledError):
            raise
        except CovidLesionSegError as failure:
            error: Exception = failure
        except Exception as failure:  # noqa: BLE001 - the next study must be tried
            error = CovidLesionSegError(f"internal error: {type(failure).__name__}: {failure}.")
            if is_out_of_memory(failure):
                self._networks.clear()
                error = InputError(NO_MEMORY)
        hidden = self._settings.pseudonymise
        return Outcome(study, FAILED, None, process.failure_text(error, study, pseudonymise=hidden))

    def _job(self, study: Study) -> process.Job:
        def progress(stage: str, done: int, total: int) -> None:
            self._listener.progress(study, stage, done, total)

        return process.Job(study, self._settings, self._results, progress, self._cancel)
