"""Lesion area per slice as inline SVG that follows the page's light or dark colours."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from CovidLesionSegLogic.quantify import Quantification, SliceMeasures
from CovidLesionSegLogic.report.pattern import svg_patterns
from CovidLesionSegLogic.report.screening import PANEL, ShownGate, gate_bands, gate_panel
from CovidLesionSegLogic.report.subject import ShownClass
from CovidLesionSegLogic.report.text import clean

WIDTH, HEIGHT = 960, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 22, 46
PREFIX = "area"


def hex_color(color: Sequence[int]) -> str:
    """A card's colour as ``#rrggbb``."""
    red, green, blue = (min(255, max(0, int(c))) for c in color)
    return f"#{red:02x}{green:02x}{blue:02x}"


def nice_step(top: float, parts: int = 5) -> float:
    """A step of 1, 2 or 5 times a power of ten that divides 0 to ``top`` in about ``parts``."""
    step = 10.0**-3
    while True:
        for factor in (1, 2, 5):
            if top <= step * factor * parts:
                return step * factor
        step *= 10


def area_svg(
    quantification: Quantification, classes: Sequence[ShownClass], gate: ShownGate | None = None
) -> str:
    """The chart, slices from top (left) to bottom (right), classes stacked; areas in cm2.

    With a gate, its probability per slice follows in a panel below.
    """
    slices = quantification.slices
    highest = max((s.total_lesion_area_mm2 for s in slices), default=0.0) / 100
    lung = max((s.lung_area_mm2 for s in slices), default=0.0) / 100
    step = nice_step(highest) if highest > 0 else 1.0
    top = step * max(1, -int(-highest // step))
    plot_width, plot_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    bar = plot_width / max(1, len(slices))

    def y(area: float) -> float:
        return TOP + plot_height * (1 - area / top)

    below = HEIGHT - 4
    height = HEIGHT if gate is None else below + PANEL + 8
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="area-title">'
        f'<title id="area-title">{escape(_summary(quantification))}</title>'
        + svg_patterns(PREFIX, [hex_color(c.color) for c in classes])
    ]
    if gate is not None:
        parts.append(gate_bands(gate, LEFT, bar, TOP, HEIGHT - BOTTOM))
        parts.append(gate_bands(gate, LEFT, bar, below + 26, below + PANEL))
    if lung > 0:
        steps = [s.lung_area_mm2 / 100 / lung * plot_height for s in slices]
        parts.append(f'<path class="lung" d="{_outline(steps, [0.0] * len(steps), bar)}"/>')
    # Without lesion only the zero line is drawn: a scale would be that of nothing.
    for n in range(round(top / step) + 1 if highest > 0 else 1):
        value = n * step
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" '
            f'y2="{y(value):.1f}"/><text x="{LEFT - 8}" y="{y(value) + 4:.1f}" '
            f'text-anchor="end">{value:g}</text>'
        )
    base = [0.0] * len(slices)
    for position, lesion in enumerate(classes):
        heights = [
            b + s.lesion_area_mm2.get(lesion.name, 0.0) / 100 / top * plot_height
            for b, s in zip(base, slices, strict=True)
        ]
        parts.append(
            f'<path fill="url(#{PREFIX}-{position})" d="{_outline(heights, base, bar)}">'
            f"<title>{escape(clean(lesion.name))}</title></path>"
        )
        base = heights
    parts += _slice_axis(slices, bar)
    if gate is not None:
        parts.append(gate_panel(gate, LEFT, WIDTH - RIGHT, bar, below))
    parts.append(
        f'<text x="{LEFT}" y="14">cm² per slice'
        f"{f'; grey: lung area, own scale up to {lung:.0f} cm²' if lung > 0 else ''}</text></svg>"
    )
    return "".join(parts)


def _outline(upper: Sequence[float], lower: Sequence[float], bar: float) -> str:
    """Closed staircase between two heights (pixels above the axis) per slice."""
    floor = HEIGHT - BOTTOM
    forth, back = [], []
    for n, (high, low) in enumerate(zip(upper, lower, strict=True)):
        left, right = LEFT + n * bar, LEFT + (n + 1) * bar
        forth.append(f"{left:.1f} {floor - high:.1f} L{right:.1f} {floor - high:.1f}")
        back.append(f"{right:.1f} {floor - low:.1f} L{left:.1f} {floor - low:.1f}")
    return f"M{' L'.join([*forth, *reversed(back)])} Z"


def _slice_axis(slices: Sequence[SliceMeasures], bar: float) -> list[str]:
    floor = HEIGHT - BOTTOM
    every = max(1, int(nice_step(float(len(slices)), 10)))
    parts = [f'<path class="axis" d="M{LEFT} {floor} H{WIDTH - RIGHT}"/>']
    for n in [0, *range(every - 1, len(slices), every)] if every > 1 else range(len(slices)):
        x = LEFT + (n + 0.5) * bar
        parts.append(f'<text x="{x:.1f}" y="{floor + 17}" text-anchor="middle">{n + 1}</text>')
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">'
        "slice, counted from the top</text>"
    )
    return parts


def _summary(quantification: Quantification) -> str:
    found = quantification.slices_with_lesion
    if not found:
        return f"Lesion area per slice: none of {len(quantification.slices)} slices has lesion."
    largest = max(quantification.slices, key=lambda s: s.total_lesion_area_mm2)
    return (
        f"Lesion area per slice: {len(found)} of {len(quantification.slices)} slices have lesion, "
        f"from slice {found[0] + 1} to {found[-1] + 1}; the largest area is "
        f"{largest.total_lesion_area_mm2 / 100:.1f} cm² on slice {largest.index + 1}."
    )
