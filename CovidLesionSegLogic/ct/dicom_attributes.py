"""Values of DICOM attributes, or None where a file has them malformed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from CovidLesionSegLogic.errors import one_line

LONGEST_TEXT = 256
"""The standard's longest for what is read here is 64 (LO, UI; PS3.5 6.2); scanners exceed it."""
MOST_VALUES = 64


def strings(value: Any) -> tuple[str, ...]:
    """All values of a text element, trimmed; none when absent."""
    if value is None:
        return ()
    values = [value] if isinstance(value, str) else list(value)
    return tuple(one_line(str(one), LONGEST_TEXT) for one in values[:MOST_VALUES])


def text(value: Any) -> str:
    """A text element as one line of at most 256 letters; "" when absent."""
    return "" if value is None else one_line(str(value), LONGEST_TEXT)


def upper(value: Any) -> tuple[str, ...]:
    """The same in capitals."""
    return tuple(one.upper() for one in strings(value))


def _convert(value: Any, kind: Callable[[Any], Any]) -> Any:
    try:
        return kind(value)
    except (TypeError, ValueError, OverflowError):
        return None


def number(value: Any) -> float | None:
    """A finite float; None when absent or malformed."""
    number = None if value is None else _convert(value, float)
    return number if number is not None and np.isfinite(number) else None


def integer(value: Any) -> int | None:
    """An int of at most 64 bits; None when absent or malformed."""
    number = None if value is None else _convert(value, int)
    return number if number is not None and abs(number) < 1 << 63 else None


def floats(value: Any, count: int, most: float = np.inf) -> tuple[float, ...] | None:
    """Exactly ``count`` finite floats of at most ``most``; None when absent or malformed."""
    if value is None:
        return None
    numbers = _convert(value, lambda values: tuple(float(one) for one in values))
    if numbers is None or len(numbers) != count or not np.isfinite(numbers).all():
        return None
    if max(map(abs, numbers)) > most:
        return None
    return tuple(numbers)
