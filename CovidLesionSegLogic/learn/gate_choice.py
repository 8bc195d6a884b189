"""What a gate's figures on validation patients choose: the minimum run and when to segment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from CovidLesionSegLogic.engine.gate import longest_run

DECIMALS = 4


@dataclass(frozen=True)
class RunChoice:
    """A minimum run of consecutive positive slices and what it rests on.

    Attributes
    ----------
    run
        The smallest for which no healthy patient is called infected. Where that would miss an
        infected patient, the largest that misses none.
    healthy_longest, infected_shortest
        The longest run of a healthy patient, and the shortest among the infected ones' longest.
    """

    run: int
    healthy_longest: int
    infected_shortest: int

    @property
    def separates(self) -> bool:
        """No healthy patient is called infected, and every infected one is."""
        return self.healthy_longest < self.run <= self.infected_shortest


def choose_run(
    healthy: Sequence[Sequence[float]],
    infected: Sequence[Sequence[float]],
    *,
    threshold: float = 0.5,
) -> RunChoice:
    """The minimum run for whole volumes, on validation patients.

    Parameters
    ----------
    healthy, infected
        For each patient the gate's probabilities in slice order.

    Raises
    ------
    ValueError
        There is no healthy or no infected patient: either alone chooses nothing.
    """
    if not healthy or not infected:
        raise ValueError("choosing a run needs healthy and infected patients")
    healthy_longest, infected_shortest = (
        best(longest_run([p > threshold for p in slices]) for slices in patients)
        for best, patients in ((max, healthy), (min, infected))
    )
    run = max(1, min(healthy_longest + 1, infected_shortest))
    return RunChoice(run, healthy_longest, infected_shortest)


def choose_segment_above(
    probabilities: Sequence[float],
    lesion_areas: Sequence[float],
    *,
    patients: Sequence[str] | None = None,
    missed: float = 0.01,
    at_most: float = 0.5,
) -> float:
    """The gate probability above which slices go on to be segmented, on validation slices.

    Slices at or below it are not segmented, and their lesion is missed. Of all values with the
    same effect on these slices the lowest is taken (rounded up to four decimals where that changes
    nothing), which is the safest on others.

    Parameters
    ----------
    probabilities, lesion_areas
        One of each for every slice, with lesion and without; areas in any one unit.
    patients
        Whose slice each is: the share must then hold for every patient and not just for all.
    missed
        Largest share of lesion area on slices that are not segmented.
    at_most
        Upper limit, a gate's threshold say.

    Returns
    -------
    float
        From 0 to ``at_most``; 0 segments every slice.

    Raises
    ------
    ValueError
        There is no lesion, or ``missed`` is not from 0 to below 1.
    """
    p, area = np.asarray(probabilities, float), np.asarray(lesion_areas, float)
    if not 0 <= missed < 1:
        raise ValueError(f"missed must be from 0 to below 1, not {missed}")
    if not area.sum() > 0:
        raise ValueError("choosing when to segment needs slices with lesion")
    names = np.zeros(p.shape, str) if patients is None else np.asarray(patients)
    kept = math.inf  # the lowest probability of a slice that must be segmented
    for name in np.unique(names):
        mine = names == name
        # A little more than asked for: sums of areas are rounded.
        allowed = missed * area[mine].sum() * (1 + 1e-9)
        for value in np.unique(p[mine & (area > 0)]):
            if area[mine & (p <= value)].sum() > allowed:
                kept = min(kept, float(value))
                break
    droppable = p[(p < kept) & (p <= at_most)]
    if not droppable.size:
        return 0.0
    lowest = float(droppable.max())
    rounded = math.ceil(lowest * 10**DECIMALS) / 10**DECIMALS
    return rounded if rounded < kept and rounded <= at_most else lowest
