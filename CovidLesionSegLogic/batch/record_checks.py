"""Whether a record is one that this program wrote: the files in a folder may be anybody's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_OPTIONAL_NUMBERS = (
    "lungs_ml", "total_ml", "total_percent", "score_0_to_25", "slices_positive",
)  # fmt: skip
_COUNTS = ("slices", "slices_with_lesion")
_OPTIONAL_TEXTS = ("study_uid", "series_uid")


def check_record(data: Mapping[str, Any]) -> None:
    """Check the values of a record; KeyError, TypeError or ValueError where one cannot be its own.

    The files that it names lie in its own folder.
    """
    for name in ("name", "key", "request"):
        _need(isinstance(data[name], str))
    inputs = data["inputs"]
    _need(isinstance(inputs["count"], int))
    _need(isinstance(inputs["stamp"], str) and isinstance(inputs["content"], str))
    for one in _object(data["outputs"]).values():
        _need(is_plain_name(one["file"]))
        _need(type(one["bytes"]) is int)
    for address in _object(data["stored"]).values():
        _need(isinstance(address, str))
    _need(_is_number(data["seconds"]) and data["seconds"] >= 0)
    _check_numbers(_object(data["numbers"]))


def is_plain_name(name: Any) -> bool:
    """Whether it is the name of a file, and no path to one elsewhere."""
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\:\0")


def _check_numbers(numbers: Mapping[str, Any]) -> None:
    for name in _OPTIONAL_TEXTS:
        _need(numbers[name] is None or isinstance(numbers[name], str))
    _need(isinstance(numbers["model"], str))
    for name in _COUNTS:
        _need(type(numbers[name]) is int)
    for name in _OPTIONAL_NUMBERS:
        _need(numbers[name] is None or _is_number(numbers[name]))
    _need(numbers["infected"] is None or isinstance(numbers["infected"], bool))
    _need(isinstance(numbers["classes"], list) and isinstance(numbers["warnings"], list))
    for one in numbers["classes"]:
        _need(isinstance(one["name"], str))
        for name in ("volume_ml", "share_percent"):
            _need(one[name] is None or _is_number(one[name]))
    _need(all(isinstance(text, str) for text in numbers["warnings"]))


def _object(value: Any) -> dict[str, Any]:
    _need(isinstance(value, dict))
    return dict(value)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < 1e300 and math.isfinite(value)


def _need(holds: bool) -> None:
    if not holds:
        raise ValueError("a record with a value that cannot be its own")
