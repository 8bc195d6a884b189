"""Figure 6: test images with the lesion classes in colour. It shows the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.assess.figures import new_figure, save_figure
from CovidLesionSegLogic.learn.sources import UNKNOWN_CLASS

COLORS = {
    "ground-glass opacity": (220, 50, 50),
    "consolidation": (60, 180, 75),
    "fibrosis": (60, 110, 220),
}
"""As in the paper's Figure 6 and in the product."""
OTHERS = ((240, 180, 30), (150, 80, 200), (40, 190, 190), (240, 120, 30))
UNNAMED = (200, 200, 60)
OPACITY = 0.45


def class_colors(names: Sequence[str]) -> dict[int, tuple[int, int, int]]:
    """Colour of every value of a label map."""
    free = (color for _ in range(len(names)) for color in OTHERS)
    colors = {label: COLORS.get(name) or next(free) for label, name in enumerate(names, 1)}
    return colors | {UNKNOWN_CLASS: UNNAMED}


def overlay(
    image: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    colors: Mapping[int, tuple[int, int, int]],
) -> NDArray[np.uint8]:
    """(H, W, 3): the grey image (H, W) with its label map laid over it."""
    picture = np.repeat(image[..., None], 3, axis=2).astype(np.float32)
    for label, color in colors.items():
        inside = labels == label
        picture[inside] = (1 - OPACITY) * picture[inside] + OPACITY * np.array(color, np.float32)
    return picture.round().astype(np.uint8)


def draw_overlays(
    path: Path,
    images: Mapping[str, NDArray[np.uint8]],
    columns: Sequence[tuple[str, Mapping[str, NDArray[np.uint8]]]],
    names: Sequence[str],
) -> None:
    """Write a PNG: a row per image; the slice, then each column's label map over it.

    Parameters
    ----------
    images
        (H, W) uint8 by key, in the order of the rows.
    columns
        Title and label maps (H, W) by key: the ground truth first.
    names
        Of the lesion classes.
    """
    from matplotlib.patches import Patch

    colors = class_colors(names)
    count = 1 + len(columns)
    figure = new_figure(2.2 * count, 2.0 * len(images) + 0.7)
    grid = figure.subplots(len(images), count, squeeze=False)
    for row, (key, image) in zip(grid, images.items(), strict=True):
        shown = [np.repeat(image[..., None], 3, axis=2)]
        shown += [overlay(image, maps[key], colors) for _, maps in columns]
        for axes, picture in zip(row, shown, strict=True):
            axes.imshow(picture)
            axes.set_axis_off()
    for axes, title in zip(grid[0], ["slice", *(title for title, _ in columns)], strict=True):
        axes.set_title(title, fontsize=10)
    handles = [
        Patch(color="#{:02x}{:02x}{:02x}".format(*colors[label]), label=name)
        for label, name in enumerate(names, 1)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9)
    save_figure(figure, path)
