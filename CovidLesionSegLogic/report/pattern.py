"""Patterns that tell classes apart without their colours, the same in picture, chart and legend.

Red and green, the usual colours of ground-glass opacity and consolidation, look alike to one man
in twelve; the first class is plain, the others are striped or dotted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

PERIOD = 8
"""Pixels from one stripe or dot to the next."""

KINDS = ("plain", "rising stripes", "dots", "falling stripes", "crosses")
_HATCHES = ("", "////", "..", "\\\\\\\\", "xx")


def kind_of(position: int) -> str:
    """The pattern of the class at ``position`` (from 0); with many classes they come again."""
    return KINDS[position % len(KINDS)]


def hatch(position: int) -> str:
    """The same pattern in matplotlib's letters."""
    return _HATCHES[position % len(KINDS)]


def marks(position: int, rows: int, columns: int) -> NDArray[np.bool_]:
    """Where a class's stripes or dots are on a page of (rows, columns) pixels."""
    y, x = np.ogrid[:rows, :columns]
    kind = kind_of(position)
    if kind == "plain":
        return np.zeros((rows, columns), np.bool_)
    if kind == "dots":
        dy, dx = y % PERIOD - PERIOD // 2, x % PERIOD - PERIOD // 2
        return np.asarray(dy * dy + dx * dx <= 3)
    rising, falling = (x + y) % PERIOD < 2, (x - y) % PERIOD < 2
    if kind == "crosses":
        return np.asarray(rising | falling)
    return np.asarray(rising if kind == "rising stripes" else falling)


def svg_patterns(prefix: str, colors: Sequence[str]) -> str:
    """``<defs>`` with one pattern per class; used as ``fill="url(#PREFIX-POSITION)"``."""
    strokes = {
        "rising stripes": "M-2 2L2 -2M0 8L8 0M6 10L10 6",
        "falling stripes": "M-2 6L2 10M0 0L8 8M6 -2L10 2",
    }
    strokes["crosses"] = strokes["rising stripes"] + strokes["falling stripes"]
    parts = []
    for position, color in enumerate(colors):
        kind = kind_of(position)
        drawn = f'<path class="mark" d="{strokes[kind]}"/>' if kind in strokes else ""
        if kind == "dots":
            drawn = '<circle class="dot" cx="4" cy="4" r="1.8"/>'
        parts.append(
            f'<pattern id="{prefix}-{position}" width="{PERIOD}" height="{PERIOD}" '
            f'patternUnits="userSpaceOnUse"><rect width="{PERIOD}" height="{PERIOD}" '
            f'fill="{color}"/>{drawn}</pattern>'
        )
    return f"<defs>{''.join(parts)}</defs>"


def css_background(position: int, color: str) -> str:
    """A legend's swatch as a style: colour with the pattern over it."""
    stripes = {"rising stripes": "135deg", "falling stripes": "45deg"}
    kind = kind_of(position)
    line = "repeating-linear-gradient({}, transparent 0 3px, var(--page) 3px 4.5px)"
    images = {
        "dots": "radial-gradient(var(--page) 30%, transparent 36%) 0 0 / 5px 5px",
        "crosses": f"{line.format('45deg')}, {line.format('135deg')}",
        **{name: line.format(angle) for name, angle in stripes.items()},
    }
    return f"background:{images[kind]}, {color}" if kind in images else f"background:{color}"
