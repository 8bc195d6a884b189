"""What the gate saw: which slices show signs of infection, which were left out, the screening."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from CovidLesionSegLogic.engine.gate import longest_run, patient_decision
from CovidLesionSegLogic.models import CONSECUTIVE, GateSpec
from CovidLesionSegLogic.quantify import SliceMeasures


@dataclass(frozen=True)
class GateSlice:
    """The gate's view of one axial slice that has lung.

    ``index``, ``own_index`` and ``z_mm`` are those of
    :class:`~CovidLesionSegLogic.quantify.SliceMeasures`; ``probability`` of signs of infection,
    0...1; ``segmented`` is false where the slice was left out.
    """

    index: int
    own_index: int
    z_mm: float
    probability: float
    segmented: bool


@dataclass(frozen=True)
class GateResult:
    """The gate's view of one CT; a screening by slices, never a diagnosis.

    Parameters
    ----------
    slices
        Those that have lung, topmost first.
    threshold, segment_above, rule, run
        As the model card says (:class:`~CovidLesionSegLogic.models.GateSpec`).
    infected
        Whether the slices together show signs of infection, by the card's rule.
    infected_any_slice
        The same by the published rule, that one positive slice is enough.
    """

    slices: tuple[GateSlice, ...]
    threshold: float
    segment_above: float
    rule: str
    run: int
    infected: bool
    infected_any_slice: bool

    @property
    def looked_at(self) -> int:
        """Number of slices that the gate looked at."""
        return len(self.slices)

    @property
    def left_out(self) -> int:
        """Number of slices that were not segmented."""
        return sum(not s.segmented for s in self.slices)

    @property
    def positive(self) -> int:
        """Number of slices with signs of infection (probability above ``threshold``)."""
        return sum(s.probability > self.threshold for s in self.slices)

    @property
    def longest_run(self) -> int:
        """Number of slices in the longest run of positive slices that follow each other."""
        return longest_run([p > self.threshold for p in _without_gaps(self.slices)])

    @property
    def rule_text(self) -> str:
        """The card's rule in words, as in "at least 3 slices in a row"."""
        if self.rule == CONSECUTIVE and self.run > 1:
            return f"at least {self.run} slices in a row"
        return "at least one slice"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            **asdict(self),
            "slices": [asdict(s) for s in self.slices],
            "looked_at": self.looked_at,
            "left_out": self.left_out,
            "positive": self.positive,
            "longest_run": self.longest_run,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> GateResult:
        """The inverse of :meth:`to_dict`."""
        own = {f.name: data[f.name] for f in fields(cls)}
        return cls(**{**own, "slices": tuple(GateSlice(**s) for s in data["slices"])})


def gate_result(
    seen: Mapping[int, tuple[float, bool]], spec: GateSpec, slices: Sequence[SliceMeasures]
) -> GateResult:
    """Place the gate's probabilities and decide.

    Parameters
    ----------
    seen
        Canonical slice index (0 lowest) -> gate probability, and whether it was segmented.
    spec
        Of the model card.
    slices
        All slices of the CT, topmost first, as ``Quantification.slices`` has them.
    """
    top = len(slices) - 1
    found = tuple(
        GateSlice(s.index, s.own_index, s.z_mm, *seen[top - s.index])
        for s in slices
        if top - s.index in seen
    )
    chances = _without_gaps(found)
    return GateResult(
        slices=found,
        **asdict(spec),
        infected=patient_decision(chances, threshold=spec.threshold, rule=spec.rule, run=spec.run),
        infected_any_slice=patient_decision(chances, threshold=spec.threshold),
    )


def _without_gaps(slices: Sequence[GateSlice]) -> list[float]:
    """Probabilities from the first to the last slice looked at, 0 for those between without lung.

    So slices that only follow each other in the list are no run.
    """
    chances = {s.index: s.probability for s in slices}
    return [chances.get(k, 0.0) for k in range(min(chances), max(chances) + 1)] if chances else []
