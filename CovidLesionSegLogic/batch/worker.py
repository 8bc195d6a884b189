"""A child process that keeps its models loaded and takes one request after the other.

Requests are JSON lines on standard input, answers JSON lines on standard output (:mod:`.desk`);
volumes travel through files in a private folder of the parent's (:mod:`.exchange`). The worker
ends with its parent: when standard input closes it removes the exchange folder, which holds the
images of patients, and is gone at once, whatever it was computing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from CovidLesionSegLogic.batch.desk import Desk, Send
from CovidLesionSegLogic.batch.tasks import TASKS, Context
from CovidLesionSegLogic.engine import Cancel
from CovidLesionSegLogic.models import KeptNetworks
from CovidLesionSegLogic.pipeline import KeptLungs


class Works(Protocol):
    """What serves requests: one method takes them, another does them."""

    def listen(self, lines: Iterable[str]) -> None:
        """Take requests until the lines end."""

    def work(self) -> None:
        """Do them until "exit" comes."""


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
        self._root = root
        self._networks, self._lungs = KeptNetworks(), KeptLungs()
        self._desk = Desk(send, TASKS)
        self.listen = self._desk.listen

    def work(self) -> None:
        """Do the requests until "exit" comes or a graphics card fails."""
        self._desk.open()
        for request, cancel in self._desk.requests():
            self._desk.answer(request, lambda: self._do(request, cancel), self._clear)  # noqa: B023
            if self._desk.device_failed:
                return  # the parent's next worker is a process that may compute there again

    def _do(self, request: dict[str, Any], cancel: Cancel) -> dict[str, Any]:
        cancel.check()
        told = self._desk.progress(request)
        context = Context(self._root, self._networks, self._lungs, told, cancel)
        result = TASKS[request["do"]](request, context)
        cancel.check()
        return result

    def _clear(self) -> None:
        self._networks.clear()
        self._lungs.clear()


def end_with_parent(root: Path | None, lines: Iterable[str], worker: Works) -> None:
    """Listen, and end the process when the lines do; to be run in a thread of its own."""
    try:
        worker.listen(lines)
    finally:
        if root is not None:
            shutil.rmtree(root, ignore_errors=True)
        # Not sys.exit: the main thread may be deep in a computation.
        os._exit(0)


def serve(worker: Works, lines: Iterable[str], root: Path | None = None) -> None:
    """Do what the lines ask until "exit" or their end; ``root`` goes with the process."""
    threading.Thread(target=end_with_parent, args=(root, lines, worker), daemon=True).start()
    try:
        with contextlib.suppress(BrokenPipeError):  # nobody is left to be told
            worker.work()
    finally:
        if root is not None:
            shutil.rmtree(root, ignore_errors=True)
