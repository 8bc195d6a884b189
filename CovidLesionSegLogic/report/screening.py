"""What the model's gate saw: the sentence, and its panel under the chart of lesion areas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from CovidLesionSegLogic.report.subject import ShownResult

PANEL = 108
"""Height of the panel in the chart's units, pixels."""


class ShownGateSlice(Protocol):
    """One slice that the gate looked at."""

    @property
    def index(self) -> int:
        """Counted from the top, from 0."""

    @property
    def probability(self) -> float:
        """Of signs of infection, 0...1."""

    @property
    def segmented(self) -> bool:
        """False where the slice was left out."""


class ShownGate(Protocol):
    """A screening by slices; ``pipeline.GateResult`` fits."""

    @property
    def slices(self) -> Sequence[ShownGateSlice]:
        """Those looked at, topmost first."""

    @property
    def threshold(self) -> float:
        """A slice is positive above it."""

    @property
    def segment_above(self) -> float:
        """Slices above it were segmented."""

    @property
    def run(self) -> int:
        """Positive slices in a row that the rule asks for; 1 where any slice is enough."""

    @property
    def rule_text(self) -> str:
        """The rule in words, as in "at least 3 slices in a row"."""

    @property
    def infected(self) -> bool:
        """The decision by the rule."""

    @property
    def infected_any_slice(self) -> bool:
        """The decision if one positive slice were enough."""

    @property
    def longest_run(self) -> int:
        """Positive slices that follow each other, at most."""


def gate_of(result: ShownResult) -> ShownGate | None:
    """The result's screening; None where the model has no gate, or it did not run."""
    return getattr(result, "gate", None)


def decision_text(gate: ShownGate) -> str:
    """What was decided, by which rule, on which slices; as plain text."""
    positive = sum(s.probability > gate.threshold for s in gate.slices)
    out = sum(not s.segmented for s in gate.slices)
    found = "signs of infection" if gate.infected else "no signs of infection"
    other = ""
    if gate.run > 1:
        same = "the same" if gate.infected_any_slice == gate.infected else "the opposite"
        other = f"; by the published rule, that one slice is enough, it would be {same}"
    return (
        f"The gate's decision is {found}, by the rule {gate.rule_text} above {gate.threshold:g}: "
        f"{positive} of {len(gate.slices)} slices are above, the longest run is "
        f"{gate.longest_run}{other}. {_left_out(out, gate.segment_above)} "
        "This is a screening of slices, not a diagnosis."
    )


def _left_out(number: int, limit: float) -> str:
    if number == 0:
        return "No slice was left out of the segmentation."
    what = "slice was" if number == 1 else "slices were"
    return f"{number} {what} left out of the segmentation (not above {limit:g})."


def gate_bands(gate: ShownGate, left: float, bar: float, top: float, bottom: float) -> str:
    """Shading over the slices that were left out; ``bar`` is a slice's width."""
    runs: list[list[int]] = []
    for index in (s.index for s in gate.slices if not s.segmented):
        if runs and index == runs[-1][1]:
            runs[-1][1] = index + 1
        else:
            runs.append([index, index + 1])
    return "".join(
        f'<rect class="left-out" x="{left + a * bar:.1f}" y="{top:.1f}" '
        f'width="{(b - a) * bar:.1f}" height="{bottom - top:.1f}"/>'
        for a, b in runs
    )


def gate_panel(gate: ShownGate, left: float, right: float, bar: float, top: float) -> str:
    """Probability per slice as a staircase, with the limits as lines; for the chart's SVG."""
    inner = PANEL - 26

    def y(probability: float) -> float:
        return top + 26 + inner * (1 - min(1.0, max(0.0, probability)))

    shaded = "; shaded: left out" if any(not s.segmented for s in gate.slices) else ""
    parts = [
        f'<text x="{left}" y="{top + 14}">gate probability of signs of infection; dashed: slice '
        f"counts above {gate.threshold:g}"
        + (
            f", dotted: segmented above {gate.segment_above:g}"
            if gate.segment_above != gate.threshold
            else ""
        )
        + f"{shaded}</text>"
    ]
    for value in (0.0, 0.5, 1.0):
        parts.append(
            f'<line class="grid" x1="{left}" x2="{right}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
            f'<text x="{left - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>'
        )
    for name, value in (("threshold", gate.threshold), ("segment-above", gate.segment_above)):
        if name == "threshold" or value != gate.threshold:
            parts.append(
                f'<line class="{name}" x1="{left}" x2="{right}" y1="{y(value):.1f}" '
                f'y2="{y(value):.1f}"/>'
            )
    steps: list[str] = []
    before = None
    for s in gate.slices:
        start, end = left + s.index * bar, left + (s.index + 1) * bar
        pen = "L" if before is not None and s.index == before + 1 else "M"
        steps.append(f"{pen}{start:.1f} {y(s.probability):.1f} L{end:.1f} {y(s.probability):.1f}")
        before = s.index
    if steps:
        parts.append(f'<path class="gate" d="{" ".join(steps)}"/>')
    parts.append(f'<path class="axis" d="M{left} {y(0):.1f} H{right}"/>')
    return "".join(parts)
