"""Standard output and error, whatever they are: closed, full, or a pipe without a reader."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from CovidLesionSegLogic.errors import RequestError


def open_standard_streams() -> None:
    """Let nothing else take the numbers of standard streams that are closed.

    The next file opened would have them, a result among others, and get what libraries print.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is not None:
            continue
        with contextlib.suppress(OSError):
            try:
                os.fstat(number)
            except OSError:
                nothing = os.open(os.devnull, os.O_RDWR)
                if nothing != number:
                    os.dup2(nothing, number)
                    os.close(nothing)
            if name != "stdin":
                setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def silence(stream: Any) -> None:
    """What is left to be written goes nowhere: the last flush of the interpreter must not fail."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def telling() -> Iterator[None]:
    """Around writing to standard output; RequestError where that is a file on a full disk, say."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        silence(sys.stdout)
        raise RequestError(
            f"Standard output cannot be written ({error.strerror or error}): send it elsewhere; "
            "files that were written are whole."
        ) from error


@contextlib.contextmanager
def whispering() -> Iterator[None]:
    """Around writing to standard error: where that cannot be, there is nobody to tell."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError:
        silence(sys.stderr)


@contextlib.contextmanager
def json_stream() -> Iterator[TextIO]:
    """Standard output for JSON lines alone.

    Whatever libraries print, compiled ones included, goes to standard error meanwhile.
    """
    sys.stdout.flush()
    try:
        descriptor = sys.stdout.fileno()
        errors = sys.stderr.fileno()
    except (OSError, ValueError):  # replaced by an object without a file: used as it is
        yield sys.stdout
        return
    saved = os.dup(descriptor)
    os.dup2(errors, descriptor)
    # Unbuffered enough for a pipe: every event is flushed.
    stream = os.fdopen(os.dup(saved), "w", encoding="utf-8", newline="\n")
    try:
        yield stream
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os.dup2(saved, descriptor)
        os.close(saved)
        with contextlib.suppress(OSError):  # told when it was written
            stream.close()
