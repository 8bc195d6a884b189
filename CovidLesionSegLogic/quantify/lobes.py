"""The five lobes of the lungs: their names, TotalSegmentator's numbers, and where they lie."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.volume import CTVolume

from .grid import CanonicalGrid

RIGHT_LOBES = ("right upper lobe", "right middle lobe", "right lower lobe")
LEFT_LOBES = ("left upper lobe", "left lower lobe")
LOBES = (*RIGHT_LOBES, *LEFT_LOBES)

TOTALSEGMENTATOR = {
    10: "left upper lobe",
    11: "left lower lobe",
    12: "right upper lobe",
    13: "right middle lobe",
    14: "right lower lobe",
}
"""Labels of the lobes in TotalSegmentator's task "total", version 2 (``map_to_binary.py``)."""

_SHORT = {
    "rul": RIGHT_LOBES[0], "rml": RIGHT_LOBES[1], "rll": RIGHT_LOBES[2],
    "lul": LEFT_LOBES[0], "lll": LEFT_LOBES[1],
}  # fmt: skip
_SIDES = {"left": "left", "l": "left", "right": "right", "r": "right"}
_LEVELS = {
    "upper": "upper", "superior": "upper", "middle": "middle", "mid": "middle",
    "lower": "lower", "inferior": "lower",
}  # fmt: skip
_LINGULA = {"lingula", "lingular"}
_BESIDE = {
    "lobe", "lung", "lungs", "pulmonary", "of", "the", "segment", "and", "with", "without",
    "incl", "including", "excl", "excluding",
}  # fmt: skip

IN_LUNGS = 0.5
"""A lobe known by its number alone has at least this part of its voxels in the lungs."""
STRANGERS = 0.05
"""All other labels together fill at most this part of the lungs."""
COVERED = 0.8
"""Lobes that fill less of the lungs than this are worth a warning."""


def lobe_of(name: str) -> str | None:
    """Which of :data:`LOBES` a name means; None where it is another structure, or unclear.

    Understood are the English names of Slicer, TotalSegmentator ("lung_upper_lobe_left"),
    lungmask and the Chest Imaging Platform ("LeftSuperiorLobe"), "superior" for upper, "inferior"
    for lower, and RUL, RML, RLL, LUL, LLL. The lingula belongs to the left upper lobe.
    """
    words = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    tokens = re.findall(r"[^\W_]+", words.lower())
    if len(tokens) == 1 and tokens[0] in _SHORT:
        return _SHORT[tokens[0]]
    sides = {_SIDES[t] for t in tokens if t in _SIDES}
    levels = {_LEVELS[t] for t in tokens if t in _LEVELS}
    lingula = not _LINGULA.isdisjoint(tokens)
    if not set(tokens) <= {*_SIDES, *_LEVELS, *_BESIDE, *_LINGULA}:
        return None
    if lingula and sides <= {"left"} and ("lobe" not in tokens or levels == {"upper"}):
        return LEFT_LOBES[0]
    if lingula or "lobe" not in tokens or len(sides) != 1 or len(levels) != 1:
        return None
    found = f"{sides.pop()} {levels.pop()} lobe"
    return found if found in LOBES else None


def are_lobes(names: Iterable[str]) -> bool:
    """Whether the names are those of the five lobes, each once."""
    return sorted(str(lobe_of(name)) for name in names) == sorted(LOBES)


@dataclass(frozen=True, eq=False)
class Places:
    """Where the labels of a region map lie: sums over the voxels of each label 0 to 255.

    ``voxels`` and ``in_lungs`` count, ``left`` and ``up`` are mean positions along the patient's
    left and superior axes in voxels (NaN for an absent label); ``lungs`` is the number of lung
    voxels.
    """

    voxels: NDArray[np.int64]
    in_lungs: NDArray[np.int64]
    left: NDArray[np.float64]
    up: NDArray[np.float64]
    lungs: int

    @classmethod
    def of(cls, ct: CTVolume, regions: NDArray[Any], lungs: NDArray[Any] | None) -> Places:
        """Look once over a uint8 region map (z, y, x) on the CT's grid, slice by slice."""
        grid = CanonicalGrid.of(ct)
        region_view = grid.view(regions)
        lung_view = None if lungs is None else grid.view(lungs)
        voxels, in_lungs = np.zeros(256, np.int64), np.zeros(256, np.int64)
        left, up = np.zeros(256), np.zeros(256)
        number = 0
        for k, plane in enumerate(region_view):
            if lung_view is not None:
                inside = lung_view[k] > 0
                number += int(np.count_nonzero(inside))
                in_lungs += np.bincount(plane[inside], minlength=256)
            columns = np.broadcast_to(np.arange(plane.shape[1]), plane.shape)
            here = np.bincount(plane.ravel(), minlength=256)
            voxels += here
            up += k * here
            left += np.bincount(plane.ravel(), weights=columns.ravel(), minlength=256)
        with np.errstate(invalid="ignore"):
            return cls(voxels, in_lungs, left / voxels, up / voxels, number)

    def misplaced(self, names: Mapping[int, str]) -> list[str]:
        """What does not fit between lobes' names and their places; one clause for each fault."""
        at = {
            lobe: label
            for label, name in names.items()
            if (lobe := lobe_of(name)) and self.voxels[label] > 0
        }
        faults = []
        right, left = (self._mean(at, side) for side in (RIGHT_LOBES, LEFT_LOBES))
        if right is not None and left is not None and right >= left:
            faults.append("the right lobes lie on the patient's left (sides swapped)")
        for upper, lower in (
            (RIGHT_LOBES[0], RIGHT_LOBES[2]),
            (RIGHT_LOBES[0], RIGHT_LOBES[1]),
            (LEFT_LOBES[0], LEFT_LOBES[1]),
        ):
            if upper in at and lower in at and self.up[at[upper]] <= self.up[at[lower]]:
                faults.append(f"the {upper} lies below the {lower}")
        return faults

    def fit_totalsegmentator(self) -> bool:
        """Whether the labels 10 to 14, and only they, fill the lungs, each where its lobe is."""
        if self.lungs == 0:
            return False
        lobes = list(TOTALSEGMENTATOR)
        voxels, inside = self.voxels[lobes], self.in_lungs[lobes]
        strangers = int(self.in_lungs[1:].sum() - inside.sum())
        return bool(
            (voxels > 0).all()
            and (inside >= IN_LUNGS * voxels).all()
            and inside.sum() >= IN_LUNGS * self.lungs
            and strangers <= STRANGERS * self.lungs
            and not self.misplaced(TOTALSEGMENTATOR)
        )

    def covered(self, labels: Sequence[int]) -> float | None:
        """Part of the lungs that these labels fill; None without lungs."""
        return float(self.in_lungs[list(labels)].sum()) / self.lungs if self.lungs else None

    def _mean(self, at: Mapping[str, int], side: Sequence[str]) -> float | None:
        labels = [at[lobe] for lobe in side if lobe in at]
        if not labels:
            return None
        return float(np.average(self.left[labels], weights=self.voxels[labels]))
