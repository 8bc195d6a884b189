"""Studies of an image archive: found, fetched ahead of the computing, results stored there.

Images lie in a hidden folder of the results only until their study has come to its end.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from CovidLesionSegLogic.batch.checksums import checksum
from CovidLesionSegLogic.batch.outcome import FAILED, Listener, Outcome
from CovidLesionSegLogic.batch.pacs import Archive, Credentials, RemoteStudy, candidates
from CovidLesionSegLogic.batch.place import Results
from CovidLesionSegLogic.batch.privacy import hide_identity
from CovidLesionSegLogic.batch.record import write_record
from CovidLesionSegLogic.batch.study import Remote, Study
from CovidLesionSegLogic.ct.dicom_index import patient_words
from CovidLesionSegLogic.engine import Cancel, Progress
from CovidLesionSegLogic.errors import CancelledError, CovidLesionSegError, InputError
from CovidLesionSegLogic.outputs.folder import write_error

AHEAD = 2
"""Studies that are fetched and wait to be computed."""
_FOLDER = "fetched-"


@dataclass(frozen=True)
class Source:
    """An image archive and what opens it."""

    url: str
    credentials: Credentials

    def open(self) -> Archive:
        """A session with it, for one thread."""
        return Archive(self.url, self.credentials)


def find_remote(
    source: Source,
    study_uids: Sequence[str],
    query: Sequence[str],
    results: Results,
    *,
    progress: Progress,
    cancel: Cancel,
) -> tuple[list[Study], dict[str, RemoteStudy]]:
    """Studies of the archive, called by their UIDs, and what it says of each, by UID.

    The errors are those of :meth:`.pacs.Archive.find`.
    """
    with source.open() as archive:
        found = archive.find(study_uids, query, progress=progress, cancel=cancel)
        studies = []
        for number, one in enumerate(found, 1):
            address = f"{source.url.rstrip('/')}/studies/{one.uid}"
            remote = Remote(one.uid, address, _stamp(archive, one, cancel))
            folder = results.hidden / f"{_FOLDER}{checksum(one.uid)[:16]}"
            studies.append(Study(name=one.uid, path=folder, remote=remote))
            progress("find", number, len(found))
    return studies, {one.uid: one for one in found}


def _stamp(archive: Archive, study: RemoteStudy, cancel: Cancel) -> str:
    try:
        listed = [
            (series.uid, archive.instances(study, series, cancel=cancel))
            for series in candidates(study)
        ]
    except InputError:  # said when it is fetched
        return ""
    return checksum(listed)


class Exchange:
    """What goes between a batch and an archive.

    Parameters
    ----------
    remotes
        Study UID -> what the archive says of it.
    store
        Send each DICOM Segmentation there.
    """

    def __init__(
        self,
        source: Source,
        results: Results,
        remotes: Mapping[str, RemoteStudy],
        *,
        store: bool,
        pseudonymise: bool,
        cancel: Cancel,
    ) -> None:
        self._source, self._results, self._remotes = source, results, remotes
        self._store, self._pseudonymise, self._cancel = store, pseudonymise, cancel
        self._archive: Archive | None = None

    @contextlib.contextmanager
    def fetching(self, todo: Sequence[Study], listener: Listener) -> Iterator[Fetching]:
        """The studies as they are fetched; at the end no images are left."""
        fetching = Fetching(self, todo, listener)
        fetching.start()
        try:
            yield fetching
        finally:
            fetching.stop()
            for study in todo:
                remove_images(study)

    def close(self) -> None:
        """End the session that stored results."""
        if self._archive is not None:
            self._archive.close()

    def fetch(self, archive: Archive, study: Study, progress: Progress) -> Study:
        """The study with its files; InputError where it cannot be had."""
        assert study.remote is not None
        remote = self._remotes[study.remote.study_uid]
        try:  # images of a patient, for their owner's eyes only
            study.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            study.path.chmod(0o700)
        except OSError as error:
            raise write_error(self._results.root, error) from error
        got = archive.fetch_ct(remote, study.path, progress=progress, cancel=self._cancel)
        return replace(
            study,
            files=got.files,
            series_uid=got.series.uid,
            name_words=patient_words(study.path),
        )

    def open(self) -> Archive:
        """A session with the archive."""
        return self._source.open()

    def discreet(self, error: CovidLesionSegError, study: Study) -> str:
        """Why a study could not be had or stored."""
        return hide_identity(str(error), study.path) if self._pseudonymise else str(error)

    def finish(self, outcome: Outcome) -> Outcome:
        """Remove the study's images, store its result; what became of it then."""
        study, record = outcome.study, outcome.record
        if study.remote is None:
            return outcome
        remove_images(study)
        there = record is not None and record.stored.get("url") == self._source.url
        if not self._store or record is None or there:
            return outcome
        folder = self._results.root / study.name
        if "dicom_seg" not in record.outputs:  # a record that somebody has changed
            why = "It was segmented but not stored: there is no DICOM Segmentation of it."
            return Outcome(study, FAILED, None, why)
        try:
            if self._archive is None:
                self._archive = self.open()
            self._archive.store([folder / record.outputs["dicom_seg"]["file"]], cancel=self._cancel)
        except CancelledError:
            raise
        except CovidLesionSegError as error:  # the next run stores it; the rest can be computed
            why = f"It was segmented but not stored: {self.discreet(error, study)}"
            return Outcome(study, FAILED, None, why)
        stored = replace(record, stored={"url": self._source.url})
        write_record(stored, folder)
        return replace(outcome, record=stored)


