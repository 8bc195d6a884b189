"""The parts of the overview that are not CT pictures: legend, chart, table."""

from __future__ import annotations

from typing import Any

import numpy as np

from CovidLesionSegLogic.quantify import ClassMeasures
from CovidLesionSegLogic.report.canvas import DPI, FAINT, INK, LUNG, PANEL, SOFT, Canvas, rgb
from CovidLesionSegLogic.report.chart import nice_step
from CovidLesionSegLogic.report.pattern import hatch
from CovidLesionSegLogic.report.subject import ShownResult
from CovidLesionSegLogic.report.text import clean, elide, hounsfield, percent, volume
from CovidLesionSegLogic.report.views import Scene

ROW = 30
COLUMN_NAMES = (
    "mL", "of both lungs", "of right lung", "of left lung", "mean HU", "components", "largest, mL",
)  # fmt: skip


def legend(canvas: Canvas, result: ShownResult, x: float, y: float) -> None:
    """Colour and name of every class, and the line that means lung."""
    room = (canvas.width - 2 * x - 160) / max(1, len(result.classes)) - 44
    for position, lesion in enumerate(result.classes):
        name = elide(clean(lesion.name), 60)
        canvas.swatch(x, y - 8, 16, lesion.color, position)
        canvas.text(x + 24, y, name, size=15, room=room)
        x += 24 + min(room, 8.6 * len(name)) + 28
    canvas.panel(x, y - 1, 22, 2, LUNG)
    canvas.text(x + 30, y, "lungs", size=15)


def slice_marks(axes: Any, positions: list[float]) -> None:
    """Short ticks on both edges of a plane where the axial slices were taken."""
    low, high = axes.get_xlim()
    for position in positions:
        axes.plot([low, low + 0.025 * (high - low)], [position] * 2, color=INK, lw=1)
        axes.plot([high - 0.025 * (high - low), high], [position] * 2, color=INK, lw=1)


def area_chart(
    canvas: Canvas,
    result: ShownResult,
    scene: Scene,
    shown: list[int],
    frame: tuple[float, float, float, float],
) -> None:
    """Lesion area per slice, head up like the planes beside it, over the lung area in grey."""
    x, y, width, height = frame
    x, width = x + 76, width - 76
    canvas.text(x, y - 14, "Lesion area per slice", size=14, color=SOFT)
    lung_max = max((s.lung_area_mm2 for s in result.quantification.slices), default=0) / 100
    if lung_max > 0:
        said = f"grey: lung area, own scale up to {lung_max:.0f} cm²"
        canvas.text(x + width, y - 14, said, size=14, color=SOFT, align="right")
    axes = canvas.axes(x, y, width, height, facecolor=PANEL)
    slices = result.quantification.slices[::-1]  # canonical: feet first
    edges = np.arange(len(slices) + 1) - 0.5
    lung = np.array([s.lung_area_mm2 for s in slices]) / 100
    left = np.zeros(len(slices))
    for position, lesion in enumerate(result.classes):
        area = np.array([s.lesion_area_mm2.get(lesion.name, 0.0) for s in slices]) / 100
        axes.fill_betweenx(
            np.repeat(edges, 2)[1:-1],
            np.repeat(left, 2),
            np.repeat(left + area, 2),
            facecolor=rgb(lesion.color),
            edgecolor=PANEL,
            hatch=hatch(position),
            lw=0,
            zorder=3,
        )
        left = left + area
    (low, high), _, _ = scene.box
    axes.set_ylim(low - 0.5, high - 0.5)
    axes.set_xlim(0, max(float(left.max(initial=0)) * 1.08, 1.0))
    z = np.array([s.z_mm for s in slices])
    low_z, high_z = float(z[low:high].min()), float(z[low:high].max())
    step = nice_step(high_z - low_z, 6) if high_z > low_z else 1.0
    ticks = np.arange(np.ceil(low_z / step) * step, high_z + step * 1e-6, step)
    order = np.argsort(z)
    axes.set_yticks(
        np.interp(ticks, z[order], np.arange(len(slices))[order]),
        [f"{t:g}".replace("-", "−") for t in ticks],
    )
    for k in shown:
        axes.axhline(k, color=FAINT, lw=0.8, ls=(0, (4, 4)), zorder=2)
    _dress(canvas, axes, "lesion area, cm²", "z, mm")
    if not left.any():
        axes.set_xticks([])
        axes.text(0.5, 0.5, "no lesion", transform=axes.transAxes, ha="center", va="center",
                  color=SOFT, fontsize=16 * 72 / DPI, fontfamily=canvas.fonts)  # fmt: skip
    if lung.any():
        behind = axes.twiny()
        # A line, not an area: lesions drawn over a filled lung would read as a share of it.
        behind.plot(np.repeat(lung, 2), np.repeat(edges, 2)[1:-1], color=SOFT, lw=1.4, zorder=1)
        behind.set_xlim(0, float(lung.max()) * 1.08)
        behind.set_xticks([])
        for spine in behind.spines.values():
            spine.set_visible(False)
        # The twin would otherwise be painted over the lesions.
        axes.set_zorder(behind.get_zorder() + 1)
        axes.patch.set_visible(False)
        behind.set_facecolor(PANEL)
        behind.patch.set_visible(True)


