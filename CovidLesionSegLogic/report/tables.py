"""The report's tables; every text that is not ours is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from CovidLesionSegLogic.quantify import ClassMeasures
from CovidLesionSegLogic.report.chart import hex_color
from CovidLesionSegLogic.report.pattern import css_background
from CovidLesionSegLogic.report.screening import gate_of
from CovidLesionSegLogic.report.subject import ShownResult
from CovidLesionSegLogic.report.text import (
    NOTHING,
    clean,
    elide,
    hounsfield,
    millimetres,
    percent,
    volume,
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


def swatch(position: int, color: str) -> str:
    """A small square in a class's colour and pattern."""
    return f'<span class="swatch" style="{css_background(position, color)}"></span>'


def class_cell(result: ShownResult, class_name: str) -> str:
    """A class's swatch and name as the first cell of a row."""
    for position, lesion in enumerate(result.classes):
        if lesion.name == class_name:
            return swatch(position, hex_color(lesion.color)) + escape(name(class_name))
    return escape(name(class_name))


def class_table(result: ShownResult) -> str:
    """Volume, density and connected components of every class and of all lesions."""
    q = result.quantification

    def row(measures: ClassMeasures, total: bool) -> tuple[str, Sequence[str], bool]:
        cells = (
            volume(measures.volume_ml),
            hounsfield(measures.hu.mean_hu),
            hounsfield(measures.hu.median_hu),
            hounsfield(measures.hu.sd_hu),
            f"{measures.components:,}",
            volume(measures.largest_component_ml),
            f"{measures.slices:,}",
        )
        first = escape(name(measures.name)) if total else class_cell(result, measures.name)
        return first, cells, total

    rows = [row(c, False) for c in q.classes]
    return table(
        "Lesions by class; components are connected in three dimensions.",
        (
            "Class", "Volume, mL", "Mean HU", "Median HU", "SD HU", "Components", "Largest, mL",
            "Slices",
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


def slice_table(result: ShownResult) -> str:
    """Areas of every slice that has lung or lesion, and what the gate said of it."""
    q = result.quantification
    names = [c.name for c in q.classes]
    gate = gate_of(result)
    seen = {} if gate is None else {s.index: s for s in gate.slices}
    rows = []
    for s in q.slices:
        if s.lung_area_mm2 > 0 or s.total_lesion_area_mm2 > 0:
            areas = [s.lung_area_mm2, *(s.lesion_area_mm2[n] for n in names)]
            cells = [str(s.own_index), millimetres(s.z_mm), *(f"{a / 100:.1f}" for a in areas)]
            if gate is not None:
                cells.append(f"{seen[s.index].probability:.3f}" if s.index in seen else NOTHING)
            rows.append((str(s.index + 1), cells, False))
    header = ["Slice", "Index", "z, mm", "Lung, cm²", *(f"{name(n)}, cm²" for n in names)]
    return table(
        "Slices with lung or lesion, counted from the top, with the index in the input "
        f"(axis {q.slice_axis}, from 0) and the superior coordinate.",
        header if gate is None else [*header, "Gate"],
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
