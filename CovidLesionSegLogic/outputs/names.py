"""Study names that are safe as the beginning of a file name on every system."""

from __future__ import annotations

import re

from CovidLesionSegLogic.errors import RequestError

_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?\Z", re.IGNORECASE)
MAX_LENGTH = 100
_MAX_BYTES = 180  # of 255, which file systems allow; endings and temporary names come on top


def file_stem(name: str) -> str:
    """``name`` with what a file name may not hold replaced by "_"; "ct" when nothing is left.

    Spaces and letters of any script stay: unlike :func:`CovidLesionSegLogic.ct.formats.study_name`,
    which makes names up, this one judges names that users chose.
    """
    stem = _FORBIDDEN.sub("_", name).strip(" .").lstrip("-")[:MAX_LENGTH]
    stem = stem.encode("utf-8", "ignore")[:_MAX_BYTES].decode("utf-8", "ignore").rstrip(" .")
    if _RESERVED.match(stem):
        stem = f"_{stem}"
    return stem or "ct"


def check_study_name(name: str) -> str:
    """A name the user chose, as it is; RequestError when it cannot begin a file name."""
    if name != file_stem(name):
        raise RequestError(
            f"'{name}' cannot be used as a name: choose at most {MAX_LENGTH} characters that may "
            f"stand in a file name, such as '{file_stem(name)}'."
        )
    return name
