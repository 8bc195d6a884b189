"""The module ``qt``: what a panel may use of Qt, in PythonQt's dialect."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from PySide6 import QtCore, QtGui, QtWidgets

from .dialect import QtProperty, dialect

WIDGETS = [
    "QWidget",
    "QLabel",
    "QPushButton",
    "QToolButton",
    "QCheckBox",
    "QRadioButton",
    "QComboBox",
    "QProgressBar",
    "QTableWidget",
    "QLineEdit",
    "QTextEdit",
    "QPlainTextEdit",
    "QSlider",
    "QDoubleSpinBox",
    "QSpinBox",
    "QGroupBox",
    "QFrame",
    "QScrollArea",
    "QHeaderView",
    "QAbstractItemView",
]
LAYOUTS = ("QVBoxLayout", "QHBoxLayout", "QGridLayout", "QFormLayout")

# Values and namespaces that are the same in both dialects.
_PLAIN = {
    QtCore: ("QFile", "QProcessEnvironment", "QSize", "QUrl", "Qt"),
    QtGui: ("QBrush", "QColor", "QFont", "QIcon", "QPalette", "QPixmap"),
    QtWidgets: ("QApplication", "QSizePolicy", "QSpacerItem", "QTableWidgetItem"),
}


def strict_module(name: str, members: Mapping[str, Any]) -> types.ModuleType:
    """A module of ``members``; asking for another name says what is missing."""
    module = types.ModuleType(name)

    def missing(attribute: str) -> Any:
        raise AttributeError(f"the test host has no '{name}.{attribute}'; add it or do without")

    vars(module).update(members, __getattr__=missing, __path__=[])
    return module


class _SingleShot(QtProperty):
    """``QTimer.singleShot(ms, f)`` of the class, the property ``singleShot`` of a timer."""

    def __get__(self, instance: QtCore.QObject | None, owner: type | None = None) -> Any:
        if instance is None:
            return QtCore.QTimer.singleShot
        return super().__get__(instance, owner)


class MemorySettings:
    """QSettings that are forgotten when the host ends; every instance sees the same values."""

    stored: ClassVar[dict[str, Any]] = {}

    def contains(self, key: str) -> bool:
        return key in self.stored

    def value(self, key: str, default: Any = None) -> Any:
        return self.stored.get(key, default)

    def setValue(self, key: str, value: Any) -> None:
        self.stored[key] = value

    def remove(self, key: str) -> None:
        self.stored.pop(key, None)


def qt_members(ask: Callable[[str, str], Any], opened: list[str], loader: type) -> dict[str, Any]:
    """Names of the module ``qt``.

    Parameters
    ----------
    ask
        Called with the kind and the title of a dialog; gives the user's answer.
    opened
        Takes the addresses that the panel opens in the desktop.
    loader
        The class ``QUiLoader``.
    """

    class QFileDialog:
        """File dialogs that are answered by the test; they give the path alone, as in PythonQt."""

        @staticmethod
        def getSaveFileName(
            parent: Any = None, title: str = "", path: str = "", filters: str = ""
        ) -> str:
            return str(ask("save file", title))

        @staticmethod
        def getOpenFileName(
            parent: Any = None, title: str = "", path: str = "", filters: str = ""
        ) -> str:
            return str(ask("open file", title))

        @staticmethod
        def getExistingDirectory(parent: Any = None, title: str = "", path: str = "") -> str:
            return str(ask("folder", title))

    class QDesktopServices:
        """Notes what would be opened."""

        @staticmethod
        def openUrl(url: QtCore.QUrl) -> bool:
            opened.append(url.toString())
            return True

    members = {name: dialect(getattr(QtWidgets, name)) for name in (*WIDGETS, *LAYOUTS)}
    members |= {name: dialect(getattr(QtCore, name)) for name in ("QObject", "QProcess", "QTimer")}
    members["QTimer"].singleShot = _SingleShot("singleShot", writable=True)
    for source, names in _PLAIN.items():
        members |= {name: getattr(source, name) for name in names}
    members |= {
        "QDesktopServices": QDesktopServices,
        "QFileDialog": QFileDialog,
        "QSettings": MemorySettings,
        "QUiLoader": loader,
    }
    return members