class Fetching:
    """A supply of studies that a thread fetches, a few ahead."""

    def __init__(self, exchange: Exchange, todo: Sequence[Study], listener: Listener) -> None:
        self._exchange, self._listener = exchange, listener
        self.total = len(todo)
        self._todo, self._ready = deque(todo), deque[Study]()
        self._failed: list[Outcome] = []
        self._fatal: BaseException | None = None
        self._condition = threading.Condition()
        self._fetching = self._stopped = False
        self._thread = threading.Thread(target=self._fetch_all, daemon=True)

    def start(self) -> None:
        """Begin to fetch."""
        self._thread.start()

    def stop(self) -> None:
        """Fetch no more."""
        with self._condition:
            self._stopped = True
            self._condition.notify_all()
        self._thread.join()

    @property
    def ended(self) -> bool:
        """Whether no more will come."""
        with self._condition:
            waits = self._todo or self._fetching or self._ready or self._failed
            return not waits and self._fatal is None

    def take(self) -> Study | None:
        """A study that has been fetched; raises what makes the archive unusable."""
        with self._condition:
            if self._fatal is not None:
                raise self._fatal
            study = self._ready.popleft() if self._ready else None
            self._condition.notify_all()
            return study

    def put_back(self, study: Study) -> None:
        """It comes next."""
        with self._condition:
            self._ready.appendleft(study)

    def failed(self) -> list[Outcome]:
        """Studies that could not be fetched."""
        with self._condition:
            failed, self._failed = self._failed, []
            return failed

    def _fetch_all(self) -> None:
        try:
            with self._exchange.open() as archive:
                while (study := self._next()) is not None:
                    self._fetch(archive, study)
        except BaseException as error:  # noqa: BLE001 - raised in the thread that takes
            with self._condition:
                self._fatal = error
        finally:
            with self._condition:
                self._fetching = False

    def _next(self) -> Study | None:
        with self._condition:
            self._fetching = False
            self._condition.wait_for(lambda: self._stopped or len(self._ready) < AHEAD)
            if self._stopped or not self._todo:
                return None
            self._fetching = True
            return self._todo.popleft()

    def _fetch(self, archive: Archive, study: Study) -> None:
        def progress(stage: str, done: int, total: int) -> None:
            if self._stopped:
                raise CancelledError
            self._listener.progress(study, stage, done, total)

        try:
            fetched = self._exchange.fetch(archive, study, progress)
        except InputError as error:
            self._fail(study, self._exchange.discreet(error, study))
            return
        except (CovidLesionSegError, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - an image that a library cannot cope with
            self._fail(study, f"internal error: {type(error).__name__}: {error}.")
            return
        with self._condition:
            self._ready.append(fetched)

    def _fail(self, study: Study, why: str) -> None:
        with self._condition:
            self._failed.append(Outcome(study, FAILED, None, why))


def remove_images(study: Study) -> None:
    """Take away what was fetched."""
    if study.remote is not None:
        shutil.rmtree(study.path, ignore_errors=True)


def remove_leftovers(results: Results, todo: Sequence[Study]) -> None:
    """Take away what a killed run has fetched, but for studies that are to be done now."""
    wanted = {study.path for study in todo if study.remote is not None}
    for path in results.hidden.glob(f"{_FOLDER}*"):
        if path not in wanted:
            shutil.rmtree(Path(path), ignore_errors=True)
