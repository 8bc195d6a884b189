"""Errors a user can act on, each with the exit code the command line documents.

Every message is one sentence that says what is wrong and how to mend it; the command line prints
it without a traceback.
"""

NO_MEMORY = "There is not enough memory for this CT; close other programs."


class CovidLesionSegError(Exception):
    """Base of all expected failures; ``exit_code`` is the process's exit status.

    ``details`` are for who looks for the fault of an internal error in another process.
    """

    exit_code = 1
    details = ""


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
