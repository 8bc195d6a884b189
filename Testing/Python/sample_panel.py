"""A small Slicer module, as its files' text, for the tests of the panel host."""

from __future__ import annotations

from pathlib import Path

MODULE = """
import sys
from typing import Annotated

import qt
import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Choice, Default, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin


class Sample(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Sample")
        self.started = 0
        slicer.app.connect("startupCompleted()", self.onStart)

    def onStart(self):
        self.started += 1


@parameterNodeWrapper
class SampleParameters:
    ct: vtkMRMLScalarVolumeNode
    surfaces: bool = True
    threshold: Annotated[float, WithinRange(0.0, 1.0), Default(0.5)]
    device: Annotated[str, Choice(["auto", "cpu", "cuda"])]= "auto"
    note: str
    rounds: Annotated[int, WithinRange(1, 9)] = 3
    labels: list[str]


class SampleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/Sample.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = SampleLogic()
        self.lines, self.ended = [], []
        self.changes = 0
        self.process = qt.QProcess()
        self.process.connect("readyReadStandardOutput()", self.onOutput)
        self.process.connect("finished(int,QProcess::ExitStatus)", self.onFinished)
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.parameters = SampleParameters(self.logic.getParameterNode())
        self.tag = self.parameters.connectGui(self.ui)
        self.addObserver(self.parameters, vtk.vtkCommand.ModifiedEvent, self.onChange)

    def cleanup(self):
        self.removeObservers()
        self.parameters.disconnectGui(self.tag)

    def onChange(self, caller, event):
        self.changes += 1

    def onApply(self):
        code = "for i in range(3): print('line', i, flush=True)"
        self.process.start(sys.executable, ["-c", code])

    def onOutput(self):
        self.lines += self.process.readAllStandardOutput().data().decode().splitlines()

    def onFinished(self, code, status):
        self.ended.append((code, status == qt.QProcess.NormalExit))


class SampleLogic(ScriptedLoadableModuleLogic):
    pass
"""

_WIDGET = '<item><widget class="{kind}" name="{name}">{properties}</widget></item>'
_PROPERTY = '<property name="{name}"{set}><{kind}>{value}</{kind}></property>'


def _property(name: str, value: str, kind: str = "string", *, dynamic: bool = False) -> str:
    mark = ' stdset="0"' if dynamic else ""
    return _PROPERTY.format(name=name, value=value, kind=kind, set=mark)


def _widget(kind: str, name: str, parameter: str = "", tip: str = "Tip", more: str = "") -> str:
    properties = more
    if tip:
        properties += _property("toolTip", tip)
    if parameter:
        properties += _property("SlicerParameterName", parameter, dynamic=True)
    return _WIDGET.format(kind=kind, name=name, properties=properties)


def connection(sender: str, signal: str, receiver: str, slot: str) -> str:
    """A connection of a ``.ui`` file."""
    return (
        f"<connection><sender>{sender}</sender><signal>{signal}</signal>"
        f"<receiver>{receiver}</receiver><slot>{slot}</slot></connection>"
    )


CONNECTIONS = connection(
    "Sample", "mrmlSceneChanged(vtkMRMLScene*)", "ctSelector", "setMRMLScene(vtkMRMLScene*)"
) + connection("surfacesBox", "toggled(bool)", "noteEdit", "setEnabled(bool)")


def ui_text(extra: str = "", connections: str = CONNECTIONS) -> str:
    """The ``.ui`` file, with more items in its section's layout or other connections."""
    items = (
        _widget(
            "qMRMLNodeComboBox",
            "ctSelector",
            "ct",
            more=_property("addEnabled", "false", "bool")
            + "<property name='nodeTypes'><stringlist><string>vtkMRMLVolumeNode</string>"
            "</stringlist></property>",
        )
        + _widget("QCheckBox", "surfacesBox", "surfaces", more=_property("text", "Surfaces"))
        + _widget("ctkSliderWidget", "thresholdSlider", "threshold")
        + _widget("QComboBox", "deviceBox", "device")
        + _widget("QLineEdit", "noteEdit", "note")
        + _widget("QSpinBox", "roundsBox", "rounds")
        + _widget("QPushButton", "applyButton", more=_property("text", "Apply"))
        + extra
    )
    return (
        '<ui version="4.0"><class>Sample</class><widget class="qMRMLWidget" name="Sample">'
        '<layout class="QVBoxLayout" name="rows"><item>'
        '<widget class="ctkCollapsibleButton" name="section">'
        f"{_property('text', 'Segmentation')}"
        f'<layout class="QVBoxLayout" name="form">{items}</layout></widget></item></layout>'
        f"</widget><connections>{connections}</connections></ui>"
    )


def widget_text(kind: str, name: str, parameter: str = "", tip: str = "Tip", more: str = "") -> str:
    """One item to be given to :func:`ui_text`; ``more`` are further properties."""
    return _widget(kind, name, parameter, tip, more)


def write(folder: Path, ui: str = "") -> Path:
    """Write the module's files into ``folder``; gives the module file."""
    path = folder / "Resources" / "UI" / "Sample.ui"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(ui or ui_text(), encoding="utf-8")
    module = folder / "Sample.py"
    module.write_text(MODULE, encoding="utf-8")
    return module
