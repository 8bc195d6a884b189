"""A worker process as a child: started, fed, heard, ended."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from CovidLesionSegLogic.batch.processors import Share
from CovidLesionSegLogic.batch.session import Session
from CovidLesionSegLogic.mrml import in_application

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_LAST_LINES = 20
_PATIENCE_S = 5.0
_PACKAGE = Path(__file__).resolve().parents[2]


def python_program() -> str:
    """The interpreter for child processes: inside Slicer its own launcher of Python."""
    launcher = shutil.which("PythonSlicer") if in_application() else None
    return launcher or sys.executable


class Child:
    """One worker process.

    Parameters
    ----------
    share
        Its device and threads.
    tell
        Called from another thread with each piece of its output, and with b"" at the end.
    """

    def __init__(self, share: Share, tell: Callable[[Child, bytes], object]) -> None:
        self.share = share
        environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
        environment |= dict.fromkeys(_THREAD_VARIABLES, str(share.threads))
        paths = (str(_PACKAGE), environment.get("PYTHONPATH", ""))
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        self._process = subprocess.Popen(
            [python_program(), "-m", "CovidLesionSegLogic", "worker", "--studies"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            # Ctrl-C on a terminal goes to the parent alone, which tells its children.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.session = Session(self._requests.put)
        self.last_words: deque[str] = deque(maxlen=_LAST_LINES)
        self._tell = tell
        for target in (self._say, self._hear, self._hear_errors):
            threading.Thread(target=target, daemon=True).start()

    def _say(self) -> None:
        """A thread of its own: a process that hangs does not read, and its parent must not wait."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it is gone, which its output's end tells
            while (data := self._requests.get()) is not None:
                self._process.stdin.write(data)
                self._process.stdin.flush()
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def _hear(self) -> None:
        assert self._process.stdout is not None
        while data := os.read(self._process.stdout.fileno(), 1 << 16):
            self._tell(self, data)
        self._tell(self, b"")

    def _hear_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.last_words.append(line.decode("utf-8", "replace").rstrip())

    def how_it_ended(self) -> str:
        """Why the process is gone, in words: a signal, or an exit status with its last words."""
        try:
            code = self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            return "it closed its output"
        if code == -9 or code == 137:
            return "it was killed, as systems do when memory runs out"
        if code < 0:
            return f"it was ended by signal {-code}"
        said = f": {self.last_words[-1]}" if self.last_words else ""
        return f"it ended with status {code}{said}"

    def end(self) -> None:
        """End the process: it is asked to, by the end of its input, then made to."""
        self._requests.put(None)
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
