"""Slices with truth and predictions in the classes' colours (paper, Figure 6). It shows patients.

The paper's colours are blue for fibrosis, green for consolidation and red for ground-glass opacity;
here they are those of the model card.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.assess.figures import new_figure, save_figure
from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.models import LesionClass

OTHER_COLOR = (255, 255, 255)
"""For lesion whose class nobody named, or the model does not have."""
STYLES = ("contour", "filled")
OPACITY = 0.5


@dataclass(frozen=True, eq=False)
class OverlayRow:
    """One slice: ``image`` (H, W) uint8 and label maps (H, W) uint8, the truth's first."""

    name: str
    image: NDArray[np.uint8]
    labels: tuple[NDArray[np.uint8], ...]


def class_colors(classes: Sequence[LesionClass]) -> dict[int, tuple[int, int, int]]:
    """(red, green, blue), 0...255, of each label value."""
    return {c.label: c.color for c in classes}


def color_lesions(
    image: NDArray[np.uint8], labels: NDArray[np.uint8], classes: Sequence[LesionClass]
) -> NDArray[np.uint8]:
    """The slice (H, W) as RGB (H, W, 3), lesions half transparent in the colours of their class.

    Raises
    ------
    ValueError
        The shapes differ.
    """
    if image.shape != labels.shape:
        raise ValueError(f"image {image.shape} and labels {labels.shape} differ in size")
    colors = np.full((256, 3), OTHER_COLOR, np.float64)
    for label, color in class_colors(classes).items():
        colors[label] = color
    grey = np.repeat(image[..., None], 3, axis=-1).astype(np.float64)
    mixed = (1 - OPACITY) * grey + OPACITY * colors[labels]
    return np.where(labels[..., None] > 0, mixed, grey).round().astype(np.uint8)


def draw_overlays(
    path: Path,
    rows: Sequence[OverlayRow],
    classes: Sequence[LesionClass],
    *,
    titles: Sequence[str] = ("ground truth", "prediction"),
    style: str = "contour",
) -> None:
    """Write a PNG: a row per slice; the slice, its truth, then each prediction.

    Parameters
    ----------
    classes
        For colours and legend.
    titles
        Of the label maps, as many as each row has.
    style
        "contour" as in Figure 6, or "filled".

    Raises
    ------
    RequestError
        The style is unknown.
    ValueError
        A row has another number of label maps than there are titles, or there is no row.
    """
    from matplotlib.patches import Patch

    if style not in STYLES:
        raise RequestError(f"There is no overlay style '{style}'; choose {' or '.join(STYLES)}.")
    if not rows or any(len(row.labels) != len(titles) for row in rows):
        raise ValueError(f"every row needs {len(titles)} label maps")
    columns = 1 + len(titles)
    figure = new_figure(2.2 * columns, 2.2 * len(rows) + 0.6)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    colors = class_colors(classes)
    for panels, row in zip(grid, rows, strict=True):
        for axes, labels in zip(panels, (None, *row.labels), strict=True):
            axes.set_axis_off()
            if labels is None or style == "contour":
                axes.imshow(row.image, cmap="gray", vmin=0, vmax=255)
            else:
                axes.imshow(color_lesions(row.image, labels, classes))
            if labels is not None and style == "contour":
                limits = axes.axis()
                for label in np.unique(labels[labels > 0]).tolist():
                    color = _hex(colors.get(label, OTHER_COLOR))
                    # A border of background: lesions at the edge, or all over, have outlines too.
                    padded = np.pad((labels == label).astype(float), 1)
                    y, x = (np.arange(-1, n + 1) for n in labels.shape)
                    axes.contour(x, y, padded, levels=[0.5], colors=[color], linewidths=1.2)
                axes.axis(limits)
        corner = {"va": "top", "ha": "left", "transform": panels[0].transAxes}
        panels[0].text(0.02, 0.98, row.name, color="white", fontsize=7, **corner)
    for axes, title in zip(grid[0], ("slice", *titles), strict=True):
        axes.set_title(title, fontsize=10)
    handles = [Patch(facecolor=_hex(c.color), label=c.name) for c in classes]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9)
    save_figure(figure, path)


def _hex(color: tuple[int, int, int]) -> str:
    return "#" + "".join(f"{value:02x}" for value in color)
