"""The parent's side of a worker, without a process or a window: bytes in, callbacks out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from CovidLesionSegLogic.batch.settings import StopBatchError
from CovidLesionSegLogic.errors import (
    CancelledError,
    CovidLesionSegError,
    InputError,
    RequestError,
)

Progress = Callable[[str, int, int], None]
Done = Callable[[dict[str, Any]], None]
Failed = Callable[[CovidLesionSegError], None]


@dataclass(frozen=True)
class _Open:
    """A request that has no answer yet."""

    done: Done
    failed: Failed
    progress: Progress


class Session:
    """Numbers requests, takes the answers apart and tells who asked.

    Parameters
    ----------
    send
        Writes bytes to the worker's standard input.
    """

    def __init__(self, send: Callable[[bytes], object]) -> None:
        self._send = send
        self._open: dict[int, _Open] = {}
        self._next = 1
        self._rest = b""
        self.ready = False
        """Whether the worker has said that it listens."""
        self.lost: CovidLesionSegError | None = None
        """Why no request can be sent any more."""

    @property
    def busy(self) -> bool:
        """Whether an answer is outstanding."""
        return bool(self._open)

    def request(
        self,
        do: str,
        *,
        done: Done,
        failed: Failed,
        progress: Progress = lambda stage, done, total: None,
        **fields: Any,
    ) -> int:
        """Send a request; exactly one of ``done`` and ``failed`` is called later. Its number.

        Raises :attr:`lost` where the process is gone.
        """
        if self.lost is not None:
            raise self.lost
        number, self._next = self._next, self._next + 1
        self._open[number] = _Open(done, failed, progress)
        self._write({"do": do, "id": number, **fields})
        return number

    def cancel(self, number: int) -> None:
        """Ask for a request to be stopped; ``failed`` is told a CancelledError when it is."""
        if number in self._open:
            self._write({"do": "cancel", "id": number})

    def close(self) -> None:
        """Ask the worker to end after what it is doing."""
        self._write({"do": "exit"})

    def _write(self, message: dict[str, Any]) -> None:
        self._send(json.dumps(message, allow_nan=False).encode() + b"\n")

    def received(self, data: bytes) -> None:
        """Take what came from the worker's standard output, whole lines or not.

        What a callback raises is raised when the other lines have been told.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        raised: Exception | None = None
        for line in filter(bytes.strip, lines):
            try:
                self._dispatch(line)
            except Exception as error:  # noqa: BLE001 - a caller's; an answer may come behind it
                raised = raised or error
        if raised is not None:
            raise raised

    def ended(self, why: str) -> None:
        """The process is gone: tell everybody who waits, in the words of ``why``."""
        self._end(CovidLesionSegError(why))

    def drop(self) -> None:
        """Nobody waits any more: the parent has ended the process because it was told to."""
        self._end(CancelledError())

    def _end(self, error: CovidLesionSegError) -> None:
        self._rest, self.ready, self.lost = b"", False, error
        waiting, self._open = list(self._open.values()), {}
        for one in waiting:
            one.failed(error)

    def _dispatch(self, line: bytes) -> None:
        try:
            message = json.loads(line)
            event, number = message["event"], message.get("id")
        except (ValueError, TypeError, KeyError, AttributeError):
            return  # not ours: a library wrote to the stream before it was taken over
        if event == "ready":
            self.ready = True
        elif event == "progress" and number in self._open:
            self._open[number].progress(message["stage"], message["done"], message["total"])
        elif event == "done" and number in self._open:
            self._open.pop(number).done(message["result"])
        elif event == "error" and number in self._open:
            self._open.pop(number).failed(error_of(message))


def error_of(message: Mapping[str, Any]) -> CovidLesionSegError:
    """The worker's error again, of the class that its code stands for."""
    text, code = message["message"], message["code"]
    if message.get("stop"):
        return StopBatchError(text)
    for kind in (RequestError, InputError, CancelledError):
        if code == kind.exit_code:
            return kind(text)
    error = CovidLesionSegError(text)
    error.details = message.get("details", "")
    return error
