"""The values of masks with lesion classes: read exactly, checked, numbered for the training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.errors import InputError

from .class_names import NamedClass
from .sources import UNKNOWN_CLASS, Slice


@dataclass(frozen=True)
class ClassValues:
    """What the values of a mask mean: 0 background, the classes' own, 255 lesion of unnamed class.

    Where there is one class alone, 255 is that class.
    """

    classes: tuple[NamedClass, ...]

    def strange(self, values: NDArray[np.uint8]) -> str | None:
        """Why a mask of any shape cannot be used, without its name; None: it can."""
        known = {0, UNKNOWN_CLASS, *(c.value for c in self.classes)}
        odd = [int(value) for value in np.unique(values) if value not in known]
        if not odd:
            return None
        return (
            f"it holds the value {odd[0]}, which is no class (0 background, {self.said}, 255 "
            "lesion of unnamed class): correct the mask, or name the class with --classes"
        )

    def encode(self, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Values of a mask to 0, 1 to n in the order of the classes, and ``UNKNOWN_CLASS``.

        ValueError for any other value.
        """
        reason = self.strange(values)
        if reason is not None:
            raise ValueError(reason)
        table = np.zeros(256, np.uint8)
        table[UNKNOWN_CLASS] = 1 if len(self.classes) == 1 else UNKNOWN_CLASS
        for i, c in enumerate(self.classes, start=1):
            table[c.value] = i
        return table[values]

    @property
    def said(self) -> str:
        """The classes for a message: "1 ground-glass opacity, 2 consolidation"."""
        return ", ".join(f"{c.value} {c.name}" for c in self.classes)

    def unnamed_only(self, slices: Sequence[Slice]) -> str | None:
        """What to say where there is lesion but none of it is of a named class; else None."""
        found = set().union(*(np.unique(s.mask).tolist() for s in slices)) - {0}
        if found != {UNKNOWN_CLASS}:
            return None
        return (
            "the masks hold nothing but 0 and 255, lesion of unnamed class, so that no class can "
            f"be learnt: give masks of the values {self.said}, or train one class without --classes"
        )


def check_classes_there(
    classes: Sequence[NamedClass], training: Sequence[Slice], validation: Sequence[Slice]
) -> list[str]:
    """Names of the classes that no validation slice shows; their accuracy will not be known.

    Raises
    ------
    InputError
        A class is on no training slice.
    """
    unjudged = []
    for i, c in enumerate(classes, start=1):
        if not any((s.mask == i).any() for s in training):
            raise InputError(
                f"No slice of the training patients shows '{c.name}' (value {c.value}): choose "
                "another --seed or --split, add data, or leave the class out."
            )
        if not any((s.mask == i).any() for s in validation):
            unjudged.append(c.name)
    return unjudged
