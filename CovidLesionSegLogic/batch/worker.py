"""A child process that keeps its models loaded and takes one request after the other.

Requests are JSON lines on standard input, answers JSON lines on standard output (:mod:`.protocol`);
volumes travel through files in a private folder of the parent's (:mod:`.exchange`). The worker
ends with its parent: when standard input closes it removes the exchange folder, which holds the
images of patients, and is gone at once, whatever it was computing.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import shutil
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from CovidLesionSegLogic import __version__
from CovidLesionSegLogic.batch.tasks import TASKS, Context
from CovidLesionSegLogic.engine import Cancel
from CovidLesionSegLogic.errors import CovidLesionSegError, InputError, RequestError
from CovidLesionSegLogic.models import KeptNetworks
from CovidLesionSegLogic.pipeline import KeptLungs

LONGEST_LINE = 1 << 20
SECONDS_BETWEEN = 0.05
"""Between two reports of the same stage: a window cannot show more."""

Send = Callable[[Mapping[str, Any]], None]
_log = logging.getLogger(__name__)


class Worker:
    """Does requests in the order in which they came; a cancellation overtakes them.

    Parameters
    ----------
    root
        The exchange folder; requests name folders inside it.
    send
        Sends an answer; called from several threads.
    """

    def __init__(self, root: Path, send: Send) -> None:
        self._root, self._send = root, send
        self._networks, self._lungs = KeptNetworks(), KeptLungs()
        self._requests: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._cancels: dict[int, Cancel] = {}
        self._lock = threading.Lock()

    def listen(self, lines: Iterable[str]) -> None:
        """Take requests until the lines end; to be run in a thread of its own."""
        for line in lines:
            if not line.strip():
                continue
            try:
                request = parse_request(line)
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

    def work(self) -> None:
        """Do the requests until "exit" comes."""
        self._send({"event": "ready", "version": __version__, "process": os.getpid()})
        while (request := self._requests.get()) is not None:
            self._do(request)

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

    def _do(self, request: dict[str, Any]) -> None:
        number = request["id"]
        cancel = self._cancels[number]
        try:
            cancel.check()
            told = _Throttle(self._send, number)
            context = Context(self._root, self._networks, self._lungs, told, cancel)
            result = TASKS[request["do"]](request, context)
            cancel.check()
            answer: dict[str, Any] = {"event": "done", "id": number, "result": result}
        except CovidLesionSegError as error:
            answer = {"event": "error", "id": number, **_told(error)}
        except MemoryError:
            self._networks.clear()
            self._lungs.clear()
            lacking = InputError("There is not enough memory for this CT; close other programs.")
            answer = {"event": "error", "id": number, **_told(lacking)}
        except Exception as error:  # noqa: BLE001 - whatever it is, the next request must work
            _log.exception("request %s failed", request["do"])
            answer = {
                "event": "error",
                "id": number,
                "code": 1,
                "message": f"internal error: {type(error).__name__}: {error}.",
                "details": traceback.format_exc(),
            }
        finally:
            with self._lock:
                del self._cancels[number]
        try:
            self._send(answer)
        except (TypeError, ValueError) as error:  # JSON has no word for what is in it
            message = f"internal error: the answer cannot be told: {error}."
            self._send({"event": "error", "id": number, "code": 1, "message": message})


def parse_request(line: str) -> dict[str, Any]:
    """A request with a known "do" and a whole number "id"; RequestError for anything else."""
    if len(line) > LONGEST_LINE:
        raise RequestError("A request is longer than a mebibyte.")
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, too
        raise RequestError(f"A request is not JSON ({error}).") from error
    if not isinstance(request, dict):
        raise RequestError("A request must be an object {...}.")
    do, number = request.get("do"), request.get("id")
    if do == "exit":
        return request
    if do != "cancel" and (not isinstance(do, str) or do not in TASKS):
        known = ", ".join([*TASKS, "cancel", "exit"])
        raise RequestError(f"There is no request '{do}'; there are {known}.")
    if type(number) is not int:
        raise RequestError(f"The request '{do}' needs a whole number as 'id'.")
    return request


def _told(error: CovidLesionSegError) -> dict[str, Any]:
    return {"code": error.exit_code, "message": str(error)}


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


def end_with_parent(root: Path, lines: Iterable[str], worker: Worker) -> None:
    """Listen, and end the process when the lines do; to be run in a thread of its own."""
    try:
        worker.listen(lines)
    finally:
        shutil.rmtree(root, ignore_errors=True)
        # Not sys.exit: the main thread may be deep in a computation.
        os._exit(0)


def serve(root: Path, lines: Iterable[str], send: Send) -> None:
    """Do what the lines ask until "exit" or their end."""
    worker = Worker(root, send)
    threading.Thread(target=end_with_parent, args=(root, lines, worker), daemon=True).start()
    with contextlib.suppress(BrokenPipeError):  # nobody is left to be told
        worker.work()
