"""All answers to a search, however many an archive sends at a time (QIDO-RS, PS3.18 8.3.4.4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from CovidLesionSegLogic.batch.pacs.connection import Connection
from CovidLesionSegLogic.engine.cancel import Cancel
from CovidLesionSegLogic.errors import CovidLesionSegError, RequestError

PAGE = 500
"""Answers asked for at a time; an archive may send fewer."""
Row = dict[str, Any]
"""An answer in the DICOM JSON model (PS3.18 F.2): tag to ``vr`` and ``Value``."""


def search_all(
    connection: Connection,
    search: Callable[..., list[Row]],
    uid_of: Callable[[Row], str],
    cancel: Cancel,
    *,
    page: int = PAGE,
    most: int | None = None,
    absent: CovidLesionSegError | None = None,
    **options: Any,
) -> dict[str, Row]:
    """Answers by UID, asked for page by page until one brings nothing new.

    Parameters
    ----------
    search
        The client's search; called with ``limit``, ``offset`` and ``options``. Always with a limit,
        as some archives heed the offset only then and would send the same answers for ever.
    uid_of
        The UID of an answer; ValueError where it has none, and so is none.
    page
        How many answers to ask for at a time.
    most
        Stop when so many are there.
    absent
        The error for HTTP 404.

    Raises
    ------
    RequestError
        The archive sends a full page and cannot be moved to send what follows.
    """
    rows: dict[str, Row] = {}
    while True:
        offset = len(rows)

        def ask(offset: int = offset) -> dict[str, Row]:
            answers = search(limit=most or page, offset=offset, **options)
            return {uid_of(row): row for row in answers}

        new = connection.call(ask, cancel=cancel, absent=absent)
        rows |= new
        if most is not None and len(rows) >= most:
            return rows
        if len(rows) == offset:
            if new and offset >= page:
                raise RequestError(
                    f"The archive gives no more than {offset} answers to a search: narrow it."
                )
            return rows