def table_height(result: ShownResult) -> float:
    """Pixels the table needs."""
    return ROW * (len(_rows(result)) + 2) + 8


def table(canvas: Canvas, result: ShownResult, x: float, y: float, width: float) -> None:
    """Volumes, shares, density and number of parts per class, then the lungs' own volumes."""
    canvas.panel(x, y, width, table_height(result))
    name_room = 0.3 * width
    step = (width - name_room - 20) / len(COLUMN_NAMES)
    rights = [x + name_room + step * (n + 1) for n in range(len(COLUMN_NAMES))]
    line = y + ROW * 0.6
    for right, name in zip(rights, COLUMN_NAMES, strict=True):
        canvas.text(right, line, name, size=14, color=SOFT, align="right")
    colors = [c.color for c in result.classes]
    rows = _rows(result)
    for n, measures in enumerate(rows):
        line += ROW
        last = n == len(rows) - 1
        if n < len(colors) and len(rows) >= len(colors):
            canvas.swatch(x + 12, line - 8, 16, colors[n], n)
        canvas.text(x + 38, line, clean(measures.name), size=16, bold=last, room=name_room - 48)
        cells = (
            volume(measures.volume_ml),
            percent(measures.share_of_lungs_percent),
            percent(measures.share_of_right_lung_percent),
            percent(measures.share_of_left_lung_percent),
            hounsfield(measures.hu.mean_hu),
            f"{measures.components:,}",
            volume(measures.largest_component_ml),
        )
        for right, cell in zip(rights, cells, strict=True):
            canvas.text(right, line, cell, size=16, bold=last, align="right")
    line += ROW
    q = result.quantification
    lungs = (
        f"{volume(q.lungs.volume_ml)} mL  (right {volume(q.right_lung.volume_ml)}, "
        f"left {volume(q.left_lung.volume_ml)})   mean {hounsfield(q.lungs.hu.mean_hu)} HU"
        if q.lungs.volume_ml > 0
        else "not found"
    )
    canvas.panel(x + 12, line - 1, 16, 2, LUNG)
    canvas.text(x + 38, line, f"lungs  {lungs}", size=16, color=SOFT, room=width - 60)


def _rows(result: ShownResult) -> tuple[ClassMeasures, ...]:
    q = result.quantification
    return (*q.classes, q.total) if len(q.classes) > 1 else q.classes


def _dress(canvas: Canvas, axes: Any, xlabel: str, ylabel: str) -> None:
    size = 13 * 72 / DPI
    axes.set_xlabel(xlabel, color=SOFT, fontsize=size, fontfamily=canvas.fonts)
    axes.set_ylabel(ylabel, color=SOFT, fontsize=size, fontfamily=canvas.fonts)
    axes.tick_params(colors=SOFT, labelsize=size)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(FAINT)
