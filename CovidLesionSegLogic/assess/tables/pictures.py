"""Figure 7: test images with the outlines of ground truth and networks. It shows patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.atomic import atomic_path

THRESHOLD = 0.5
TRUTH_COLOR, OURS_COLOR = "#00c853", "#ffab00"


def choose_images(masks: Mapping[str, NDArray[np.uint8]], count: int) -> list[str]:
    """Names evenly spread over the images in order of their lesion share, largest first.

    No result takes part in the choice.
    """
    share = {name: float((mask > 0).mean()) for name, mask in masks.items()}
    ordered = sorted(share, key=lambda name: (-share[name], name))
    count = min(count, len(ordered))
    places = np.linspace(0, len(ordered) - 1, count).round().astype(int)
    return [ordered[i] for i in places]


def draw_grid(
    path: Path,
    images: Mapping[str, NDArray[np.uint8]],
    masks: Mapping[str, NDArray[np.uint8]],
    maps: Sequence[tuple[str, Mapping[str, NDArray[np.uint8]]]],
    names: Sequence[str],
) -> None:
    """Write a PNG: one row per image; the slice, its ground truth, then each network's outline.

    Parameters
    ----------
    images, masks
        (H, W) uint8 by name; masks are 0 or not.
    maps
        Title and soft maps (H, W) uint8 of 0..1 by name, for each network; outlined at 0.5.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = 2 + len(maps)
    figure = Figure(figsize=(2.2 * columns, 2.0 * len(names) + 0.3), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    grid = figure.subplots(len(names), columns, squeeze=False)
    for row, name in zip(grid, names, strict=True):
        outlined = [None, masks[name] > 0, *(m[name] / 255 >= THRESHOLD for _, m in maps)]
        for axes, shape in zip(row, outlined, strict=True):
            axes.imshow(images[name], cmap="gray", vmin=0, vmax=255)
            axes.set_axis_off()
            if shape is not None and shape.any() and not shape.all():
                color = TRUTH_COLOR if axes is row[1] else OURS_COLOR
                axes.contour(shape.astype(float), levels=[0.5], colors=color, linewidths=1.2)
    for axes, title in zip(
        grid[0], ["slice", "ground truth", *(title for title, _ in maps)], strict=True
    ):
        axes.set_title(title, fontsize=10)
    with atomic_path(path) as temporary:
        canvas.print_png(str(temporary))
