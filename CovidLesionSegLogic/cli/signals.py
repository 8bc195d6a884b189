"""Ctrl-C and termination as a request to stop: files are cleaned up, the exit code is 130."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from CovidLesionSegLogic.engine import Cancel

_NAMES = ("SIGINT", "SIGTERM", "SIGBREAK")  # the last one exists on Windows only


@contextlib.contextmanager
def cancel_on_signals(cancel: Cancel) -> Iterator[None]:
    """Let the first signal set ``cancel`` and a second one interrupt at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if cancel.cancelled():
            raise KeyboardInterrupt
        cancel.cancel()

    signals = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before = {number: signal.signal(number, handle) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
