"""Errors a user can act on, each with the exit code the command line documents.

Every message is one sentence that says what is wrong and how to mend it; the command line prints
it without a traceback.
"""

import re

NO_MEMORY = "There is not enough memory for this CT; close other programs."

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_DIRECTION = re.compile("[\u202a-\u202e\u2066-\u2069]+")
LONGEST_MESSAGE = 2000
LONGEST_QUOTE = 200


def one_line(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """``text`` without what would forge lines, colours or reading direction where it is shown.

    Files and their names can hold anything: control characters become blanks, overrides of the
    reading direction vanish, and what is longer than ``longest`` is cut in the middle.
    """
    line = _DIRECTION.sub("", _CONTROL.sub(" ", text)).strip()
    if len(line) <= longest:
        return line
    half = (longest - 3) // 2
    return f"{line[:half]}...{line[len(line) - half :]}"


def quoted(said: object) -> str:
    """The words of a library or a stranger as they may stand inside a sentence."""
    return one_line(str(said), LONGEST_QUOTE)


class CovidLesionSegError(Exception):
    """Base of all expected failures; ``exit_code`` is the process's exit status.

    ``details`` are for who looks for the fault of an internal error in another process.
    """

    exit_code = 1
    details = ""

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message))


class RequestError(CovidLesionSegError):
    """The request is wrong: an unknown model, a bad option, an unwritable output folder."""

    exit_code = 2


class InputError(CovidLesionSegError):
    """The input (or an installed file) cannot be used; the message names the file and why."""

    exit_code = 3


class DeviceError(CovidLesionSegError):
    """The graphics card, or what drives it, failed; a new process may compute on it again."""


class CancelledError(CovidLesionSegError):
    """The user cancelled the run; nothing half-written is left behind."""

    exit_code = 130

    def __init__(self, message: str = "Cancelled.") -> None:
        super().__init__(message)
