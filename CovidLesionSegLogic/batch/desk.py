"""Where a worker's requests come in and its answers go out, as JSON lines."""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, TextIO

from CovidLesionSegLogic import __version__
from CovidLesionSegLogic.batch.settings import StopBatchError
from CovidLesionSegLogic.engine import Cancel, Progress
from CovidLesionSegLogic.engine.memory import is_out_of_memory
from CovidLesionSegLogic.errors import (
    NO_MEMORY,
    CovidLesionSegError,
    DeviceError,
    InputError,
    RequestError,
    quoted,
)

LONGEST_LINE = 1 << 28
"""A study of a million files with long paths; a request is never longer."""
LARGEST_ID = (1 << 53) - 1
"""Larger whole numbers are not the same in every program that reads JSON (RFC 8259, section 6)."""
SECONDS_BETWEEN = 0.05
"""Between two reports of the same stage: a window cannot show more."""

Send = Callable[[Mapping[str, Any]], None]
_log = logging.getLogger(__name__)


class Desk:
    """Takes requests in one thread, hands them out in another; a cancellation overtakes them.

    Parameters
    ----------
    send
        Sends an answer; called from several threads.
    known
        What can be asked for, besides "cancel" and "exit".
    """

    def __init__(self, send: Send, known: Collection[str]) -> None:
        self._send, self._known = send, known
        self._requests: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._cancels: dict[int, Cancel] = {}
        self._lock = threading.Lock()
        self._opened = False
        self.device_failed = False
        """Whether a graphics card has failed, which spoils what this process computes there."""

    def listen(self, lines: Iterable[str]) -> None:
        """Take requests until the lines end; to be run in a thread of its own."""
        self.open()
        for line in lines:
            if not line.strip():
                continue
            try:
                request = parse_request(line, self._known)
            except RequestError as error:
                self._send({"event": "error", "id": None, **_told(error)})
                continue
            if request["do"] == "cancel":
                self._cancel(request["id"])
            elif request["do"] == "exit":
                self._requests.put(None)
            elif not self._admit(request["id"]):
                told = _told(RequestError(f"The id {request['id']} is that of an open request."))
                self._send({"event": "error", "id": None, **told})
            else:
                self._requests.put(request)

    def open(self) -> None:
        """Say that requests are taken: once, and before anything else."""
        with self._lock:
            if not self._opened:
                self._opened = True
                ready = {"event": "ready", "version": __version__, "process": os.getpid()}
                self._send(ready)

    def requests(self) -> Iterator[tuple[dict[str, Any], Cancel]]:
        """The requests, each with the wish to stop it, until "exit" comes."""
        while (request := self._requests.get()) is not None:
            yield request, self._cancels[request["id"]]

    def progress(self, request: Mapping[str, Any]) -> Progress:
        """Tells of a request's progress."""
        return _Throttle(self._send, request["id"])

    def answer(
        self,
        request: Mapping[str, Any],
        work: Callable[[], dict[str, Any]],
        clear: Callable[[], object],
    ) -> None:
        """Send what ``work`` gives or raises; ``clear`` makes room when memory ran out."""
        number = request["id"]
        try:
            answer: dict[str, Any] = {"event": "done", "id": number, "result": work()}
        except CovidLesionSegError as error:
            self.device_failed = self.device_failed or isinstance(error, DeviceError)
            answer = {"event": "error", "id": number, **_told(error)}
        except Exception as error:  # noqa: BLE001 - whatever it is, the next request must work
            if is_out_of_memory(error):
                clear()
                told = _told(InputError(NO_MEMORY))
            else:
                _log.exception("request %s failed", request["do"])
                message = f"internal error: {type(error).__name__}: {quoted(error)}."
                told = {"code": 1, "message": message, "details": traceback.format_exc()}
            answer = {"event": "error", "id": number, **told}
        finally:
            with self._lock:
                del self._cancels[number]
        try:
            self._send(answer)
        except (TypeError, ValueError) as error:  # JSON has no word for what is in it
            message = f"internal error: the answer cannot be told: {error}."
            self._send({"event": "error", "id": number, "code": 1, "message": message})

    def _admit(self, number: int) -> bool:
        """Make a request cancellable; False where another one of its number is not done yet."""
        with self._lock:
            if number in self._cancels:
                return False
            self._cancels[number] = Cancel()
        return True

    def _cancel(self, number: int) -> None:
        with self._lock:
            cancel = self._cancels.get(number)
        if cancel is not None:
            cancel.cancel()


def lines_of(stream: TextIO) -> Iterator[str]:
    """The lines of a stream; of one that is too long only as much as shows that it is."""
    while line := stream.readline(LONGEST_LINE + 1):
        piece = line
        while piece and not piece.endswith("\n"):
            piece = stream.readline(1 << 20)
        yield line


def parse_request(line: str, tasks: Collection[str]) -> dict[str, Any]:
    """A request with a known "do" and a whole number "id"; RequestError for anything else."""
    if len(line) > LONGEST_LINE:
        raise RequestError("A request is longer than 256 mebibytes.")
    try:
        request = json.loads(line)
    except (ValueError, RecursionError, MemoryError) as error:  # a number of 5,000 digits, too
        raise RequestError(f"A request is not JSON ({quoted(error)}).") from error
    if not isinstance(request, dict):
        raise RequestError("A request must be an object {...}.")
    do, number = request.get("do"), request.get("id")
    if do == "exit":
        return request
    if do != "cancel" and (not isinstance(do, str) or do not in tasks):
        known = ", ".join([*tasks, "cancel", "exit"])
        raise RequestError(f"There is no request {_shown(do)}; there are {known}.")
    if type(number) is not int or abs(number) > LARGEST_ID:
        raise RequestError(
            f"The request '{do}' needs a whole number as 'id', at most {LARGEST_ID} in size."
        )
    return request


def _shown(value: Any) -> str:
    """What came instead of a word; never more than a few words of it, however deep it nests."""
    return f"'{value[:60]}'" if isinstance(value, str) else f"of type {type(value).__name__}"


def _told(error: CovidLesionSegError) -> dict[str, Any]:
    told = {"code": error.exit_code, "message": str(error)}
    return {**told, "stop": True} if isinstance(error, StopBatchError) else told


class _Throttle:
    """Progress as events: the first and last of a stage, and not too many between."""

    def __init__(self, send: Send, number: int) -> None:
        self._send, self._number = send, number
        self._stage, self._then = "", 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if stage == self._stage and done < total and now < self._then + SECONDS_BETWEEN:
            return
        self._stage, self._then = stage, now
        self._send(
            {
                "event": "progress",
                "id": self._number,
                "stage": stage,
                "done": done,
                "total": total,
            }
        )
