"""How parameters are checked, and how they stand in a vtkMRMLScriptedModuleNode."""

from __future__ import annotations

import typing
from collections.abc import Iterable, MutableSequence
from dataclasses import dataclass
from typing import Any

import slicer


@dataclass(frozen=True)
class WithinRange:
    """A value from ``minimum`` to ``maximum``, both included."""

    minimum: float
    maximum: float

    def validate(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not within [{self.minimum}, {self.maximum}]")


@dataclass(frozen=True)
class Minimum:
    """A value not below ``minimum``."""

    minimum: float

    def validate(self, value: Any) -> None:
        if value < self.minimum:
            raise ValueError(f"{value} is below {self.minimum}")


@dataclass(frozen=True)
class Maximum:
    """A value not above ``maximum``."""

    maximum: float

    def validate(self, value: Any) -> None:
        if value > self.maximum:
            raise ValueError(f"{value} is above {self.maximum}")


@dataclass(frozen=True)
class Choice:
    """One of ``choices``."""

    choices: list[Any]

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"{value!r} is none of {self.choices}")


@dataclass(frozen=True)
class Default:
    """The value a parameter has at first."""

    value: Any


@dataclass(frozen=True)
class _Scalar:
    """A bool, int, float or str kept as text."""

    kind: type

    @property
    def default(self) -> Any:
        return self.kind()

    def is_in(self, node: Any, name: str) -> bool:
        return bool(node.HasParameter(name))

    def write(self, node: Any, name: str, value: Any) -> None:
        allowed = (int, float) if self.kind is float else self.kind
        if not isinstance(value, allowed):
            raise TypeError(f"{name} must be of type {self.kind.__name__}, not {value!r}")
        node.SetParameter(name, str(value))

    def read(self, node: Any, name: str) -> Any:
        text = node.GetParameter(name)
        return text == "True" if self.kind is bool else self.kind(text)


@dataclass(frozen=True)
class _Node:
    """A node of the scene, or None."""

    kind: Any
    default = None

    def is_in(self, node: Any, name: str) -> bool:
        return bool(node.HasParameter(name))

    def write(self, node: Any, name: str, value: Any) -> None:
        if not (value is None or isinstance(value, self.kind)):
            raise TypeError(f"{name} must be a {self.kind.__name__}, not {value!r}")
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node: Any, name: str) -> Any:
        return node.GetNodeReference(name)


@dataclass(frozen=True)
class _List:
    """A list of scalars."""

    item: _Scalar

    @property
    def default(self) -> Any:
        return []

    def is_in(self, node: Any, name: str) -> bool:
        return bool(node.HasParameter(f"{name}_len"))

    def write(self, node: Any, name: str, values: Iterable[Any]) -> None:
        with slicer.util.NodeModify(node):
            before = int(node.GetParameter(f"{name}_len") or 0)
            after = list(values)
            for index, value in enumerate(after):
                self.item.write(node, f"{name}_{index}", value)
            node.SetParameter(f"{name}_len", str(len(after)))
            for index in range(len(after), before):
                node.UnsetParameter(f"{name}_{index}")

    def read(self, node: Any, name: str) -> ObservedList:
        count = int(node.GetParameter(f"{name}_len"))
        items = [self.item.read(node, f"{name}_{index}") for index in range(count)]
        return ObservedList(self, node, name, items)


class ObservedList(MutableSequence):
    """A list that writes each change into the parameter node."""

    def __init__(self, codec: _List, node: Any, name: str, items: list[Any]) -> None:
        self._codec, self._node, self._name, self._items = codec, node, name, items

    def __eq__(self, other: object) -> bool:
        return self._items == (other._items if isinstance(other, ObservedList) else other)

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self._items[index] = value
        self._codec.write(self._node, self._name, self._items)

    def __delitem__(self, index: Any) -> None:
        del self._items[index]
        self._codec.write(self._node, self._name, self._items)

    def insert(self, index: int, value: Any) -> None:
        self._items.insert(index, value)
        self._codec.write(self._node, self._name, self._items)


def codec_of(kind: Any) -> Any:
    if kind in (bool, int, float, str):
        return _Scalar(kind)
    if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode):
        return _Node(kind)
    if typing.get_origin(kind) is list and isinstance(codec_of(typing.get_args(kind)[0]), _Scalar):
        return _List(codec_of(typing.get_args(kind)[0]))
    raise TypeError(f"the test host cannot keep a parameter of type {kind}")
