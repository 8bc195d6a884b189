"""All answers to a search, however many an archive sends at a time (QIDO-RS, PS3.18 8.3.4.4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from CovidLesionSegLogic.batch.pacs.connection import Connection
from CovidLesionSegLogic.engine.cancel import Cancel
from CovidLesionSegLogic.errors import CovidLesionSegError, RequestError

PAGE = 500
"""Answers asked for at a time; an archive may send fewer."""
MOST = 100_000
"""Answers that are taken; a query that finds more is hardly meant."""
T = TypeVar("T")
Row = dict[str, Any]
"""An answer in the DICOM JSON model (PS3.18 F.2): tag to ``vr`` and ``Value``."""


def search_all(
    connection: Connection,
    search: Callable[..., list[Row]],
    read: Callable[[Row], tuple[str, T]],
    cancel: Cancel,
    *,
    page: int = PAGE,
    most: int | None = None,
    absent: CovidLesionSegError | None = None,
    **options: Any,
) -> dict[str, T]:
    """What the answers say, by UID, asked for page by page until one brings nothing new.

    Parameters
    ----------
    search
        The client's search; called with ``limit``, ``offset`` and ``options``. Always with a limit,
        as some archives heed the offset only then and would send the same answers for ever.
    read
        The UID of an answer and what is to be kept of it; ValueError where it has none, and so is
        none. Other errors of values that are not as they should be are taken alike.
    page
        How many answers to ask for at a time.
    most
        Stop when so many are there.
    absent
        The error for HTTP 404.

    Raises
    ------
    RequestError
        The archive sends a full page and cannot be moved to send what follows, or sends on and on.
    """
    rows: dict[str, T] = {}
    while True:
        offset = len(rows)

        def ask(offset: int = offset) -> dict[str, T]:
            answers = search(limit=most or page, offset=offset, **options)
            return dict(map(read, answers))

        new = connection.call(ask, cancel=cancel, absent=absent)
        rows |= new
        if most is not None and len(rows) >= most:
            return rows
        if len(rows) > MOST:
            raise RequestError(
                f"The archive gives more than {MOST} answers to a search: narrow the query."
            )
        if len(rows) == offset:
            if new and offset >= page:
                raise RequestError(
                    f"The archive gives no more than {offset} answers to a search: narrow it."
                )
            return rows
