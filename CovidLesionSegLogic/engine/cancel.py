"""A request to stop, given in one thread or signal handler and heeded in another."""

from __future__ import annotations

import threading

from CovidLesionSegLogic.errors import CancelledError


class Cancel:
    """Set once by :meth:`cancel`; long work calls :meth:`check` between its steps."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the work to stop at its next check."""
        self._event.set()

    def cancelled(self) -> bool:
        """Whether stopping was asked for."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise CancelledError when stopping was asked for."""
        if self.cancelled():
            raise CancelledError
