"""``slicer.app`` and ``slicer.modules``, as far as a panel needs them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PySide6 import QtWidgets

from .qt_names import MemorySettings


class _Signals:
    """Signals without Qt: connected by signature, sent by :meth:`emit`."""

    def __init__(self, *signatures: str) -> None:
        self.slots: dict[str, list[Callable[..., None]]] = {name: [] for name in signatures}

    def connect(self, signal: str, slot: Callable[..., None]) -> bool:
        self._of(signal).append(slot)
        return True

    def disconnect(self, signal: str, slot: Callable[..., None]) -> bool:
        if slot not in self._of(signal):
            return False
        self._of(signal).remove(slot)
        return True

    def emit(self, signal: str, *values: Any) -> None:
        for slot in list(self._of(signal)):
            slot(*values)

    def _of(self, signal: str) -> list[Callable[..., None]]:
        if signal not in self.slots:
            raise ValueError(f"the test host's application has no signal '{signal}'")
        return self.slots[signal]


class LayoutManager:
    """Keeps the layout that was asked for; there are no views."""

    def __init__(self) -> None:
        self.layout = 0

    def setLayout(self, layout: int) -> None:
        self.layout = int(layout)


class ModuleManager(_Signals):
    """Finds a module by name."""

    def __init__(self, modules: Modules) -> None:
        super().__init__("moduleAboutToBeUnloaded(QString)", "moduleLoaded(QString)")
        self._modules = modules

    def module(self, name: str) -> Any:
        return getattr(self._modules, name.lower(), None)


class Application(_Signals):
    """``slicer.app``; ``testing`` is what testingEnabled() says, ``emit`` sends a signal."""

    applicationName = "Slicer"

    def __init__(self, logic: Any, modules: Modules) -> None:
        super().__init__("startupCompleted()", "lastWindowClosed()", "aboutToQuit()")
        self.testing = False
        self._logic = logic
        self._layouts = LayoutManager()
        self._modules = ModuleManager(modules)
        self._folder = tempfile.TemporaryDirectory(prefix="panel-host-")
        self.temporaryPath = self._folder.name

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the test host has no 'slicer.app.{name}'; add it or do without")

    def close(self) -> None:
        self._folder.cleanup()

    def applicationLogic(self) -> Any:
        return self._logic

    def layoutManager(self) -> LayoutManager:
        return self._layouts

    def moduleManager(self) -> ModuleManager:
        return self._modules

    def processEvents(self) -> None:
        QtWidgets.QApplication.processEvents()

    def setOverrideCursor(self, cursor: Any) -> None:
        QtWidgets.QApplication.setOverrideCursor(cursor)

    def restoreOverrideCursor(self) -> None:
        QtWidgets.QApplication.restoreOverrideCursor()

    def settings(self) -> MemorySettings:
        return MemorySettings()

    userSettings = settings

    def testingEnabled(self) -> bool:
        return self.testing

    def topLevelWidgets(self) -> list[Any]:
        return []  # so that slicer.util finds no main window


class Module:
    """A module of Slicer; as the ``parent`` of a module class it takes only Slicer's properties."""

    __slots__ = (
        "_logic",
        "acknowledgementText",
        "associatedNodeTypes",
        "categories",
        "contributors",
        "dependencies",
        "helpText",
        "hidden",
        "icon",
        "name",
        "path",
        "title",
        "widgetRepresentationCreationEnabled",
    )

    def __init__(self, name: str, *, path: Path | None = None, logic: Any = None) -> None:
        self.name, self.path, self._logic = name, str(path or ""), logic

    def logic(self) -> Any:
        return self._logic


class Modules:
    """``slicer.modules``: those of ``logics``, and each module that is opened."""

    def __init__(self, logics: Mapping[str, Any]) -> None:
        for name, logic in logics.items():
            if name != "application":
                setattr(self, name, Module(name, logic=logic))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the test host has no 'slicer.modules.{name}'")
