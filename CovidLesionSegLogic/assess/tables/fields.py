"""Reading a plan's JSON field by field; every mistake is one sentence that names the place."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeVar

from CovidLesionSegLogic.errors import RequestError

T = TypeVar("T")
_REQUIRED: Any = object()


class Fields:
    """One JSON object of a plan.

    Every method takes a field's name and raises RequestError where the field is missing without a
    default or has the wrong form; :meth:`finish` refuses fields that nobody asked for, because a
    misspelt option would otherwise be ignored in silence.

    Parameters
    ----------
    data
        The object as read from JSON.
    where
        What to call it in messages: "the run 'unet'".
    """

    def __init__(self, data: object, where: str) -> None:
        self.where = where
        if not isinstance(data, Mapping):
            raise RequestError(f"In the plan, {where} must be an object {{...}}.")
        self._data = data
        self._seen: set[str] = set()

    def _get(self, name: str, default: Any) -> Any:
        self._seen.add(name)
        if name in self._data:
            return self._data[name]
        if default is _REQUIRED:
            raise RequestError(f"In the plan, {self.where} lacks '{name}': add it.")
        return default

    def _wrong(self, name: str, what: str) -> RequestError:
        return RequestError(f"In the plan, '{name}' of {self.where} must be {what}.")

    def _typed(self, name: str, default: Any, kind: type[T], what: str) -> T:
        value = self._get(name, default)
        if value is default and default is not _REQUIRED:
            return value
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            raise self._wrong(name, what)
        return value

    def text(self, name: str, default: Any = _REQUIRED) -> Any:
        """A text; ``default`` may be None."""
        return self._typed(name, default, str, "a text")

    def flag(self, name: str, default: Any = _REQUIRED) -> bool:
        """True or false."""
        return self._typed(name, default, bool, "true or false")

    def whole(self, name: str, default: Any = _REQUIRED, *, least: int = 0) -> int:
        """A whole number of at least ``least``."""
        what = f"a whole number of at least {least}"
        value = self._typed(name, default, int, what)
        if value < least:
            raise self._wrong(name, what)
        return value

    def number(self, name: str, default: Any = _REQUIRED, *, low: float, high: float) -> float:
        """A number from ``low`` to ``high``."""
        value = self._get(name, default)
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not good or not (math.isfinite(value) and low <= value <= high):
            raise self._wrong(name, f"a number from {low:g} to {high:g}")
        return float(value)

    def choice(self, name: str, choices: Collection[str], default: Any = _REQUIRED) -> str:
        """One of ``choices``."""
        value = self._get(name, default)
        if value not in choices:
            raise self._wrong(name, " or ".join(f"'{c}'" for c in choices))
        return str(value)

    def texts(self, name: str, default: Any = _REQUIRED) -> tuple[str, ...]:
        """A list of texts."""
        values = self._get(name, default)
        if not isinstance(values, list | tuple) or not all(isinstance(v, str) for v in values):
            raise self._wrong(name, "a list of texts")
        return tuple(values)

    def wholes(self, name: str, default: Any = _REQUIRED) -> tuple[int, ...]:
        """A list of whole numbers of at least 0, each once, at least one."""
        values = self._get(name, default)
        good = isinstance(values, list | tuple) and len(values) > 0
        if not good or not all(type(v) is int and v >= 0 for v in values):
            raise self._wrong(name, "a list of whole numbers of at least 0")
        if len(set(values)) < len(values):
            raise self._wrong(name, "a list without repetitions")
        return tuple(values)

    def mapping(self, name: str, default: Any = _REQUIRED) -> dict[str, Any]:
        """An object, taken as it is."""
        value = self._get(name, default)
        if not isinstance(value, Mapping):
            raise self._wrong(name, "an object {...}")
        return dict(value)

    def objects(self, name: str, what: str, default: Any = _REQUIRED) -> Iterator[tuple[str, Any]]:
        """(name, Fields) of each object inside an object; ``what`` names one in messages."""
        for key, value in self.mapping(name, default).items():
            yield key, Fields(value, f"{what} '{key}'")

    def rows(self, name: str, default: Any = _REQUIRED) -> Iterator[Fields]:
        """The objects of a list."""
        values = self._get(name, default)
        if not isinstance(values, list | tuple):
            raise self._wrong(name, "a list of objects")
        for number, value in enumerate(values, 1):
            yield Fields(value, f"entry {number} of '{name}' of {self.where}")

    def part(self, name: str, where: str, default: Any = _REQUIRED) -> Fields:
        """An object inside this one."""
        return Fields(self._get(name, default), where)

    def has(self, name: str) -> bool:
        """Whether the field is there."""
        return name in self._data

    def finish(self) -> None:
        """Refuse fields that were never asked for."""
        unknown = [str(key) for key in self._data if key not in self._seen]
        if unknown:
            known = ", ".join(sorted(self._seen))
            raise RequestError(
                f"In the plan, {self.where} has the unknown field '{unknown[0]}'; known: {known}."
            )
