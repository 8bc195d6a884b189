"""How much of each lung every class fills: bars for right and left."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from CovidLesionSegLogic.quantify import ClassMeasures, Quantification
from CovidLesionSegLogic.report.chart import hex_color, nice_step
from CovidLesionSegLogic.report.pattern import svg_patterns
from CovidLesionSegLogic.report.subject import ShownClass
from CovidLesionSegLogic.report.text import clean, elide, percent

WIDTH = 960
LEFT, RIGHT, TOP, BOTTOM = 250, 90, 8, 44
BAR, BETWEEN = 16, 14
PREFIX = "share"


def share_svg(quantification: Quantification, classes: Sequence[ShownClass]) -> str:
    """Bars of the share of the right and the left lung per class, in percent.

    "" where there is no lesion or no lung: there is nothing to draw to scale.
    """
    rows: list[tuple[ClassMeasures, str]] = [
        (measures, f"url(#{PREFIX}-{n})") for n, measures in enumerate(quantification.classes)
    ]
    if len(rows) > 1:
        rows.append((quantification.total, ""))
    shares = [
        share
        for measures, _ in rows
        for share in (
            measures.share_of_right_lung_percent,
            measures.share_of_left_lung_percent,
        )
        if share is not None
    ]
    most = max(shares, default=0.0)
    if most <= 0:
        return ""
    step = nice_step(most)
    top = step * -int(-most // step)
    width = WIDTH - LEFT - RIGHT
    group = 2 * BAR + 4 + BETWEEN
    floor = TOP + group * len(rows)
    colors = [hex_color(c.color) for c in classes]
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {floor + BOTTOM}" role="img" aria-labelledby="share-title">'
        f'<title id="share-title">{escape(_summary(quantification))}</title>'
        + svg_patterns(PREFIX, colors)
    ]
    for n in range(round(top / step) + 1):
        x = LEFT + width * n * step / top
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{floor}"/>'
            f'<text x="{x:.1f}" y="{floor + 17}" text-anchor="middle">{n * step:g}</text>'
        )
    for n, (measures, fill) in enumerate(rows):
        y = TOP + n * group + BETWEEN / 2
        name = escape(elide(clean(measures.name), 28))
        parts.append(
            f'<text class="name" x="{LEFT - 62}" y="{y + BAR + 7:.1f}" text-anchor="end">{name}'
            "</text>"
        )
        for side, share, offset in (
            ("right", measures.share_of_right_lung_percent, 0),
            ("left", measures.share_of_left_lung_percent, BAR + 4),
        ):
            length = width * (share or 0.0) / top
            line = y + offset
            style = f'fill="{fill}"' if fill else 'class="all"'
            parts.append(
                f'<text x="{LEFT - 8}" y="{line + 12:.1f}" text-anchor="end">{side}</text>'
                f'<rect {style} x="{LEFT}" y="{line:.1f}" width="{length:.1f}" height="{BAR}"/>'
                f'<text x="{LEFT + length + 6:.1f}" y="{line + 12:.1f}">{percent(share)}</text>'
            )
    parts.append(
        f'<path class="axis" d="M{LEFT} {TOP} V{floor}"/>'
        f'<text x="{LEFT + width / 2}" y="{floor + 36}" text-anchor="middle">'
        "% of that lung's volume</text></svg>"
    )
    return "".join(parts)


def _summary(quantification: Quantification) -> str:
    each = "; ".join(
        f"{elide(clean(m.name), 60)}: right {percent(m.share_of_right_lung_percent)}, left "
        f"{percent(m.share_of_left_lung_percent)}"
        for m in (*quantification.classes, quantification.total)
    )
    return f"Share of each lung by class: {each}."
