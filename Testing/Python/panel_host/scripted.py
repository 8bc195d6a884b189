"""``slicer.ScriptedLoadableModule``: the base classes of a module file."""

from __future__ import annotations

import logging
import unittest
from pathlib import Path
from typing import Any

import slicer
from slicer.util import modulePath


class ScriptedLoadableModule:
    """Base of the module class; ``parent`` takes its title, help and so on."""

    def __init__(self, parent: Any) -> None:
        super().__init__()
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = parent.helpText = parent.acknowledgementText = ""
        parent.categories, parent.dependencies, parent.contributors = [], [], []

    def resourcePath(self, filename: str) -> str:
        return str(Path(self.parent.path).parent / "Resources" / filename)


class ScriptedLoadableModuleWidget:
    """Base of the panel class; the panel fills ``layout`` of the widget ``parent``."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        if parent is None:
            raise ValueError("open the panel with the test host, which gives it its parent widget")
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent = parent
        self.layout = parent.layout()

    def resourcePath(self, filename: str) -> str:
        return str(Path(modulePath(self.moduleName)).parent / "Resources" / filename)

    def setup(self) -> None:
        """Slicer puts its developer section here, in developer mode."""

    def cleanup(self) -> None:
        """Called before the module is unloaded."""


class ScriptedLoadableModuleLogic:
    """Base of the logic class, which keeps the parameters in one node of the scene."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        """The module's vtkMRMLScriptedModuleNode, made where there is none."""
        if not self.isSingletonParameterNode:
            raise NotImplementedError("the test host has one parameter node per module")
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            return slicer.mrmlScene.AddNode(self.createParameterNode())
        # Closing the scene can take the attribute away.
        if node.GetAttribute("ModuleName") != self.moduleName:
            node.SetAttribute("ModuleName", self.moduleName)
        return node

    def createParameterNode(self) -> Any:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Base of the self-test class."""

    def runTest(self) -> None:
        raise NotImplementedError

    def delayDisplay(self, message: str, requestedDelay: Any = None, msec: Any = None) -> None:
        logging.getLogger(__name__).info("%s", message)


BASES = {
    base.__name__: base
    for base in (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    )
}
