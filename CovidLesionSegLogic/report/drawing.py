"""CT pictures with lesions: window, translucent colours, outlines, letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.report.canvas import DPI, INK, LUNG, Canvas, rgb
from CovidLesionSegLogic.report.pattern import marks
from CovidLesionSegLogic.report.subject import ShownClass
from CovidLesionSegLogic.report.views import Plane

WINDOW_HU = (-1200.0, 200.0)
FILL = 0.30


def shade(plane: Plane, classes: Sequence[ShownClass]) -> NDArray[np.float32]:
    """Lung window with the classes' colours laid over; (rows, columns, 3), 0 to 1."""
    low, high = WINDOW_HU
    hu = np.nan_to_num(plane.hu.astype(np.float32), nan=low)
    grey = np.clip((hu - low) / (high - low), 0, 1)
    picture = np.repeat(grey[..., None], 3, axis=2)
    for lesion in classes:
        inside = plane.labels == lesion.label
        color = np.asarray(rgb(lesion.color), dtype=np.float32)
        picture[inside] = (1 - FILL) * picture[inside] + FILL * color
    return picture


def draw_plane(
    canvas: Canvas,
    plane: Plane,
    classes: Sequence[ShownClass],
    frame: tuple[float, float, float, float],
    letters: tuple[str, str],
) -> Any:
    """Draw a plane into ``frame`` (x, y, width, height; pixels), true to scale; return its axes.

    ``letters`` stand at the left and right edge: R and L, or A and P.
    """
    x, y, width, height = frame
    canvas.panel(x, y, width, height, "#000000")
    axes = canvas.axes(x, y, width, height)
    axes.set_axis_off()
    height_mm, width_mm = plane.size_mm
    extent = (0.0, width_mm, height_mm, 0.0)
    axes.imshow(shade(plane, classes), extent=extent, interpolation="hanning", aspect="equal")
    rows = (np.arange(plane.hu.shape[0]) + 0.5) * plane.row_mm
    columns = (np.arange(plane.hu.shape[1]) + 0.5) * plane.column_mm
    _outline(axes, columns, rows, plane.lungs > 0, LUNG, 0.8, 0.85)
    for lesion in classes:
        _outline(axes, columns, rows, plane.labels == lesion.label, rgb(lesion.color), 1.0, 1.0)
    # Outlines at the border must not move the limits; the frame keeps the plane's scale.
    scale = max(width_mm / width, height_mm / height)
    _patterns(axes, plane, classes, scale)
    axes.set_xlim(width_mm / 2 - scale * width / 2, width_mm / 2 + scale * width / 2)
    axes.set_ylim(height_mm / 2 + scale * height / 2, height_mm / 2 - scale * height / 2)
    for letter, at, align in zip(letters, (0.0, 1.0), ("left", "right"), strict=True):
        note(canvas, axes, (at, 1.0), letter, align=align, above=False, size=15, bold=True)
    return axes


def note(
    canvas: Canvas,
    axes: Any,
    corner: tuple[float, float],
    text: str,
    *,
    align: str,
    above: bool,
    size: float = 13,
    bold: bool = False,
    color: str = INK,
) -> None:
    """Text inside a corner of a picture, dark-edged so that it reads on lung and on bone."""
    from matplotlib.patheffects import withStroke

    x, y = corner
    axes.annotate(
        text,
        (x, y),
        xycoords="axes fraction",
        xytext=(5 if align == "left" else -5, 5 if above else -5),
        textcoords="offset pixels",
        ha=align,
        va="bottom" if above else "top",
        fontsize=size * 72 / DPI,
        fontweight="bold" if bold else "normal",
        fontfamily=canvas.fonts,
        color=color,
        parse_math=False,
        path_effects=[withStroke(linewidth=2.2, foreground="#000000")],
    )


def _patterns(axes: Any, plane: Plane, classes: Sequence[ShownClass], scale: float) -> None:
    """Stripes and dots on the page's pixels, ``scale`` mm each: a CT may have too few."""
    height_mm, width_mm = plane.size_mm
    rows, columns = round(height_mm / scale), round(width_mm / scale)
    if rows < 1 or columns < 1 or len(classes) < 2:
        return
    down = np.arange(rows) * plane.labels.shape[0] // rows
    across = np.arange(columns) * plane.labels.shape[1] // columns
    labels = plane.labels[np.ix_(down, across)]
    layer = np.zeros((rows, columns, 4), np.float32)
    for position, lesion in enumerate(classes):
        layer[(labels == lesion.label) & marks(position, rows, columns)] = (*rgb(lesion.color), 0.9)
    extent = (0.0, width_mm, height_mm, 0.0)
    axes.imshow(layer, extent=extent, interpolation="nearest", aspect="equal")


def _outline(
    axes: Any,
    columns: NDArray[Any],
    rows: NDArray[Any],
    mask: NDArray[np.bool_],
    color: Any,
    width: float,
    alpha: float,
) -> None:
    if min(mask.shape) < 2 or not mask.any():
        return
    # One ring of nothing around: a mask that touches the border gets a closed outline too.
    padded = np.pad(mask.astype(np.uint8), 1)
    columns = np.r_[2 * columns[0] - columns[1], columns, 2 * columns[-1] - columns[-2]]
    rows = np.r_[2 * rows[0] - rows[1], rows, 2 * rows[-1] - rows[-2]]
    axes.contour(columns, rows, padded, levels=[0.5], colors=[color], linewidths=width, alpha=alpha)
