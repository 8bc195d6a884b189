"""Just enough of Slicer's Python to load the module file and run its logic without Slicer.

The MRML libraries, ``slicer.util`` and every node are the real ones of slicer-core. Added are only
the names of ``slicer.ScriptedLoadableModule`` and ``slicer.i18n`` that the module uses; any other
name raises, so that nothing passes here by pretence. There are no widgets: the panel's methods
run on plain objects that have just the properties the panel uses, in Slicer's spelling.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import types
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import slicer

MODULE_FILE = Path(__file__).resolve().parents[2] / "CovidLesionSeg" / "CovidLesionSeg.py"


class ScriptedLoadableModule:
    """Base of the module class; ``parent`` takes its title, help and so on."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__


class ScriptedLoadableModuleWidget:
    """Base of the panel class; cannot be set up, since there are no widgets here."""

    def __init__(self, parent: Any = None) -> None:
        self.parent = parent

    def setup(self) -> None:
        raise NotImplementedError("there are no widgets in this host")


class ScriptedLoadableModuleLogic:
    """Base of the logic class."""

    def __init__(self, parent: Any = None) -> None:
        self.parent = parent


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Base of the self-test class."""

    def runTest(self) -> None:
        raise NotImplementedError

    def delayDisplay(self, message: str) -> None:
        logging.getLogger(__name__).info("%s", message)


def tr(text: str) -> str:
    """Translate into the language of the tests, which is the source's."""
    return text


def strict_module(name: str, **members: Any) -> types.ModuleType:
    """A module of ``members``; asking for another name says what is missing."""
    module = types.ModuleType(name)

    def missing(attribute: str) -> Any:
        raise AttributeError(f"the test host has no '{name}.{attribute}'; add it or do without")

    vars(module).update(members, __getattr__=missing)
    return module


@contextmanager
def slicer_names() -> Iterator[None]:
    """Have ``slicer.ScriptedLoadableModule`` and ``slicer.i18n`` while the block runs."""
    bases = (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    )
    added = {
        "ScriptedLoadableModule": strict_module(
            "slicer.ScriptedLoadableModule", **{base.__name__: base for base in bases}
        ),
        "i18n": strict_module("slicer.i18n", tr=tr),
    }
    for name, module in added.items():
        if hasattr(slicer, name):
            raise RuntimeError(f"slicer.{name} exists already; this is not plain slicer-core")
        sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)
    try:
        yield
    finally:
        for name in added:
            del sys.modules[f"slicer.{name}"]
            delattr(slicer, name)


class Control:
    """Properties of a button, label or selector; setting another one raises."""

    __slots__ = ("enabled", "text", "toolTip")

    def __init__(self) -> None:
        self.enabled = True
        self.text = self.toolTip = ""


class NodeSelector(Control):
    """A selector of one MRML node, which lets go of nodes that leave the scene."""

    __slots__ = ("_node",)

    def __init__(self, node: Any = None) -> None:
        super().__init__()
        self._node = node

    def currentNode(self) -> Any:
        return self._node if self._node is not None and self._node.GetScene() else None

    def setCurrentNode(self, node: Any) -> None:
        self._node = node


class ComboBox(Control):
    """A combo box whose first item is chosen."""

    __slots__ = ("items",)

    def __init__(self) -> None:
        super().__init__()
        self.items: list[tuple[str, Any]] = []

    @property
    def count(self) -> int:
        return len(self.items)

    @property
    def currentData(self) -> Any:
        return self.items[0][1] if self.items else None

    def addItem(self, text: str, data: Any) -> None:
        self.items.append((text, data))


class Application:
    """``slicer.app`` in testing mode; ``user`` is what happens when events are processed.

    Its logic is the real one of the scene that the package made without an application.
    """

    SIGNALS = ("startupCompleted()", "lastWindowClosed()", "aboutToQuit()")

    def __init__(self) -> None:
        from CovidLesionSegLogic.mrml.host import get_host

        self.user: Callable[[], None] = lambda: None
        self._logic = get_host().logics["application"]
        self.slots: dict[str, list[Callable[[], None]]] = {signal: [] for signal in self.SIGNALS}

    def connect(self, signal: str, slot: Callable[[], None]) -> None:
        self.slots[signal].append(slot)

    def disconnect(self, signal: str, slot: Callable[[], None]) -> None:
        self.slots[signal].remove(slot)

    def emit(self, signal: str) -> None:
        for slot in self.slots[signal]:
            slot()

    def applicationLogic(self) -> Any:
        return self._logic

    def processEvents(self) -> None:
        self.user()

    def testingEnabled(self) -> bool:
        return True


def make_panel(module: types.ModuleType, volume: Any) -> Any:
    """The panel of ``module`` as after ``setup()``, with ``volume`` chosen; needs ``slicer.app``.

    ``setup()`` itself, which makes Qt's widgets, does not run.
    """
    panel = module.CovidLesionSegWidget()
    panel.logic = module.CovidLesionSegLogic()
    panel.inputSelector, panel.outputSelector = NodeSelector(volume), NodeSelector()
    panel.modelSelector = ComboBox()
    panel.applyButton, panel.statusLabel = Control(), Control()
    panel._connect()
    panel.enter()
    return panel


def load_module(path: Path = MODULE_FILE) -> types.ModuleType:
    """The module file as Slicer loads it; call it within :func:`slicer_names`."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
