"""The learning curve as a small picture."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from CovidLesionSegLogic.ct import atomic_path


def write_curve(rows: Sequence[Mapping[str, float]], path: Path) -> bool:
    """Draw loss and validation figures over the steps into ``path`` (PNG).

    Parameters
    ----------
    rows
        The log: "step", "loss" and the figures of the validation.

    Returns
    -------
    bool
        False when matplotlib is not installed, and nothing was drawn.
    """
    if importlib.util.find_spec("matplotlib") is None:
        return False
    # Figure and canvas by themselves: pyplot would open the user's window system.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained", dpi=100)
    canvas = FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    steps = [row["step"] for row in rows]
    left.plot(steps, [row["loss"] for row in rows], marker=".")
    left.set(xlabel="step", ylabel="training loss (mean of the last 50)")
    if all("validation_loss" in row for row in rows):
        left.plot(steps, [row["validation_loss"] for row in rows], marker=".", label="validation")
        left.legend()
    names = list(dict.fromkeys(name for row in rows for name in row))
    for name in names:  # of a network with several classes "dice NAME" each
        if name in ("dice", "false_marks") or name.startswith("dice "):
            values = [row.get(name, math.nan) for row in rows]
            right.plot(steps, values, marker=".", label=name)
    right.set(xlabel="step", ylabel="validation", ylim=(0, 1))
    right.legend()
    for axes in (left, right):
        axes.grid(alpha=0.3)
    with atomic_path(path) as temporary:
        canvas.print_png(str(temporary))
    return True
