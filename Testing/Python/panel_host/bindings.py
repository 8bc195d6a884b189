"""Which widget can show which parameter, as Slicer's parameterNodeWrapper pairs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import slicer
from PySide6 import QtWidgets

from .ctk_widgets import ctkSliderWidget
from .mrml_widgets import qMRMLNodeComboBox


class Connector:
    """Reads, writes and follows one property of a widget."""

    def __init__(self, widget: Any, signal: str, prop: str) -> None:
        self.widget, self._property = widget, prop
        self._signal = getattr(widget, signal)
        self._callback: Callable[[], None] | None = None

    def read(self) -> Any:
        return getattr(self.widget, self._property)

    def write(self, value: Any) -> None:
        setattr(self.widget, self._property, value)

    def start(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._signal.connect(self._changed)

    def stop(self) -> None:
        self._signal.disconnect(self._changed)

    def _changed(self, *_values: Any) -> None:
        if self._callback is not None:
            self._callback()


class _NumberConnector(Connector):
    """Also gives the widget the parameter's range."""

    def __init__(self, widget: Any, validators: Sequence[Any]) -> None:
        super().__init__(widget, "valueChanged", "value")
        for name in ("minimum", "maximum"):
            limits = [getattr(v, name) for v in validators if hasattr(v, name)]
            if limits:
                setattr(widget, name, limits[0])
            elif isinstance(widget, (ctkSliderWidget, QtWidgets.QSlider)):
                raise TypeError(f"{widget.objectName} needs a parameter with a {name}")
            elif isinstance(widget, QtWidgets.QDoubleSpinBox):
                setattr(widget, name, float("-inf" if name == "minimum" else "inf"))
            else:
                setattr(widget, name, -(2**31) if name == "minimum" else 2**31 - 1)


class _ChoiceConnector(Connector):
    """Fills the combo box with the choices, and is about the chosen one's place in it."""

    def __init__(self, widget: Any, choices: Sequence[Any]) -> None:
        super().__init__(widget, "currentIndexChanged", "currentIndex")
        self._choices = choices
        widget.clear()
        for choice in choices:
            widget.addItem(str(choice))

    def read(self) -> Any:
        return self._choices[super().read()]

    def write(self, value: Any) -> None:
        super().write(self._choices.index(value))


class _NodeConnector(Connector):
    """Has the selector list the parameter's type."""

    def __init__(self, widget: Any, kind: type) -> None:
        super().__init__(widget, "currentNodeChanged", "")
        widget.nodeTypes = [kind.__name__]

    def read(self) -> Any:
        return self.widget.currentNode()

    def write(self, value: Any) -> None:
        self.widget.setCurrentNode(value)


_NUMBER_WIDGETS: dict[Any, tuple[type, ...]] = {
    int: (QtWidgets.QSlider, QtWidgets.QSpinBox),
    float: (QtWidgets.QDoubleSpinBox, ctkSliderWidget),
}


def connect_widget(widget: Any, kind: Any, validators: Sequence[Any]) -> Connector:
    """A connector of ``widget`` and a parameter of type ``kind``; TypeError where none fits."""
    if isinstance(widget, qMRMLNodeComboBox) and isinstance(kind, type):
        if issubclass(kind, slicer.vtkMRMLNode):
            return _NodeConnector(widget, kind)
    elif isinstance(widget, QtWidgets.QCheckBox) and kind is bool:
        return Connector(widget, "stateChanged", "checked")
    elif isinstance(widget, QtWidgets.QPushButton) and kind is bool:
        widget.setCheckable(True)
        return Connector(widget, "toggled", "checked")
    elif isinstance(widget, QtWidgets.QLineEdit) and kind is str:
        return Connector(widget, "textChanged", "text")
    elif isinstance(widget, _NUMBER_WIDGETS.get(kind, ())):
        return _NumberConnector(widget, validators)
    elif isinstance(widget, QtWidgets.QComboBox) and kind in (int, float, str, bool):
        choices = [v.choices for v in validators if hasattr(v, "choices")]
        if not choices:
            raise TypeError(f"{widget.objectName}: a combo box needs a parameter with a Choice")
        return _ChoiceConnector(widget, choices[0])
    raise TypeError(f"{type(widget).__name__} {widget.objectName} cannot show a {kind}")
