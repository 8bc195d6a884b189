"""``slicer.parameterNodeWrapper``: typed parameters in a vtkMRMLScriptedModuleNode.

The subset most modules use: nodes, bool, int, float, str and lists of the last four, with
``WithinRange``, ``Minimum``, ``Maximum``, ``Choice`` and ``Default``. They are stored as Slicer
stores them: a node as a node reference (and an empty parameter that says it was set), a value as
text under its name, a list as ``name_len`` and ``name_0`` and so on.
"""

from __future__ import annotations

import functools
import types
import typing
from typing import Any

import slicer
from PySide6 import QtCore

from .bindings import Connector, connect_widget
from .parameter_kinds import Choice, Default, Maximum, Minimum, WithinRange, codec_of


class _Parameter:
    """One annotated field of the class, as a property of its instances."""

    def __init__(self, owner: type, name: str, annotation: Any) -> None:
        self.name, self.annotation = name, annotation
        annotated = typing.get_origin(annotation) is typing.Annotated
        self.kind = typing.get_args(annotation)[0] if annotated else annotation
        notes = typing.get_args(annotation)[1:] if annotated else ()
        unknown = [n for n in notes if not hasattr(n, "validate") and not isinstance(n, Default)]
        if unknown:
            raise TypeError(f"the test host does not know the annotations {unknown} of {name}")
        self.codec = codec_of(self.kind)
        self.validators = [note for note in notes if hasattr(note, "validate")]
        given = [note.value for note in notes if isinstance(note, Default)]
        self.default = getattr(owner, name, given[0] if given else self.codec.default)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        return self.codec.read(instance.parameterNode, self.name)

    def __set__(self, instance: Any, value: Any) -> None:
        for validator in self.validators:
            validator.validate(value)
        with slicer.util.NodeModify(instance.parameterNode):
            self.codec.write(instance.parameterNode, self.name, value)


class _Wrapper:
    """What the decorated class gains."""

    allParameters: dict[str, _Parameter]

    def __init__(self, parameterNode: Any) -> None:
        self.parameterNode = parameterNode
        self._connectors: dict[int, dict[str, Connector]] = {}
        self._next_tag = 0
        self._showing = False
        for name, parameter in self.allParameters.items():
            if not parameter.codec.is_in(parameterNode, name):
                setattr(self, name, parameter.default)

    def _parameter(self, name: str) -> _Parameter:
        if name not in self.allParameters:
            raise ValueError(f"{name!r} is none of the parameters {list(self.allParameters)}")
        return self.allParameters[name]

    def default(self, name: str) -> Default:
        return Default(self._parameter(name).default)

    def dataType(self, name: str) -> Any:
        return self._parameter(name).annotation

    def isCached(self, name: str) -> bool:
        return bool(self._parameter(name))  # in Slicer, all types known here are

    def getValue(self, name: str) -> Any:
        return getattr(self, self._parameter(name).name)

    def setValue(self, name: str, value: Any) -> None:
        setattr(self, self._parameter(name).name, value)

    def connectGui(self, gui: Any) -> int:
        """Bind every widget in ``gui`` that has the dynamic property SlicerParameterName."""
        is_widget = isinstance(gui, QtCore.QObject)
        widgets = gui.findChildren(QtCore.QObject) if is_widget else vars(gui).values()
        named = {widget.property("SlicerParameterName"): widget for widget in widgets}
        return self.connectParametersToGui({k: v for k, v in named.items() if k})

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        """Bind parameters to widgets, both ways; the tag is for :meth:`disconnectGui`."""
        connectors = {}
        for name, widget in mapping.items():
            parameter = self._parameter(name)
            connectors[name] = connect_widget(widget, parameter.kind, parameter.validators)
        self._next_tag += 1
        self._connectors[self._next_tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.start(functools.partial(self._take, name, connector))
        self.AddObserver("ModifiedEvent", lambda _caller, _event: self._show())
        return self._next_tag

    def disconnectGui(self, tag: int | None) -> None:
        for connector in self._connectors.pop(tag, {}).values() if tag is not None else ():
            connector.stop()

    def _take(self, name: str, connector: Connector) -> None:
        if not self._showing:
            self.setValue(name, connector.read())

    def _show(self) -> None:
        if self._showing:
            return
        self._showing = True
        try:
            for connectors in self._connectors.values():
                for name, connector in connectors.items():
                    connector.write(self.getValue(name))
        finally:
            self._showing = False

    def StartModify(self) -> Any:
        return self.parameterNode.StartModify()

    def EndModify(self, before: Any) -> Any:
        return self.parameterNode.EndModify(before)

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> Any:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()


def parameterNodeWrapper(decorated: type | None = None) -> Any:
    """Class decorator; use it with or without parentheses."""
    if decorated is None:
        return parameterNodeWrapper
    hints = typing.get_type_hints(decorated, include_extras=True)
    reserved = [name for name in hints if hasattr(_Wrapper, name)]
    if reserved:
        raise ValueError(f"parameters cannot be named {', '.join(reserved)}")
    fields = {name: _Parameter(decorated, name, hint) for name, hint in hints.items()}
    own = {k: v for k, v in vars(decorated).items() if k not in ("__dict__", "__weakref__")}
    members = {**own, **fields, "allParameters": fields}
    return types.new_class(decorated.__name__, (_Wrapper,), {}, lambda body: body.update(members))


MEMBERS = {
    kind.__name__: kind
    for kind in (parameterNodeWrapper, WithinRange, Minimum, Maximum, Choice, Default)
}
