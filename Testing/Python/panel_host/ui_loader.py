"""Loading a ``.ui`` file into the host's classes, its connections wired or refused."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets

from . import ctk_widgets, mrml_widgets
from .dialect import Dialect, adopt, dialect
from .qt_names import LAYOUTS, WIDGETS


def widget_class(name: str) -> Any:
    """The host's class for a class name of a ``.ui`` file; KeyError where it has none."""
    custom = ctk_widgets.CLASSES | mrml_widgets.CLASSES
    if name in custom:
        return custom[name]
    if name == "Line":  # Designer's name of a separator
        return dialect(QtWidgets.QFrame)
    if name in WIDGETS:
        return dialect(getattr(QtWidgets, name))
    raise KeyError(f"the test host has no widget '{name}'; add it or do without")


class QUiLoader(QtUiTools.QUiLoader):
    """Qt's loader, which makes the host's widgets and layouts."""

    def __init__(self, parent: QtCore.QObject | None = None) -> None:
        super().__init__(parent)
        self._made: list[Any] = []
        self._errors: list[Exception] = []

    def createWidget(
        self, className: str, parent: QtWidgets.QWidget | None = None, name: str = ""
    ) -> QtWidgets.QWidget:
        try:
            widget = widget_class(className)(parent)
        except (KeyError, TypeError) as error:  # it must not pass through C++
            self._errors.append(error)
            widget = dialect(QtWidgets.QWidget)(parent)
        if className == "Line":
            widget.setFrameShape(QtWidgets.QFrame.Shape.HLine)
        widget.setObjectName(name)
        self._made.append(widget)
        return widget

    def createLayout(
        self, className: str, parent: QtCore.QObject | None = None, name: str = ""
    ) -> QtWidgets.QLayout:
        if className not in LAYOUTS:
            self._errors.append(KeyError(f"the test host has no layout '{className}'"))
            className = LAYOUTS[0]
        kind = dialect(getattr(QtWidgets, className))
        layout = kind(parent) if isinstance(parent, QtWidgets.QWidget) else kind()
        layout.setObjectName(name)
        self._made.append(layout)
        return layout

    def load(self, device: Any, parentWidget: QtWidgets.QWidget | None = None) -> Any:
        """The root widget of the file open in ``device``."""
        tree = ElementTree.fromstring(bytes(device.readAll().data()))
        connections = tree.find("connections")
        if connections is not None:
            tree.remove(connections)  # Qt would not know the signals that take MRML objects
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(tree))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        Dialect.loading = True
        try:
            root = adopt(super().load(buffer, parentWidget))
        finally:
            Dialect.loading = False
        if self._errors:
            raise self._errors[0]
        if root is None:
            raise RuntimeError(f"the file cannot be loaded: {self.errorString()}")
        root._made = self._made  # Qt has taken them in without telling Python
        for connection in connections if connections is not None else ():
            _wire(root, connection)
        return root


def _wire(root: Any, connection: ElementTree.Element) -> None:
    def named(tag: str) -> Any:
        name = connection.findtext(tag, "")
        if root.objectName == name:
            return root
        found = root.findChild(QtCore.QObject, name)
        if found is None:
            raise ValueError(f"a connection names '{name}', which is not in the file")
        return found

    named("sender").connect(
        connection.findtext("signal", ""), named("receiver"), connection.findtext("slot", "")
    )
