"""The report's tables; every text that is not ours is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from CovidLesionSegLogic.quantify import ClassMeasures
from CovidLesionSegLogic.report.chart import hex_color
from CovidLesionSegLogic.report.subject import ShownResult
from CovidLesionSegLogic.report.text import (
    clean,
    elide,
    hounsfield,
    millimetres,
    percent,
    volume,
    whole,
)

NAME_LENGTH = 60
"""Longer names of classes and regions are cut in the middle; the JSON file has them whole."""


def text(value: object) -> str:
    """``value`` as one line of escaped HTML text."""
    return escape(clean(value))


def name(value: object) -> str:
    """A class's or region's name as plain text of sensible length, not yet escaped."""
    return elide(clean(value), NAME_LENGTH)


def table(
    caption: str, header: Sequence[str], rows: Iterable[tuple[str, Sequence[str], bool]]
) -> str:
    """A table; each row is (first cell as HTML, other cells as text, whether it is a total)."""
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in header)
    body = "".join(
        f'<tr{" class=total" if total else ""}><th scope="row">{first}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for first, cells, total in rows
    )
    return (
        f'<div class="wide" tabindex="0"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def class_table(result: ShownResult) -> str:
    """Volume, shares, density and connected components of every class and of all lesions."""
    q = result.quantification
    colors = {c.name: hex_color(c.color) for c in result.classes}

    def row(measures: ClassMeasures, total: bool) -> tuple[str, Sequence[str], bool]:
        color = None if total else colors.get(measures.name)
        swatch = f'<span class="swatch" style="background:{color}"></span>' if color else ""
        cells = (
            volume(measures.volume_ml),
            percent(measures.share_of_lungs_percent),
            percent(measures.share_of_right_lung_percent),
            percent(measures.share_of_left_lung_percent),
            hounsfield(measures.hu.mean_hu),
            hounsfield(measures.hu.median_hu),
            hounsfield(measures.hu.sd_hu),
            f"{measures.components:,}",
            volume(measures.largest_component_ml),
            f"{measures.slices:,}",
        )
        return swatch + escape(name(measures.name)), cells, total

    rows = [row(c, False) for c in q.classes]
    return table(
        "Lesions by class. Shares are the part of that lung which the lesion fills; components "
        "are connected in three dimensions.",
        (
            "Class", "Volume, mL", "Both lungs", "Right lung", "Left lung", "Mean HU",
            "Median HU", "SD HU", "Components", "Largest, mL", "Slices",
        ),
        [*rows, row(q.total, True)],
    )  # fmt: skip


def lung_table(result: ShownResult) -> str:
    """Volume, lesion, density and aeration of the lungs."""
    q = result.quantification
    rows = []
    for lung, lesion in (
        (q.right_lung, q.total.right_lung_ml),
        (q.left_lung, q.total.left_lung_ml),
        (q.lungs, q.total.right_lung_ml + q.total.left_lung_ml),
    ):
        cells = (
            volume(lung.volume_ml),
            volume(lesion),
            hounsfield(lung.hu.mean_hu),
            percent(lung.hyperaerated_percent),
            percent(lung.well_aerated_percent),
            percent(lung.poorly_aerated_percent),
            percent(lung.non_aerated_percent),
        )
        rows.append((text(lung.name), cells, lung is q.lungs))
    return table(
        "The lungs, lesions included, and how their volume divides by density alone.",
        (
            "Lung", "Volume, mL", "Lesion, mL", "Mean HU", "Below −900 HU", "−900 to −501 HU",
            "−500 to −101 HU", "From −100 HU",
        ),
        rows,
    )  # fmt: skip


def region_table(result: ShownResult) -> str:
    """Volume, lesion per class, share and extent score of every region; "" without regions."""
    q = result.quantification
    if not q.regions:
        return ""
    names = [c.name for c in q.classes]
    rows = []
    for region in q.regions:
        cells = [volume(region.volume_ml), hounsfield(region.mean_hu)]
        cells += [volume(region.lesion_ml[n]) for n in names]
        cells += [volume(region.total_lesion_ml), percent(region.total_share_percent)]
        cells.append(whole(region.score))
        rows.append((escape(name(region.name)), cells, False))
    header = ["Region", "Volume, mL", "Mean HU", *(f"{name(n)}, mL" for n in names)]
    score = "" if q.score_0_to_25 is None else f" Sum over five regions: {q.score_0_to_25} of 25."
    return table(
        "Lesions by region. The score is 0 none, 1 below 5 %, 2 to 25 %, 3 below 50 %, 4 to 75 %, "
        f"5 above 75 % of the region (Pan et al., Radiology 2020).{score}",
        [*header, "All lesions, mL", "Share", "Score 0–5"],
        rows,
    )


def slice_table(result: ShownResult) -> str:
    """Areas of every slice that has lung or lesion."""
    q = result.quantification
    names = [c.name for c in q.classes]
    rows = []
    for s in q.slices:
        if s.lung_area_mm2 > 0 or s.total_lesion_area_mm2 > 0:
            areas = [s.lung_area_mm2, *(s.lesion_area_mm2[n] for n in names)]
            cells = [str(s.own_index), millimetres(s.z_mm), *(f"{a / 100:.1f}" for a in areas)]
            rows.append((str(s.index + 1), cells, False))
    return table(
        "Slices with lung or lesion, counted from the top, with the index in the input "
        f"(axis {q.slice_axis}, from 0) and the superior coordinate.",
        ["Slice", "Index", "z, mm", "Lung, cm²", *(f"{name(n)}, cm²" for n in names)],
        rows,
    )


def facts(data: Mapping[str, Any]) -> str:
    """Nested plain data as a two-column table, keys joined by dots."""
    rows = "".join(
        f'<tr><th scope="row">{text(key)}</th><td>{text(value)}</td></tr>'
        for key, value in _flat(data)
    )
    return f'<div class="wide"><table class="facts"><tbody>{rows}</tbody></table></div>'


def _flat(data: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in data.items():
        name = f"{prefix}{str(key).replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}: ")
        elif isinstance(value, list | tuple):
            yield name, ", ".join(_plain(v) for v in value) or "none"
        else:
            yield name, _plain(value)


def _plain(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) and abs(value) < 1000 else str(value)
