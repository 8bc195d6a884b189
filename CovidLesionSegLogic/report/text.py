"""Numbers and names as people read them."""

from __future__ import annotations

import unicodedata

NOTHING = "–"
"""Shown where there is no value."""

JOINED = "\u00a0"
"""A space at which no line breaks."""


def volume(ml: float | None) -> str:
    """Millilitres without the unit: three significant digits for small, whole for large."""
    if ml is None:
        return NOTHING
    if ml == 0:
        return "0"
    if ml < 0.01:
        return "<0.01"
    return f"{ml:,.2f}" if ml < 10 else f"{ml:,.1f}" if ml < 1000 else f"{ml:,.0f}"


def percent(value: float | None) -> str:
    """Percent with the sign; a trace is never rounded to nothing, nor nearly all to all."""
    if value is None:
        return NOTHING
    if 0 < value < 0.05:
        return f"<0.1{JOINED}%"
    if 99.95 <= value < 100:
        return f">99.9{JOINED}%"
    return f"{value:.1f}{JOINED}%"


def hounsfield(value: float | None) -> str:
    """HU without the unit, whole numbers, with a true minus sign."""
    if value is None:
        return NOTHING
    return str(round(value)).replace("-", "−")


def millimetres(value: float) -> str:
    """A coordinate with one decimal and a true minus sign."""
    rounded = round(value, 1) + 0.0
    return f"{rounded:.1f}".replace("-", "−")


def clean(text: object) -> str:
    """One line without control or direction-changing characters, whatever was put in.

    Names come from files: line breaks would break the layout and direction overrides
    (U+202E and others) can make a name read as something else.
    """
    kept = (
        " " if character.isspace() else character
        for character in str(text)
        if character.isspace() or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co")
    )
    return " ".join("".join(kept).split())


def elide(text: str, length: int) -> str:
    """``text`` cut in the middle to at most ``length`` characters: names differ at both ends."""
    if len(text) <= length:
        return text
    tail = (length - 1) // 3
    head = length - 1 - tail
    return f"{text[:head]}…{text[len(text) - tail :]}" if tail else f"{text[:head]}…"


def whole(value: int | None) -> str:
    """A whole number, or the sign for "no value"."""
    return NOTHING if value is None else str(value)
