"""Studies one after the other in this very process: inside the Slicer application.

There, the MRML libraries that write Slicer's files belong to the application's own process and
main thread. The next study is read meanwhile in another thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from CovidLesionSegLogic.batch import process
from CovidLesionSegLogic.batch.outcome import DONE, FAILED, Listener, Outcome
from CovidLesionSegLogic.batch.settings import Settings, StopBatchError
from CovidLesionSegLogic.batch.study import Study
from CovidLesionSegLogic.engine import Cancel
from CovidLesionSegLogic.errors import CancelledError, CovidLesionSegError, InputError
from CovidLesionSegLogic.models import KeptNetworks
from CovidLesionSegLogic.pipeline import check_options


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

    def run(self, studies: Sequence[Study]) -> None:
        """Do all studies; the errors are those of :meth:`.local.LocalRun.run`."""
        check_options(self._settings.options)
        with ThreadPoolExecutor(1) as reader:
            ahead = [reader.submit(process.load, self._job(study)) for study in studies[:1]]
            for number, study in enumerate(studies):
                self._cancel.check()
                loaded = ahead.pop()
                if number + 1 < len(studies):
                    ahead.append(reader.submit(process.load, self._job(studies[number + 1])))
                try:
                    outcome = self._outcome(study, loaded.result)
                except BaseException:
                    self._cancel.cancel()  # the reader stops too
                    raise
                self._listener.outcome(outcome)

    def _outcome(self, study: Study, load: Callable[[], process.Loaded]) -> Outcome:
        try:
            segmented = process.segment(load(), self._networks)
            return Outcome(study, DONE, process.write(segmented))
        except (StopBatchError, CancelledError):
            raise
        except MemoryError:
            self._networks.clear()
            error: Exception = InputError("There is not enough memory for this CT.")
        except CovidLesionSegError as failure:
            error = failure
        except Exception as failure:  # noqa: BLE001 - the next study must be tried
            error = CovidLesionSegError(f"internal error: {type(failure).__name__}: {failure}.")
        hidden = self._settings.pseudonymise
        return Outcome(study, FAILED, None, process.failure_text(error, study, pseudonymise=hidden))

    def _job(self, study: Study) -> process.Job:
        def progress(stage: str, done: int, total: int) -> None:
            self._listener.progress(study, stage, done, total)

        return process.Job(study, self._settings, self._results, progress, self._cancel)
