"""Pictures of a panel, in a light or a dark theme."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

# Background, field, text, button, highlight; the rest follows from them.
_COLOURS = {
    "light": ("#efefef", "#ffffff", "#000000", "#efefef", "#308cc6"),
    "dark": ("#353535", "#232323", "#eeeeee", "#454545", "#2a82da"),
}


def register_font() -> None:
    """Make sure there are letters: the offscreen platform may know no font at all."""
    if QtGui.QFontDatabase.families():
        return
    import matplotlib

    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    if QtGui.QFontDatabase.addApplicationFont(str(font)) < 0:
        raise RuntimeError("no font was found; install one, or matplotlib, which brings one")


def palette(theme: str) -> QtGui.QPalette:
    """Colours of ``theme``, "light" or "dark"."""
    if theme not in _COLOURS:
        raise ValueError(f"the theme is 'light' or 'dark', not {theme!r}")
    window, base, text, button, highlight = (QtGui.QColor(c) for c in _COLOURS[theme])
    colours = QtGui.QPalette(button, window)  # Qt derives edges and shadows from these two
    role = QtGui.QPalette.ColorRole
    for part in (role.WindowText, role.Text, role.ButtonText, role.ToolTipText):
        colours.setColor(part, text)
    for part in (role.Base, role.ToolTipBase):
        colours.setColor(part, base)
    colours.setColor(role.AlternateBase, window)
    colours.setColor(role.Highlight, highlight)
    colours.setColor(role.HighlightedText, QtGui.QColor("white"))
    faint = QtGui.QColor("#808080")
    for part in (role.WindowText, role.Text, role.ButtonText, role.PlaceholderText):
        colours.setColor(QtGui.QPalette.ColorGroup.Disabled, part, faint)
    colours.setColor(role.PlaceholderText, faint)
    return colours


def save_picture(widget: Any, path: Path, *, width: int, height: int | None, theme: str) -> None:
    """Write a PNG of the Qt widget ``widget``, as high as it wants to be unless told."""
    before = QtWidgets.QApplication.palette()
    QtWidgets.QApplication.setPalette(palette(theme))
    if height is None:
        # Twice: labels that wrap are as high as their width makes them.
        layout: Any = QtWidgets.QWidget.layout(widget)
        for _ in range(2):
            layout.activate()
            wanted = layout.totalHeightForWidth(width) if layout.hasHeightForWidth() else -1
            height = max(wanted, widget.sizeHint().height())
            QtWidgets.QWidget.resize(widget, width, height)
            QtWidgets.QApplication.processEvents()
    else:
        QtWidgets.QWidget.resize(widget, width, height)
    QtWidgets.QApplication.processEvents()
    picture: QtGui.QPixmap = widget.grab(QtCore.QRect(0, 0, -1, -1))
    QtWidgets.QApplication.setPalette(before)
    if not picture.save(str(path), "PNG"):
        raise OSError(f"the picture {path} could not be written")
