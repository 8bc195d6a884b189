"""Just enough of Slicer's Python to load the module file and run its logic without Slicer.

The MRML libraries, ``slicer.util`` and every node are the real ones of slicer-core. Added are only
the names of ``slicer.ScriptedLoadableModule`` and ``slicer.i18n`` that the module uses; any other
name raises, so that nothing passes here by pretence. There are no widgets.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import types
import unittest
from collections.abc import Iterator
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
    """Base of the panel class; cannot be made, since there are no widgets here."""

    def __init__(self, parent: Any = None) -> None:
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


def _strict_module(name: str, **members: Any) -> types.ModuleType:
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
        "ScriptedLoadableModule": _strict_module(
            "slicer.ScriptedLoadableModule", **{base.__name__: base for base in bases}
        ),
        "i18n": _strict_module("slicer.i18n", tr=tr),
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


def load_module(path: Path = MODULE_FILE) -> types.ModuleType:
    """The module file as Slicer loads it; call it within :func:`slicer_names`."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
