"""A child process that takes whole studies by path, each step of a study in a thread of its own.

While one study is computed, the next is read and the one before is written: as many overlap as the
parent has handed out. Requests and answers are those of :mod:`.desk`:

``prepare``
    ``settings``: load the networks. Result: ``device``, and ``gpus``, the number of NVIDIA GPUs.
``study``
    ``study``, ``settings``, ``results``: as :meth:`Study.to_dict`, :meth:`Settings.to_dict` and a
    folder. Result: the study's record.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from CovidLesionSegLogic.batch import process
from CovidLesionSegLogic.batch.desk import Desk, Send
from CovidLesionSegLogic.batch.settings import Settings
from CovidLesionSegLogic.batch.study import Study, path_from
from CovidLesionSegLogic.engine import Cancel
from CovidLesionSegLogic.engine.device import count_gpus
from CovidLesionSegLogic.errors import CovidLesionSegError, RequestError
from CovidLesionSegLogic.models import KeptNetworks
from CovidLesionSegLogic.pipeline import check_options

KNOWN = ("prepare", "study")


@dataclass
class _Piece:
    """A request on its way through the steps; ``value`` is the last step's, or ``error``."""

    request: dict[str, Any]
    cancel: Cancel
    value: Any = None
    error: BaseException | None = None


class StudyWorker:
    """Reads, segments and writes studies in the order in which they were asked for."""

    def __init__(self, send: Send) -> None:
        self._desk = Desk(send, KNOWN)
        self._networks = KeptNetworks()
        self._read: queue.SimpleQueue[_Piece | None] = queue.SimpleQueue()
        self._segmented: queue.SimpleQueue[_Piece | None] = queue.SimpleQueue()
        self.listen = self._desk.listen

    def work(self) -> None:
        """Do the requests until "exit" comes; networks run in the calling thread."""
        self._desk.open()
        threads = [threading.Thread(target=one) for one in (self._read_all, self._write_all)]
        for thread in threads:
            thread.start()
        while (piece := self._read.get()) is not None:
            self._step(piece, self._compute)
            self._segmented.put(piece)
        self._segmented.put(None)
        for thread in threads:
            thread.join()

    def _read_all(self) -> None:
        for request, cancel in self._desk.requests():
            piece = _Piece(request, cancel)
            self._step(piece, self._load)
            self._read.put(piece)
        self._read.put(None)

    def _write_all(self) -> None:
        while (piece := self._segmented.get()) is not None:
            self._step(piece, self._finish)
            self._desk.answer(piece.request, lambda: _given(piece), self._networks.clear)

    def _step(self, piece: _Piece, work: Callable[[_Piece], Any]) -> None:
        if piece.error is not None:
            return
        try:
            piece.cancel.check()
            piece.value = work(piece)
        except BaseException as error:  # noqa: BLE001 - answered in the last step
            piece.error, piece.value = error, None

    def _load(self, piece: _Piece) -> Any:
        request = piece.request
        settings = _understood(Settings.from_dict, request, "settings")
        if request["do"] == "prepare":
            return settings
        job = process.Job(
            study=_understood(Study.from_dict, request, "study"),
            settings=settings,
            results=_understood(path_from, request, "results"),
            progress=self._desk.progress(request),
            cancel=piece.cancel,
        )
        with _discreet(job):
            return process.load(job)

    def _compute(self, piece: _Piece) -> Any:
        if isinstance(piece.value, Settings):
            card, device = check_options(piece.value.options)
            self._networks(card, device)
            return {"device": str(device), "gpus": count_gpus()}
        loaded = piece.value
        piece.value = None  # the CT goes as soon as it may
        with _discreet(loaded.job):
            return process.segment(loaded, self._networks)

    def _finish(self, piece: _Piece) -> Any:
        if isinstance(piece.value, dict):
            return piece.value
        segmented, piece.value = piece.value, None
        with _discreet(segmented.loaded.job):
            return process.write(segmented).to_dict()


def _given(piece: _Piece) -> dict[str, Any]:
    if isinstance(piece.error, Exception):
        raise piece.error
    if piece.error is not None:  # a library that wants to end the process: others wait
        raise RuntimeError(f"{type(piece.error).__name__} in a study") from piece.error
    result: dict[str, Any] = piece.value
    return result


@contextlib.contextmanager
def _discreet(job: process.Job) -> Iterator[None]:
    """Expected failures say nothing of the patient."""
    try:
        yield
    except CovidLesionSegError as error:
        text = process.failure_text(error, job.study, pseudonymise=job.settings.pseudonymise)
        raise type(error)(text) from error


def _understood(read: Callable[[Any], Any], request: Mapping[str, Any], name: str) -> Any:
    try:
        return read(request[name])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RequestError(f"The request '{request['do']}' needs a right '{name}'.") from error
