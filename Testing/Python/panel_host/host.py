"""The host: puts Slicer's names in place, opens a panel, and takes all away again."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import slicer
import slicer.util
from PySide6 import QtCore, QtWidgets

from CovidLesionSegLogic.mrml.host import get_host

from . import ctk_widgets, mrml_widgets, parameters, picture, scripted
from .application import Application, Module, Modules
from .dialect import dialect
from .dialogs import Dialogs, Shown
from .probe import GapProbe
from .qt_names import MemorySettings, qt_members, strict_module
from .ui_loader import QUiLoader

_ABSENT = object()


class ModuleWidget(dialect(QtWidgets.QWidget)):  # type: ignore[misc]
    """What Slicer gives a module to put its panel into."""

    _entered = False

    @property
    def isEntered(self) -> bool:
        """Whether the module is the one that is open."""
        return self._entered


class Host:
    """The running host; made by :func:`running`.

    Attributes
    ----------
    app
        ``slicer.app``; ``app.emit("startupCompleted()")`` sends its signals.
    scene
        ``slicer.mrmlScene``.
    dialogs
        (kind, text) of each dialog, in order.
    answers
        Answers to the questions to come; put them in before the click.
    opened
        Addresses that were opened in the desktop.
    shown
        ``shown.modules`` and ``shown.layers``: what the main window was asked to show.
    errors
        Errors raised in slots and observers; what is left in it at the end fails.
    """

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._panels: list[Any] = []
        self._dialogs = Dialogs()
        self.dialogs, self.answers = self._dialogs.shown, self._dialogs.answers
        self.opened: list[str] = []
        self.errors: list[BaseException] = []
        self.shown = Shown()
        mrml = get_host()
        self.scene = mrml.scene
        self.modules = Modules(mrml.logics)
        self._clear_scene()
        stack.callback(self._clear_scene)
        self.app = Application(mrml.logics["application"], self.modules)
        stack.callback(self.app.close)
        self._install()

    def _install(self) -> None:
        members = qt_members(self._dialogs.ask, self.opened, QUiLoader)
        self._put_module("qt", strict_module("qt", members))
        self._put_module("ctk", strict_module("ctk", ctk_widgets.CLASSES))
        self.provide("ScriptedLoadableModule", scripted.BASES)
        self.provide("parameterNodeWrapper", parameters.MEMBERS)
        self.provide("i18n", {"tr": _tr, "translate": _translate})
        for name, value in {
            "app": self.app,
            "mrmlScene": self.scene,
            "modules": self.modules,
            "__getattr__": _missing_widget,
            **mrml_widgets.CLASSES,
        }.items():
            self._put(slicer, name, value)
        functions = {
            **self._dialogs.functions(),
            "selectModule": self.shown.selectModule,
            "setSliceViewerLayers": self.shown.setSliceViewerLayers,
            "pip_install": _no_pip,
            "showStatusMessage": self.shown.showStatusMessage,
        }
        for name, function in functions.items():
            self._put(slicer.util, name, function)
        # Qt and VTK print what a slot or an observer raises, through this hook.
        self._put(sys, "excepthook", self._note_error)

    def _clear_scene(self) -> None:
        """Start and end with an empty scene; singletons of Slicer's own logics must stay."""
        self.scene.Clear(0)
        for node in slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode"):
            self.scene.RemoveNode(node)

    def provide(self, name: str, members: dict[str, Any]) -> None:
        """Have a module ``slicer.<name>`` of ``members`` until the host ends."""
        if hasattr(slicer, name):
            raise RuntimeError(f"slicer.{name} exists already; this is not plain slicer-core")
        module = strict_module(f"slicer.{name}", members)
        self._put_module(f"slicer.{name}", module)
        self._put(slicer, name, module)

    def open(self, module_file: Path) -> Any:
        """Load a module file, make its panel and enter it; gives the Python widget object."""
        name = module_file.stem
        module = self.load(module_file)
        handle = Module(name, path=module_file)
        self._put(self.modules, name.lower(), handle)
        self._put(self.modules, f"{name}Instance", getattr(module, name)(handle))
        parent = ModuleWidget()
        dialect(QtWidgets.QVBoxLayout)(parent)
        widget = getattr(module, f"{name}Widget")(parent)
        self._put(self.modules, f"{name}Widget", widget)
        widget.setup()
        self._panels.append(widget)
        parent.show()
        parent._entered = True
        if hasattr(widget, "enter"):
            widget.enter()
        self.process_events(0)
        return widget

    def load(self, module_file: Path) -> types.ModuleType:
        """The module file as Slicer loads it, under its own name."""
        name = module_file.stem
        spec = importlib.util.spec_from_file_location(name, module_file)
        if spec is None or spec.loader is None:
            raise ImportError(f"{module_file} cannot be loaded")
        module = importlib.util.module_from_spec(spec)
        self._put_module(name, module)
        spec.loader.exec_module(module)
        return module

    def close(self, widget: Any) -> None:
        """Leave and clean up a panel, and delete its widgets."""
        self._panels.remove(widget)
        if hasattr(widget, "exit"):
            widget.exit()
        widget.parent._entered = False
        widget.cleanup()
        widget.parent.hide()
        widget.parent.deleteLater()
        self.process_events(0)

    def process_events(self, seconds: float) -> None:
        """Let the event loop turn for so long, at least once."""
        end = time.monotonic() + seconds
        while True:
            QtWidgets.QApplication.processEvents()
            QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete.value)
            if time.monotonic() >= end:
                return
            time.sleep(0.002)

    def wait_for(self, condition: Callable[[], Any], timeout: float = 10.0) -> None:
        """Let the event loop turn until ``condition()``; TimeoutError after ``timeout`` s.

        Errors of slots end the wait, since what is waited for may then never happen.
        """
        end = time.monotonic() + timeout
        while not condition():
            if self.errors:
                raise self.errors.pop(0)
            if time.monotonic() > end:
                raise TimeoutError(f"what was waited for did not happen within {timeout} s")
            self.process_events(0.005)

    def event_loop_gaps(self) -> GapProbe:
        """A probe of the longest standstill: ``with host.event_loop_gaps() as gaps: ...``."""
        return GapProbe()

    def save_picture(
        self,
        widget: Any,
        path: Path,
        *,
        width: int = 480,
        height: int | None = None,
        theme: str = "light",
    ) -> None:
        """Write a PNG of a panel (or of any Qt widget), drawn by Qt's Fusion style."""
        target = widget if isinstance(widget, QtWidgets.QWidget) else widget.parent
        picture.save_picture(target, path, width=width, height=height, theme=theme)

    def finish(self) -> None:
        """Close what is open; raises the first error that a slot or observer raised."""
        try:
            for widget in reversed(self._panels[:]):
                self.close(widget)
        finally:
            MemorySettings.stored.clear()
            self._stack.close()
        if self.errors:
            raise self.errors[0]

    def _note_error(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        traceback.print_exception(kind, error, trace)
        self.errors.append(error)

    def _put(self, owner: Any, name: str, value: Any) -> None:
        """Set an attribute until the host ends."""
        before = vars(owner).get(name, _ABSENT)
        setattr(owner, name, value)

        def restore() -> None:
            if before is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, before)

        self._stack.callback(restore)

    def _put_module(self, name: str, module: types.ModuleType) -> None:
        """Let ``import name`` give ``module`` until the host ends."""
        before = sys.modules.get(name)
        sys.modules[name] = module

        def restore() -> None:
            if before is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = before

        self._stack.callback(restore)


@contextmanager
def running() -> Iterator[Host]:
    """Have Qt, MRML and Slicer's names in place while the block runs."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    application = QtWidgets.QApplication.instance() or QtWidgets.QApplication([])
    QtWidgets.QApplication.setStyle("Fusion")
    QtWidgets.QApplication.setPalette(picture.palette("light"))
    picture.register_font()
    with ExitStack() as stack:
        host = Host(stack)
        try:
            yield host
        except BaseException:
            host.errors.clear()  # the test's own error is the one to show
            raise
        finally:
            host.finish()
    del application


def _tr(text: str) -> str:
    """Translate into the language of the tests, which is the source's."""
    return text


def _translate(context: str, text: str) -> str:
    return text


def _no_pip(requirements: Any, **_options: Any) -> None:
    raise AssertionError(f"the panel wanted to install packages: {requirements}")


def _missing_widget(name: str) -> Any:
    if name.startswith(("qMRML", "qSlicer", "ctk")):
        raise AttributeError(f"the test host has no 'slicer.{name}'; add it or do without")
    raise AttributeError(f"module 'slicer' has no attribute '{name}'")
