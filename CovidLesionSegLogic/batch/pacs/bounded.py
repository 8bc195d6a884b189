"""Answers of an archive, read within limits: none fills the memory or takes for ever."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from requests.adapters import HTTPAdapter
from requests.exceptions import ReadTimeout

from CovidLesionSegLogic.errors import InputError

LARGEST_LIST = 1 << 26
"""Bytes of a list of studies, series or images, unpacked; 500 answers take less than 1 MB."""
LARGEST_IMAGE = 1 << 31
"""Bytes of an image; a CT of 4,000 slices in one file has them."""
SLOWEST = 1024.0
"""Bytes per second, on the average, that an answer must bring..."""
GRACE = 60.0
"""...after so many seconds."""
_PIECE = 1 << 18
IMAGE = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""What is asked for as an image: in the syntax that the archive keeps, nothing is recoded."""


class Bounded(HTTPAdapter):
    """Sends requests for ``requests``; what comes back can be read only so far and so long.

    ``check`` is called with every arrival of data and may raise, to stop it.
    """

    check: Callable[[], None] = staticmethod(lambda: None)

    def send(self, request: Any, *args: Any, **options: Any) -> Any:
        """The answer, whose body raises InputError where it is too large."""
        response = super().send(request, *args, **options)
        most = LARGEST_IMAGE if request.headers.get("Accept") == IMAGE else LARGEST_LIST
        response.raw = _Body(response.raw, most, self.check)
        return response


class _Body:
    """The body of an answer, as ``requests`` reads it."""

    def __init__(self, raw: Any, most: int, check: Callable[[], None]) -> None:
        self._raw, self._most, self._check = raw, most, check

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def stream(self, amt: int = 0, decode_content: bool = True) -> Iterator[bytes]:
        """Pieces of the body as they arrive, not in those of ``amt`` bytes that may never fill."""
        began, size = time.monotonic(), 0
        while piece := self._raw.read1(_PIECE, decode_content=decode_content):
            size += len(piece)
            self._check()
            if size > self._most:
                raise InputError(
                    f"The archive sends an answer of more than {self._most >> 20} MiB: narrow the "
                    "query or have the archive checked."
                )
            if time.monotonic() - began > GRACE + size / SLOWEST:
                raise ReadTimeout
            yield piece
