"""Progress for people (a bar on a terminal) and for programs (JSON lines)."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping
from typing import Any, Protocol, TextIO

from CovidLesionSegLogic.cli.streams import telling, whispering
from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.stages import STAGE_NAMES

At = tuple[str, int, int]
"""Stage, done, total of one of several things in hand."""


class Reporter(Protocol):
    """Where a command tells what happens."""

    def progress(
        self, stage: str, done: int, total: int, *, at: Mapping[str, At] | None = None
    ) -> None:
        """``done`` of ``total`` steps of ``stage``; ``at`` says where steps in hand are."""

    def study(self, name: str, status: str, text: str, number: str) -> None:
        """One of several studies has come to its end, as the "[3/12]" of all."""

    def warning(self, message: str) -> None:
        """Something the user should know."""

    def line(self, text: str = "") -> None:
        """A line of the result, for people."""

    def done(self, outputs: Mapping[str, Any]) -> None:
        """The command succeeded and wrote ``outputs``."""

    def error(self, code: int, message: str) -> None:
        """The command failed."""

    def close(self) -> None:
        """Take a bar off the screen."""


class TextReporter:
    """A bar per stage on standard error if that is a terminal, results on standard output."""

    def __init__(self, *, show_progress: bool = True) -> None:
        self._show = show_progress
        self._stage = ""
        self._bar: Any = None

    def progress(
        self, stage: str, done: int, total: int, *, at: Mapping[str, At] | None = None
    ) -> None:
        """Move the bar; without a terminal, one line as each stage begins."""
        if not self._show:
            return
        if stage != self._stage:
            self.close()
            self._stage = stage
            name = STAGE_NAMES.get(stage, stage)
            if not sys.stderr.isatty():
                with whispering():
                    print(f"{name} ...", file=sys.stderr, flush=True)
                return
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=name, file=sys.stderr, leave=True, unit="")
        if self._bar is not None:
            self._bar.total = total
            self._bar.update(done - self._bar.n)
            if at is not None:
                self._bar.set_postfix_str(", ".join(f"{n}: {_in_words(w)}" for n, w in at.items()))

    def study(self, name: str, status: str, text: str, number: str) -> None:
        """A line above the bar."""
        line = f"{number} {name}: {'FAILED: ' if status == 'failed' else ''}{text}"
        if self._bar is None:
            with telling():
                print(line, flush=True)
            return
        from tqdm import tqdm

        tqdm.write(line, file=sys.stdout)

    def warning(self, message: str) -> None:
        """On standard error."""
        self.close()
        with whispering():
            print(f"warning: {message}", file=sys.stderr, flush=True)

    def line(self, text: str = "") -> None:
        """On standard output."""
        self.close()
        with telling():
            print(text)

    def done(self, outputs: Mapping[str, Any]) -> None:
        """The paths written."""
        for path in outputs.values():
            self.line(str(path))

    def error(self, code: int, message: str) -> None:
        """``error: ...`` on standard error."""
        self.close()
        with whispering():
            print(f"error: {message}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the current bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._stage = ""


def _in_words(at: At) -> str:
    stage, done, total = at
    return f"{STAGE_NAMES.get(stage, stage)} {done}/{total}"


class JsonReporter:
    """One JSON object per line: progress, at the end done or error; nothing else."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def _send(self, **event: Any) -> None:
        line = json.dumps(event, allow_nan=False) + "\n"
        with telling():
            self._stream.write(line)
            self._stream.flush()

    def progress(
        self, stage: str, done: int, total: int, *, at: Mapping[str, At] | None = None
    ) -> None:
        """``{"event": "progress", ...}``, with "at" where several things are in hand."""
        more = {} if at is None else {"at": {name: list(where) for name, where in at.items()}}
        self._send(event="progress", stage=stage, done=done, total=total, **more)

    def study(self, name: str, status: str, text: str, number: str) -> None:
        """``{"event": "study", "name": ..., "status": "done" or "failed", "text": ...}``."""
        self._send(event="study", name=name, status=status, text=text)

    def warning(self, message: str) -> None:
        """On standard error; the quantification file holds the warnings for programs."""
        with whispering():
            print(f"warning: {message}", file=sys.stderr, flush=True)

    def line(self, text: str = "") -> None:
        """Nothing: the numbers are in the files."""

    def done(self, outputs: Mapping[str, Any]) -> None:
        """``{"event": "done", "outputs": {...}}``."""
        self._send(event="done", outputs={key: str(path) for key, path in outputs.items()})

    def error(self, code: int, message: str) -> None:
        """``{"event": "error", "code": ..., "message": ...}``; to people on standard error too."""
        with whispering():
            print(f"error: {message}", file=sys.stderr, flush=True)
        with contextlib.suppress(RequestError):  # that may be what there is to tell
            self._send(event="error", code=code, message=message)

    def close(self) -> None:
        """Nothing to take away."""
