"""A dark page laid out in pixels from the top left, drawn by matplotlib without a display."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.report.pattern import marks
from CovidLesionSegLogic.report.text import elide

DPI = 100
BACKGROUND, PANEL = "#14171c", "#1d2229"
INK, SOFT, FAINT, AMBER, LUNG = "#f2f4f7", "#b9c1cc", "#5b6572", "#ffc24b", "#7fd6e8"

MARK = (0.078, 0.09, 0.11)  # BACKGROUND: stripes and dots on a class's colour

# The first is part of matplotlib; the others, where installed, have what it lacks.
_FONTS = (
    "DejaVu Sans", "Noto Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans Arabic",
    "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Segoe UI", "PingFang SC", "Hiragino Sans",
    "Arial Unicode MS", "WenQuanYi Zen Hei",
)  # fmt: skip


class Canvas:
    """A page of ``width`` x ``height`` pixels; all positions are pixels from the top left.

    Raises
    ------
    RequestError
        When matplotlib is not installed.
    """

    def __init__(self, width: int, height: int) -> None:
        try:
            from matplotlib import font_manager
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError as error:
            raise RequestError(
                "The overview picture needs matplotlib, which is not installed: "
                "install the extra 'report' (pip install 'covid-lesion-seg[report]')."
            ) from error
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=BACKGROUND)
        self._agg = FigureCanvasAgg(self.figure)
        installed = set(font_manager.fontManager.get_font_names())
        self.fonts = [name for name in _FONTS if name in installed] or ["sans-serif"]

    def axes(self, x: float, y: float, width: float, height: float, **options: Any) -> Any:
        """Axes whose frame is the rectangle with its top left corner at (x, y)."""
        return self.figure.add_axes(
            (
                x / self.width,
                1 - (y + height) / self.height,
                width / self.width,
                height / self.height,
            ),
            **options,
        )

    def panel(self, x: float, y: float, width: float, height: float, color: str = PANEL) -> None:
        """A filled rectangle behind whatever comes later."""
        from matplotlib.patches import Rectangle

        left, bottom = x / self.width, 1 - (y + height) / self.height
        self.figure.add_artist(
            Rectangle(
                (left, bottom),
                width / self.width,
                height / self.height,
                facecolor=color,
                edgecolor="none",
                zorder=-5,
            )
        )

    def swatch(self, x: float, y: float, size: int, color: Sequence[int], position: int) -> None:
        """A square in a class's colour with the pattern of its position."""
        picture = np.empty((size, size, 3))
        picture[:] = rgb(color)
        picture[marks(position, size, size)] = MARK
        axes = self.axes(x, y, size, size)
        axes.set_axis_off()
        axes.imshow(picture, interpolation="nearest", aspect="auto")

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 14,
        color: str = INK,
        bold: bool = False,
        align: str = "left",
        room: float | None = None,
    ) -> None:
        """One line of text, its centre line at ``y``; ``size`` and ``room`` (width) in pixels.

        Text wider than ``room`` is cut in its middle. A ``$`` is a character, not a formula.
        """
        artist = self.figure.text(
            x / self.width,
            1 - y / self.height,
            text,
            fontsize=size * 72 / DPI,
            color=color,
            fontweight="bold" if bold else "normal",
            fontfamily=self.fonts,
            ha=align,
            va="center_baseline",
            parse_math=False,
        )
        if room is not None:
            self._fit(artist, text, room)

    def png(self) -> bytes:
        """The page as a PNG file."""
        stream = io.BytesIO()
        with warnings.catch_warnings():
            # A character no installed font has is drawn as a box: no reason to alarm anyone.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            self.figure.savefig(stream, format="png", dpi=DPI, facecolor=BACKGROUND)
        return stream.getvalue()

    def _fit(self, artist: Any, text: str, room: float) -> None:
        length = min(len(text), 400)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            while length > 1:
                artist.set_text(elide(text, length))
                width = artist.get_window_extent(self._agg.get_renderer()).width
                if width <= room:
                    return
                length = max(1, min(length - 1, int(length * room / width)))


def rgb(color: Sequence[int]) -> tuple[float, float, float]:
    """A card's colour (0 to 255) as matplotlib wants it (0 to 1)."""
    red, green, blue = (min(255, max(0, int(c))) / 255 for c in color)
    return red, green, blue
