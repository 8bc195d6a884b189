"""The lesion classes of a training: as the user names them, and as a model card describes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.models import LesionClass
from CovidLesionSegLogic.mrml.terminology import entry_for

INFECTION = "infection"
"""Lesion that is not told apart further."""
LESION_TYPES = ("ground-glass opacity", "consolidation", "fibrosis")
"""Those of the coarse-refine paper, in the order of their usual mask values."""
RESERVED = ("any lesion",)
"""What the figures of all classes together are called."""
LARGEST_VALUE = 254
COLORS = {
    INFECTION: (220, 50, 50),
    # As in the paper's Figure 6.
    LESION_TYPES[0]: (220, 50, 50),
    LESION_TYPES[1]: (60, 180, 75),
    LESION_TYPES[2]: (60, 110, 220),
}
# Of other classes, in turn: colours that remain apart for the colour-blind (Okabe and Ito).
CYCLE = (
    (230, 159, 0),
    (204, 121, 167),
    (86, 180, 233),
    (240, 228, 66),
    (0, 158, 115),
    (213, 94, 0),
    (0, 114, 178),
)


@dataclass(frozen=True)
class NamedClass:
    """A lesion class and the value, 1 to 254, that it has in masks and label maps."""

    name: str
    value: int


def parse_classes(items: Sequence[str]) -> tuple[NamedClass, ...]:
    """Classes from names in the order of the mask values 1 to n, or from NAME=VALUE pairs.

    Raises
    ------
    RequestError
        No class, a name twice or reserved, pairs and plain names mixed, a value twice or out of
        range.
    """
    pairs = [item.rpartition("=") for item in items]
    given = [bool(equals) for _, equals, _ in pairs]
    if not items:
        raise RequestError("--classes names no class: give at least one name.")
    if any(given) and not all(given):
        plain = next(item for item, there in zip(items, given, strict=True) if not there)
        raise RequestError(
            f"--classes gives values for some classes and none for '{plain}': give all of them as "
            "NAME=VALUE, or names alone."
        )
    classes = tuple(
        NamedClass(name.strip(), _value(name, text)) if equals else NamedClass(text.strip(), i)
        for i, (name, equals, text) in enumerate(pairs, start=1)
    )
    _check(classes)
    return classes


def _value(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise RequestError(
            f"--classes gives '{name.strip()}' the value '{text.strip()}', which is no whole "
            f"number: give 1 to {LARGEST_VALUE}."
        ) from None


def _check(classes: Sequence[NamedClass]) -> None:
    for i, one in enumerate(classes):
        before = classes[:i]
        if not one.name:
            raise RequestError("--classes has a class without a name: name every class.")
        if one.name.casefold() in RESERVED:
            raise RequestError(
                f"A class cannot be called '{one.name}', the name of all classes together: give "
                "it another name."
            )
        if one.name.casefold() in {c.name.casefold() for c in before}:
            raise RequestError(f"--classes names '{one.name}' twice: name every class once.")
        if not 1 <= one.value <= LARGEST_VALUE:
            raise RequestError(
                f"--classes gives '{one.name}' the value {one.value}: give 1 to {LARGEST_VALUE} "
                "(0 is background, 255 lesion of unnamed class)."
            )
        if one.value in {c.value for c in before}:
            raise RequestError(
                f"--classes gives the value {one.value} to two classes: give each its own."
            )


def card_classes(
    classes: Sequence[NamedClass], known: Sequence[LesionClass] = ()
) -> list[dict[str, Any]]:
    """The ``classes`` of a model card, JSON-ready.

    Parameters
    ----------
    known
        Classes of the model that the training started from: those of the same name keep their
        colour and terminology.
    """
    earlier = {c.name: c for c in known}
    fixed = {c.name: earlier[c.name].color for c in classes if c.name in earlier}
    for c in classes:
        color = COLORS.get(c.name)
        if color is not None and c.name not in fixed and color not in fixed.values():
            fixed[c.name] = color
    left = [color for color in CYCLE if color not in fixed.values()] or list(CYCLE)
    others = [c.name for c in classes if c.name not in fixed]
    colors = fixed | {name: left[i % len(left)] for i, name in enumerate(others)}
    return [
        {
            "name": c.name,
            "label": c.value,
            "threshold": 0.5,
            "color": list(colors[c.name]),
            "terminology": (c.name in earlier and earlier[c.name].terminology)
            or terminology_of(c.name),
        }
        for c in classes
    ]


def terminology_of(name: str) -> dict[str, Any]:
    """Codes of a class in the shipped terminology, as a model card has them; {} where unknown.

    A class without them is coded as a lesion of the lung when segments are made.
    """
    entry = entry_for(name)
    if entry == entry_for(""):
        return {}
    codes = {"category": entry.category, "type": entry.type, "region": entry.region}
    return {
        part: {
            "CodingSchemeDesignator": code.scheme,
            "CodeValue": code.value,
            "CodeMeaning": code.meaning,
        }
        for part, code in codes.items()
    }


def not_trained(names: Sequence[str]) -> list[str]:
    """The paper's lesion types that are not among the classes ``names``.

    None where a class is "infection": such a model marks them all, without telling them apart.
    """
    return [] if INFECTION in names else [name for name in LESION_TYPES if name not in names]
