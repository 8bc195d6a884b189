"""A batch from its inputs to its summary."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from CovidLesionSegLogic.batch.checksums import input_files, stamp
from CovidLesionSegLogic.batch.find import Found
from CovidLesionSegLogic.batch.naming import MARK_LENGTH, named
from CovidLesionSegLogic.batch.outcome import FAILED, KEPT, WAITING, Listener, Outcome
from CovidLesionSegLogic.batch.place import Results
from CovidLesionSegLogic.batch.privacy import Pseudonyms, hide_identity, hide_names
from CovidLesionSegLogic.batch.process import discreet
from CovidLesionSegLogic.batch.record import Record
from CovidLesionSegLogic.batch.remote import Exchange
from CovidLesionSegLogic.batch.settings import Settings
from CovidLesionSegLogic.batch.study import LeftOut, Study
from CovidLesionSegLogic.batch.summary import write_summary
from CovidLesionSegLogic.batch.supply import Supply, Waiting
from CovidLesionSegLogic.errors import InputError
from CovidLesionSegLogic.outputs.folder import write_error

SECONDS_BETWEEN_SUMMARIES = 30.0


class Runner(Protocol):
    """Whatever does studies: processes of this machine, or a cluster."""

    def run(self, supply: Supply) -> None:
        """Do all studies and tell the listener of each."""


@dataclass
class Batch:
    """What a batch is to do; see :func:`plan` and :meth:`run`."""

    settings: Settings
    results: Results
    todo: list[Study]
    kept: list[Outcome]
    left_out: list[LeftOut]
    told: list[Outcome] = field(default_factory=list)

    @property
    def planned(self) -> int:
        """Number of studies."""
        return len(self.todo) + len(self.kept)

    def run(
        self,
        make_runner: Callable[[Listener], Runner],
        listener: Listener,
        exchange: Exchange | None = None,
    ) -> dict[str, Path]:
        """Do what is to be done; the summary is written now and then, and at the end in any case.

        ``exchange`` brings the studies of an image archive. Returns the summary's files. What the
        runner raises is raised again after that.
        """
        keeper = _Keeper(self, listener, exchange)
        with contextlib.ExitStack() as stack:
            try:
                if exchange is not None:
                    stack.callback(exchange.close)
                for outcome in self.kept:
                    keeper.outcome(outcome)
                here = [study for study in self.todo if study.remote is None]
                if here:
                    make_runner(keeper).run(Waiting(here))
                there = [study for study in self.todo if study.remote is not None]
                if there and exchange is not None:
                    supply = stack.enter_context(exchange.fetching(there, keeper))
                    make_runner(keeper).run(supply)
            finally:
                files = self.write_summary()
        return files

    def write_summary(self) -> dict[str, Path]:
        """Write the summary as things stand; RequestError where that cannot be done."""
        root = self.results.root
        try:
            root.stat()  # one that is gone is not to be made again
            ended = {outcome.study.name for outcome in self.told}
            waiting = [Outcome(s, WAITING) for s in self.todo if s.name not in ended]
            outcomes = [*self.told, *waiting]
            return write_summary(
                root, outcomes, self.left_out, self.settings, report=self.settings.report
            )
        except OSError as error:
            raise write_error(root, error) from error

    @property
    def waiting(self) -> int:
        """Number of studies that have not come to their end."""
        return self.planned - len(self.told)

    @property
    def failed(self) -> int:
        """Number of studies that failed."""
        return sum(outcome.status == FAILED for outcome in self.told)


class _Keeper:
    """Keeps the outcomes for the summary and passes everything on, one thread at a time."""

    def __init__(self, batch: Batch, listener: Listener, exchange: Exchange | None) -> None:
        self._batch, self._listener, self._exchange = batch, listener, exchange
        self._written = time.monotonic()
        self._lock = threading.Lock()

    def progress(self, study: Study, stage: str, done: int, total: int) -> None:
        with self._lock:
            self._listener.progress(study, stage, done, total)

    def outcome(self, outcome: Outcome) -> None:
        if self._exchange is not None:
            outcome = self._exchange.finish(outcome)
        outcome = self._discreet(outcome)
        with self._lock:
            self._batch.told.append(outcome)
            self._listener.outcome(outcome)
            now = time.monotonic()
            if outcome.status != KEPT and now > self._written + SECONDS_BETWEEN_SUMMARIES:
                self._batch.write_summary()
                self._written = time.monotonic()

    def _discreet(self, outcome: Outcome) -> Outcome:
        """Whatever failed, internal errors included, says nothing of the patient."""
        study, coded = outcome.study, self._batch.settings.pseudonymise
        return replace(
            outcome,
            reason=discreet(outcome.reason, study, pseudonymise=coded),
            details="" if coded else discreet(outcome.details, study, pseudonymise=False),
        )


def plan(
    found: Found,
    results: Results,
    settings: Settings,
    pseudonyms: Pseudonyms | None = None,
) -> Batch:
    """Name the studies and set those aside whose results are there and still valid.

    Valid are results whose files are all there, made from the same options and weights and from
    input files that have not been touched since. Where files were touched, whoever does the study
    compares what they hold.

    Parameters
    ----------
    pseudonyms
        Given where the settings ask for codes.
    """
    records: dict[str, Record | None] = {}
    request_of = settings.requests()

    def owner_of(name: str) -> str | None:
        if not (results.root / name).exists():
            return None
        records[name] = record = results.record(name)
        return "" if record is None else record.key

    studies = named(found.studies, owner_of, pseudonyms)
    names = {study.name for study in studies}
    studies = [_moved(study, records, names) for study in studies]
    todo, kept = [], []
    for study in studies:
        record = records[study.name] if study.name in records else results.record(study.name)
        valid = (
            settings.resume
            and record is not None
            and record.key == study.key
            and record.request == request_of(study)
            and record.whole(results.root / study.name)
            and _stamp(study) == record.inputs.stamp
        )
        if valid:
            kept.append(Outcome(study, KEPT, record))
        else:
            todo.append(study)
    return Batch(settings, results, todo, kept, _discreet(found, settings))


def _moved(study: Study, records: Mapping[str, Record | None], names: Collection[str]) -> Study:
    """Under the name of results that were made of the very same files when these lay elsewhere.

    Whoever does the study finds that they hold the same.
    """
    plain = study.name.removesuffix(f"-{study.key[:MARK_LENGTH]}")
    record = records.get(plain)
    if plain in names or study.name in records or record is None:
        return study
    return replace(study, name=plain) if _stamp(study) == record.inputs.stamp else study


def _stamp(study: Study) -> str:
    if study.remote is not None:
        return study.remote.stamp or "unknown"
    try:
        return stamp(input_files(study)).stamp
    except InputError:
        return ""


def _discreet(found: Found, settings: Settings) -> list[LeftOut]:
    """What was left out, without names of patients and, where asked for, without paths."""
    words = found.name_words.union(*(study.name_words for study in found.studies))
    if settings.pseudonymise:
        return [replace(o, what="", why=hide_identity(o.why, Path(o.what))) for o in found.left_out]
    return [
        replace(one, what=hide_names(one.what, words), why=hide_names(one.why, words))
        for one in found.left_out
    ]
