"""From the gate's slice probabilities to the decision on the patient."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from CovidLesionSegLogic.models import ANY_SLICE, CONSECUTIVE, GATE_RULES


def longest_run(positive: Sequence[bool]) -> int:
    """Length of the longest run of true values that follow each other; 0 without any."""
    return max(
        (sum(1 for _ in run) for value, run in groupby(map(bool, positive)) if value), default=0
    )


def patient_decision(
    probabilities: Sequence[float],
    *,
    threshold: float = 0.5,
    rule: str = ANY_SLICE,
    run: int = 1,
) -> bool:
    """Whether a patient's slices, taken together, show signs of infection.

    With a slice false-positive rate f, "any-slice" calls 1 - (1 - f)^n of the healthy patients
    with n slices positive: at f = 1 % and 300 slices 95 %. "run" is for real volumes.

    Parameters
    ----------
    probabilities
        The gate's, 0...1, in slice order; 0 for a slice that was not looked at.
    threshold
        A slice is positive where its probability is above this.
    rule
        "any-slice": positive if any slice is (Huang et al., IET Image Processing 2022, section
        2.8); "run": if at least ``run`` slices that follow each other are.
    run
        Not used by "any-slice".

    Raises
    ------
    ValueError
        The rule is unknown or ``run`` is below 1.
    """
    if rule not in GATE_RULES:
        raise ValueError(f"the rule must be one of {', '.join(GATE_RULES)}, not {rule!r}")
    if run < 1:
        raise ValueError(f"run must be at least 1, not {run}")
    found = longest_run([p > threshold for p in probabilities])
    return found >= (run if rule == CONSECUTIVE else 1)
