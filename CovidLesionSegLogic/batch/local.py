"""Studies through worker processes on this machine, whatever happens to any of these."""

from __future__ import annotations

import queue
import time
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from CovidLesionSegLogic.batch.child import Child
from CovidLesionSegLogic.batch.outcome import DONE, FAILED, Listener, Outcome
from CovidLesionSegLogic.batch.processors import Share, cpu_count, shares
from CovidLesionSegLogic.batch.record import Record
from CovidLesionSegLogic.batch.settings import Settings, StopBatchError
from CovidLesionSegLogic.batch.study import Study
from CovidLesionSegLogic.batch.supply import Supply, Waiting
from CovidLesionSegLogic.engine import Cancel
from CovidLesionSegLogic.errors import CancelledError, CovidLesionSegError

IN_HAND = 3
"""Studies a process has at a time: one is read, one computed, one written."""
ATTEMPTS = 2
"""For a study whose process died, the last time alone."""
FALSE_STARTS = 3
_PATIENCE_S = 10.0


@dataclass(eq=False)
class _Place:
    """A worker process and what it has in hand, by the number of the request."""

    child: Child
    share: Share
    studies: dict[int, Study] = field(default_factory=dict)
    begun: set[int] = field(default_factory=set)
    alone: bool = False


class LocalRun:
    """One run of studies over a number of processes.

    A process that dies is replaced. The studies it had begun are tried once more, alone, since one
    of them may be what it died of; one that outlives no process is a failed study.

    Parameters
    ----------
    settings
        The same for all.
    results
        Folder of the results.
    workers
        As for :func:`~CovidLesionSegLogic.batch.processors.shares`.
    """

    def __init__(
        self,
        settings: Settings,
        results: Path,
        listener: Listener,
        *,
        workers: int = 0,
        cancel: Cancel | None = None,
    ) -> None:
        self._settings, self._results, self._listener = settings, results, listener
        self._workers, self._cancel = workers, cancel or Cancel()
        self._events: queue.SimpleQueue[tuple[Child, bytes]] = queue.SimpleQueue()
        self._places: list[_Place] = []
        self._supply: Supply = Waiting(())
        self._suspects: deque[Study] = deque()
        self._attempts: dict[str, int] = {}
        self._false_starts = 0
        self._on_gpu = False
        self._stop: CovidLesionSegError | None = None

    def run(self, supply: Supply) -> None:
        """Do all studies; the listener is told of each.

        Raises
        ------
        RequestError
            The device or model cannot be had.
        StopBatchError
            The results cannot be written.
        CancelledError
            Stopping was asked for.
        CovidLesionSegError
            No process can be started.
        """
        self._supply = supply
        try:
            for share in self._prepare():
                if len(self._places) < supply.total:
                    self._start(share)
            while self._busy():
                for outcome in supply.failed():
                    self._listener.outcome(outcome)
                self._feed()
                self._hear()
                if self._stop is not None:
                    raise self._stop
                if self._cancel.cancelled():
                    raise CancelledError
        finally:
            self._end()

    def _prepare(self) -> list[Share]:
        """Start the first process and let it load the networks; what the others get."""
        asked = self._settings.options.device
        first = Share(asked, max(1, cpu_count() // max(1, self._workers)))
        self._start(first)
        told: dict[str, Any] = {}
        self._places[0].child.session.request(
            "prepare", settings=self._settings.to_dict(), done=told.update, failed=self._halt
        )
        while not told:
            self._hear()
            if self._stop is not None:
                raise self._stop
            if self._cancel.cancelled():
                raise CancelledError
        divided = shares(self._workers, asked, told["gpus"])
        self._places[0].share = divided[0]
        self._on_gpu = told["device"] != "cpu"
        return divided[1:]

    def _halt(self, error: CovidLesionSegError) -> None:
        self._stop = error

    def _busy(self) -> bool:
        handed = any(place.studies for place in self._places)
        return bool(handed or not self._supply.ended or self._suspects)

    def _start(self, share: Share) -> None:
        child = Child(share, lambda child, data: self._events.put((child, data)))
        self._places.append(_Place(child, share))

    def _feed(self) -> None:
        """Hand out what there is, always to the process that has least in hand."""
        while free := [p for p in self._places if len(p.studies) < IN_HAND and not p.alone]:
            study = self._supply.take()
            if study is None:
                break
            self._hand(min(free, key=lambda place: len(place.studies)), study)
        for place in self._places:
            if self._suspects and self._supply.ended and not place.studies:
                place.alone = True
                self._hand(place, self._suspects.popleft())

    def _hand(self, place: _Place, study: Study) -> None:
        options = replace(self._settings.options, device=place.share.device)
        numbers: list[int] = []

        def progress(stage: str, done: int, total: int) -> None:
            place.begun.add(numbers[0])
            self._listener.progress(study, stage, done, total)

        number = place.child.session.request(
            "study",
            study=study.to_dict(),
            settings=replace(self._settings, options=options).to_dict(),
            results=str(self._results),
            done=lambda result: self._done(place, numbers[0], result),
            failed=lambda error: self._failed(place, numbers[0], error),
            progress=progress,
        )
        numbers.append(number)
        place.studies[number] = study

    def _done(self, place: _Place, number: int, result: dict[str, Any]) -> None:
        study = place.studies.pop(number)
        place.alone = False
        self._listener.outcome(Outcome(study, DONE, Record.from_dict(result)))

    def _failed(self, place: _Place, number: int, error: CovidLesionSegError) -> None:
        study = place.studies.pop(number)
        place.alone = False
        gone = place.child.session.lost is not None
        if isinstance(error, StopBatchError):
            self._halt(error)
        elif isinstance(error, CancelledError):
            self._supply.put_back(study)  # the whole run is being cancelled
        elif gone and number not in place.begun:
            self._supply.put_back(study)
        elif gone and self._try_again(study):
            self._suspects.append(study)
        elif self._on_gpu and error.exit_code == 1 and self._try_again(study):
            self._suspects.append(study)
            place.child.end()  # an error of a GPU may spoil every further computation there
        else:
            self._listener.outcome(Outcome(study, FAILED, None, str(error), error.details))

    def _try_again(self, study: Study) -> bool:
        self._attempts[study.name] = self._attempts.get(study.name, 0) + 1
        return self._attempts[study.name] < ATTEMPTS

    def _hear(self, timeout: float = 0.2) -> None:
        """Take what the processes say; one that is gone is replaced."""
        try:
            child, data = self._events.get(timeout=timeout)
        except queue.Empty:
            return
        place = next((p for p in self._places if p.child is child), None)
        if place is None:
            return
        if data:
            child.session.received(data)
            return
        # A process that dies before it does anything would be replaced for ever.
        self._false_starts = 0 if place.begun else self._false_starts + 1
        why = child.how_it_ended()
        child.session.ended(f"The process that computed it ended before its time: {why}.")
        self._places.remove(place)
        child.end()
        if self._false_starts >= FALSE_STARTS:
            said = "\n".join(child.last_words)
            error = CovidLesionSegError(f"The worker process cannot be started: {why}.")
            error.details = said
            self._halt(error)
        elif self._stop is None:
            self._start(place.share)

    def _end(self) -> None:
        """End the processes; studies in hand are cancelled, so that nothing half-done goes on."""
        for place in self._places:
            for number in place.studies:
                place.child.session.cancel(number)
        until = time.monotonic() + _PATIENCE_S
        while any(place.studies for place in self._places) and time.monotonic() < until:
            self._stop = self._stop or CancelledError()  # start nothing any more
            self._hear()
        for place in self._places:
            place.child.session.close()
        for place in self._places:
            place.child.end()
