"""An image archive: find CT studies, fetch their images, store results."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from CovidLesionSegLogic.batch.pacs.connection import WAITS, Connection
from CovidLesionSegLogic.batch.pacs.credentials import Credentials
from CovidLesionSegLogic.batch.pacs.query import is_uid, parse_query
from CovidLesionSegLogic.batch.pacs.search import PAGE, search_all
from CovidLesionSegLogic.batch.pacs.storing import store_instance
from CovidLesionSegLogic.batch.pacs.studies import (
    SERIES_FIELDS,
    RemoteSeries,
    RemoteStudy,
    candidates,
    listed_instance,
    listed_series,
    listed_study,
)
from CovidLesionSegLogic.batch.pacs.transfer import fetch_instance, file_name, remove_others
from CovidLesionSegLogic.engine.cancel import Cancel
from CovidLesionSegLogic.engine.progress import Progress, no_progress
from CovidLesionSegLogic.errors import InputError, RequestError


@dataclass(frozen=True)
class FetchedSeries:
    """The series that was fetched for a study, and its files."""

    series: RemoteSeries
    files: tuple[Path, ...]


class Archive:
    """The DICOMweb service at ``url``, a base such as ``https://pacs.example.org/dicom-web``.

    To be used by one thread, and closed (it is a context manager). See
    :class:`~CovidLesionSegLogic.batch.pacs.connection.Connection` for what is sent to whom.
    All methods raise RequestError where the archive cannot be used at all (wrong address or
    password, no right, a certificate that cannot be verified), InputError where it fails again and
    again, and CancelledError where stopping was asked for. Messages hold UIDs, never names.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials | None = None,
        *,
        page: int = PAGE,
        waits: Sequence[float] = WAITS,
    ) -> None:
        self._connection = Connection(url, credentials or Credentials(), waits=waits)
        self._search = functools.partial(search_all, self._connection, page=page)

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the session with the archive."""
        self._connection.close()

    def find(
        self,
        study_uids: Sequence[str] = (),
        query: Sequence[str] = (),
        *,
        progress: Progress = no_progress,
        cancel: Cancel | None = None,
    ) -> list[RemoteStudy]:
        """Studies given by UID, in that order, then those the query finds, in order of UID.

        A study that the archive does not have is listed without series; :func:`candidates` and
        :meth:`fetch_ct` raise InputError for it, so that it does not stop the others. Studies
        without a CT series that a query finds are left out.

        Raises
        ------
        RequestError
            A UID has not the form of one, the query is wrong or finds nothing, or neither is given.
        """
        cancel = cancel or Cancel()
        keys = parse_query(query)
        wanted = list(dict.fromkeys(uid.strip() for uid in study_uids))
        malformed = [uid for uid in wanted if not is_uid(uid)]
        if malformed:
            raise RequestError(
                f"'{malformed[0]}' is not a study UID (digits and points, at most 64): check it."
            )
        if not wanted and keys is None:
            raise RequestError("Name the studies to fetch: give a UID or a query.")
        known = {uid for uid in wanted if self._studies({"StudyInstanceUID": uid}, cancel, most=1)}
        rows = self._studies(keys, cancel) if keys is not None else {}
        found = {uid for uid, may_hold_ct in rows.items() if may_hold_ct} - set(wanted)
        studies: list[RemoteStudy] = []
        total = len(wanted) + len(found)
        for number, uid in enumerate([*wanted, *sorted(found)], 1):
            series = self._series(uid, cancel) if uid in known | found else ()
            if uid in wanted or any(one.modality == "CT" for one in series):
                studies.append(RemoteStudy(uid, series))
            progress("find", number, total)
        if not studies:
            raise RequestError("The archive has no CT study that fits the query: widen the query.")
        return studies

    def instances(
        self, study: RemoteStudy, series: RemoteSeries, *, cancel: Cancel | None = None
    ) -> tuple[str, ...]:
        """SOP Instance UIDs of a series, sorted: they change when its images do.

        Raises
        ------
        InputError
            The archive lists none, or fewer than it counts.
        """
        rows = self._search(
            self._connection.client.search_for_instances,
            listed_instance,
            cancel or Cancel(),
            absent=InputError(f"The archive has no series {series.uid} any more: search again."),
            study_instance_uid=study.uid,
            series_instance_uid=series.uid,
        )
        if not rows:
            raise InputError(f"The archive lists no images of series {series.uid}: search again.")
        if series.instances is not None and len(rows) < series.instances:
            raise InputError(
                f"The archive lists {len(rows)} of the {series.instances} images of series "
                f"{series.uid}: search again, or have the archive's limit raised."
            )
        return tuple(sorted(rows))

    def fetch(
        self,
        study: RemoteStudy,
        series: RemoteSeries,
        folder: str | os.PathLike[str],
        *,
        progress: Progress = no_progress,
        cancel: Cancel | None = None,
    ) -> list[Path]:
        """Fetch all images of a series into ``folder``, in the transfer syntax they are stored in.

        One image at a time is in memory. Files have names made from the SOP Instance UID and appear
        whole; those that are there whole are not fetched again. Files of this kind that belong to
        no image of the series are removed.

        Returns
        -------
        list of Path
            The files, in order of SOP Instance UID.

        Raises
        ------
        InputError
            The archive does not give out all images it lists, or gives out others.
        """
        cancel = cancel or Cancel()
        target = Path(folder)
        uids = self.instances(study, series, cancel=cancel)
        files = [target / file_name(uid) for uid in uids]
        remove_others(target, {file.name for file in files})
        for number, (uid, file) in enumerate(zip(uids, files, strict=True), 1):
            cancel.check()
            fetch_instance(self._connection, (study.uid, series.uid, uid), file, cancel)
            progress("fetch", number, len(uids))
        return files

    def fetch_ct(
        self,
        study: RemoteStudy,
        folder: str | os.PathLike[str],
        *,
        progress: Progress = no_progress,
        cancel: Cancel | None = None,
    ) -> FetchedSeries:
        """Fetch the CT volume of a study: the first of its :func:`candidates` that is one.

        Whether it is one is judged from the fetched images, by the reader's rule. ``folder`` holds
        the images of the series that was taken at the end, and nothing of the others.

        Raises
        ------
        InputError
            The archive has no such study, or none of its CT series is a volume.
        """
        target = Path(folder)
        obstacles = []
        for series in candidates(study):
            files = self.fetch(study, series, target, progress=progress, cancel=cancel)
            obstacle = _obstacle(target)
            if obstacle is None:
                return FetchedSeries(series, tuple(files))
            obstacles.append(f"{series.uid}: {obstacle}")
            remove_others(target, set())
        raise InputError(
            f"Study {study.uid} holds no CT volume ({'; '.join(obstacles)}): choose another study."
        )

    def store(
        self,
        paths: Sequence[str | os.PathLike[str]],
        *,
        progress: Progress = no_progress,
        cancel: Cancel | None = None,
    ) -> None:
        """Send DICOM files, one by one; what the archive has already is no error.

        Raises
        ------
        InputError
            A file is not DICOM.
        RequestError
            The archive did not store a file; those before it are stored.
        """
        cancel = cancel or Cancel()
        for number, path in enumerate(paths, 1):
            cancel.check()
            store_instance(self._connection, Path(path), cancel)
            progress("store", number, len(paths))

    def _studies(
        self, keys: dict[str, str], cancel: Cancel, *, most: int | None = None
    ) -> dict[str, bool]:
        """Studies by UID, and whether they may hold a CT."""
        return self._search(
            self._connection.client.search_for_studies,
            listed_study,
            cancel,
            most=most,
            search_filters=keys,
        )

    def _series(self, uid: str, cancel: Cancel) -> tuple[RemoteSeries, ...]:
        rows = self._search(
            self._connection.client.search_for_series,
            listed_series,
            cancel,
            absent=InputError(f"The archive has no study {uid} any more: search again."),
            study_instance_uid=uid,
            fields=SERIES_FIELDS,
        )
        return tuple(one for _, one in sorted(rows.items()))


def _obstacle(folder: Path) -> str | None:
    """Why the images in a folder are no CT volume; None when they are."""
    from CovidLesionSegLogic.ct import list_series
    from CovidLesionSegLogic.ct.values import MIN_SLICES

    try:
        best = list_series(folder)[0]
    except InputError:
        return "its images cannot be read"
    if not best.chosen:
        return best.why
    return None if best.slices >= MIN_SLICES else f"it has {best.slices} slice(s)"
