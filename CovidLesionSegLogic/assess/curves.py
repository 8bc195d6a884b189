"""Precision-recall and F-measure curves over the 256 thresholds: numbers and pictures."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.assess.slices import THRESHOLDS, SliceScores
from CovidLesionSegLogic.ct.atomic import atomic_path
from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.quantify.export import write_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BETA_SQUARED = (0.3, 1.0)
"""0.3 as in salient object detection (Achanta et al., CVPR 2009); at 1 the F-measure is Dice."""


def require_matplotlib() -> None:
    """Raise RequestError saying how to install matplotlib when it is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise RequestError(
            "Curves need matplotlib, which is not installed: install 'covid-lesion-seg[report]' "
            "or leave --curves out."
        )


def f_measure(
    precision: NDArray[np.float64], recall: NDArray[np.float64], beta_squared: float
) -> NDArray[np.float64]:
    """(1 + b2) P R / (b2 P + R), 0 where both are 0; element by element."""
    above = (1 + beta_squared) * precision * recall
    below = beta_squared * precision + recall
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def mean_curves(scores: Sequence[SliceScores]) -> dict[str, NDArray[np.float64]]:
    """Curves averaged over images, each (256,), from threshold 1 down to 0.

    The F-measure is computed for each image, then averaged.
    """
    precision = np.stack([s.precision_curve for s in scores])
    recall = np.stack([s.sensitivity_curve for s in scores])
    curves = {
        "threshold": np.linspace(1, 0, THRESHOLDS),
        "precision": precision.mean(axis=0),
        "recall": recall.mean(axis=0),
        "specificity": np.mean([s.specificity_curve for s in scores], axis=0),
        "dice": np.mean([s.dice_curve for s in scores], axis=0),
        "e_measure": np.mean([s.e_measure_curve for s in scores], axis=0),
    }
    for b2 in BETA_SQUARED:
        curves[f_name(b2)] = f_measure(precision, recall, b2).mean(axis=0)
    return curves


def write_curves(scores: Sequence[SliceScores], folder: Path, title: str) -> None:
    """Write ``curves.csv``, ``precision_recall.png`` and ``f_measure.png`` into ``folder``."""
    curves = mean_curves(scores)
    columns = [column.tolist() for column in curves.values()]
    rows = (dict(zip(curves, values, strict=True)) for values in zip(*columns, strict=True))
    write_csv(rows, folder / "curves.csv")

    def precision_recall(axes: Axes) -> None:
        axes.plot(curves["recall"], curves["precision"])
        axes.set(xlabel="recall", ylabel="precision")

    def f_measures(axes: Axes) -> None:
        for b2 in BETA_SQUARED:
            label = f"β² = {b2:g}" + (" (Dice)" if b2 == 1 else "")
            axes.plot(255 * curves["threshold"], curves[f_name(b2)], label=label)
        axes.set(xlabel="threshold of the stretched map, 0 to 255", ylabel="F-measure")
        axes.legend()

    _picture(folder / "precision_recall.png", title, precision_recall)
    _picture(folder / "f_measure.png", title, f_measures)


def comparison_rows(
    models: Mapping[str, Mapping[str, NDArray[np.float64]]],
) -> list[dict[str, float]]:
    """Mean curves of several models for a CSV: one row per threshold, a column per model and curve.

    Parameters
    ----------
    models
        By the model's label: "precision" and "sensitivity", (images, 256) each.
    """
    columns: dict[str, list[float]] = {"threshold": np.linspace(1, 0, THRESHOLDS).tolist()}
    for label, curves in models.items():
        for name, values in _comparable(curves).items():
            columns[f"{label}, {name}"] = values.tolist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def comparison_png(models: Mapping[str, Mapping[str, NDArray[np.float64]]]) -> bytes:
    """Several models in one picture (PNG): precision-recall, and the F-measure for each beta^2.

    Parameters
    ----------
    models
        As for :func:`comparison_rows`.
    """
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * (1 + len(BETA_SQUARED)), 4.4), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(1, 1 + len(BETA_SQUARED))
    for label, curves in models.items():
        mean = _comparable(curves)
        panels[0].plot(mean["recall"], mean["precision"], label=label)
        for axes, b2 in zip(panels[1:], BETA_SQUARED, strict=True):
            axes.plot(np.linspace(255, 0, THRESHOLDS), mean[f_name(b2)], label=label)
    panels[0].set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), title="precision-recall")
    for axes, b2 in zip(panels[1:], BETA_SQUARED, strict=True):
        axes.set(xlabel="threshold of the stretched map, 0 to 255", ylabel="F-measure")
        axes.set_title(f"F-measure, β² = {b2:g}" + (" (Dice)" if b2 == 1 else ""))
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.set_ylim(0, 1.02)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=max(1, len(labels)))
    stream = io.BytesIO()
    canvas.print_png(stream)
    return stream.getvalue()


def f_name(beta_squared: float) -> str:
    """Name of an F-measure's column."""
    return f"f_measure_beta2_{beta_squared:g}"


def _comparable(curves: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    precision, recall = curves["precision"], curves["sensitivity"]
    mean = {"precision": precision.mean(axis=0), "recall": recall.mean(axis=0)}
    for b2 in BETA_SQUARED:
        mean[f_name(b2)] = f_measure(precision, recall, b2).mean(axis=0)
    return mean


def _picture(path: Path, title: str, draw: Callable[[Axes], None]) -> None:
    # Figure and canvas by themselves: pyplot would open the user's window system.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    draw(axes)
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.set_ylim(0, 1.02)
    with atomic_path(path) as temporary:
        canvas.print_png(str(temporary))
