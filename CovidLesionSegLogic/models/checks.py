"""Checks of a model card's values; each failure names the key, so that a person can mend it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

T = TypeVar("T")


def text(key: str, value: Any, *, empty: bool = False) -> None:
    """Require a string, not blank unless ``empty``."""
    if not isinstance(value, str) or not (empty or value.strip()):
        raise ValueError(f"'{key}' must be a {'' if empty else 'non-empty '}text, not {value!r}")


def choice(key: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Require one of the ``allowed`` words."""
    if value not in allowed:
        raise ValueError(f"'{key}' must be one of {', '.join(allowed)}, not {value!r}")


def integer(key: str, value: Any, low: int, high: int | None = None) -> None:
    """Require an integer in [low, high]."""
    in_range = isinstance(value, int) and not isinstance(value, bool) and value >= low
    if not in_range or (high is not None and value > high):
        limits = f"from {low} to {high}" if high is not None else f"of at least {low}"
        raise ValueError(f"'{key}' must be a whole number {limits}, not {value!r}")


def boolean(key: str, value: Any) -> None:
    """Require true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"'{key}' must be true or false, not {value!r}")


def number(key: str, value: Any, low: float = -math.inf, high: float = math.inf) -> None:
    """Require a finite number in [low, high]."""
    valid = isinstance(value, (int, float)) and not isinstance(value, bool)
    # of a whole number of 400 digits isfinite says nothing
    if not valid or not abs(value) < 1e300 or not low <= value <= high:
        limits = "" if math.isinf(low) and math.isinf(high) else f" from {low:g} to {high:g}"
        raise ValueError(f"'{key}' must be a finite number{limits}, not {value!r}")


def numbers(key: str, value: Any, length: int) -> None:
    """Require ``length`` finite numbers."""
    if not isinstance(value, tuple) or len(value) != length:
        raise ValueError(f"'{key}' must be a list of {length} numbers, not {value!r}")
    for item in value:
        number(key, item)


def mapping(key: str, value: Any) -> None:
    """Require a JSON object."""
    if not isinstance(value, Mapping):
        raise ValueError(f"'{key}' must be an object, not {value!r}")


def build(cls: type[T], data: Any, where: str = "", **given: Any) -> T:
    """Make the dataclass ``cls`` from the JSON object ``data`` found under the key ``where``.

    Lists become tuples; missing and unknown keys raise ValueError, as do the class's own checks.
    Values in ``given`` are taken instead of the object's (they were built already).
    """
    mapping(where or "the card", data)
    known = {f.name: f for f in fields(cls) if f.metadata.get("stored", True)}  # type: ignore[arg-type]
    path = f"{where}." if where else ""
    for key in data:
        if key not in known:
            raise ValueError(
                f"'{path}{key}' is not a key of a model card; known here: {', '.join(known)}"
            )
    for key, item in known.items():
        required = item.default is MISSING and item.default_factory is MISSING
        if required and key not in data:
            raise ValueError(f"'{path}{key}' is missing")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    return cls(**(values | given))
