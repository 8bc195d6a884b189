"""PythonQt's dialect for the classes of PySide6.

In PythonQt a Qt property is an attribute (``button.text = "Apply"``, ``box.checked``) and the
getter of the same name cannot be called; other methods, setters too, are methods. Signals are
connected by signature: ``button.connect("clicked(bool)", f)``. A misspelt attribute raises.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ClassVar

from PySide6 import QtCore

Slot = Callable[..., Any]

# Virtual in C++, where Qt would find the property in place of an override: they stay methods.
_VIRTUAL = {"sizeHint", "minimumSizeHint"}

# Methods whose answers must speak the dialect too.
_GIVING_OBJECTS = [
    "buddy",
    "cellWidget",
    "children",
    "currentWidget",
    "findChild",
    "findChildren",
    "focusWidget",
    "horizontalHeader",
    "indexWidget",
    "itemDelegate",
    "layout",
    "lineEdit",
    "model",
    "parent",
    "parentWidget",
    "takeWidget",
    "verticalHeader",
    "view",
    "viewport",
    "widget",
    "window",
]


class _DialectType(type(QtCore.QObject)):  # type: ignore[misc]
    """Makes ``isinstance(button, qt.QWidget)`` true, though each class is derived on its own."""

    def __instancecheck__(cls, instance: object) -> bool:
        base = vars(cls).get("qt_class")
        return isinstance(_plain(instance), base) if base else super().__instancecheck__(instance)

    def __subclasscheck__(cls, subclass: type) -> bool:
        base = vars(cls).get("qt_class")
        return issubclass(subclass, base) if base else super().__subclasscheck__(subclass)


class QtProperty:
    """One of Qt's properties as an attribute."""

    def __init__(self, name: str, *, writable: bool) -> None:
        self.name, self.writable = name, writable

    def __get__(self, instance: QtCore.QObject | None, owner: type | None = None) -> Any:
        if instance is None:
            return self
        return adopt(QtCore.QObject.property(instance, self.name))

    def __set__(self, instance: QtCore.QObject, value: Any) -> None:
        label = f"{type(instance).__name__}.{self.name}"
        if not self.writable:
            raise AttributeError(f"{label} is read-only")
        if not QtCore.QObject.setProperty(instance, self.name, value):
            raise TypeError(f"{label} cannot be {value!r}")


class Dialect:
    """Base of every class the host offers; ``SIGNALS`` and ``SLOTS`` name what is made in Python.

    ``SIGNALS`` takes the C++ signature to the attribute that holds the signal.
    """

    SIGNALS: ClassVar[dict[str, str]] = {}
    SLOTS: ClassVar[tuple[str, ...]] = ()
    sealed = False
    loading = False
    # Slicer's PythonQt gives every object its name under this name too.
    name = QtProperty("objectName", writable=True)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # PySide6 looks for these two only in the class itself, not in its bases.
        for name in ("connect", "disconnect"):
            if name not in vars(cls):
                setattr(cls, name, getattr(Dialect, name))

    def __setattr__(self, name: str, value: Any) -> None:
        kind = type(self)
        if vars(kind).get("sealed") and not name.startswith("_") and not hasattr(kind, name):
            if Dialect.loading:
                return  # PySide6's loader gives the root its children as attributes
            raise AttributeError(f"{kind.__name__} has no property '{name}'")
        super().__setattr__(name, value)

    def className(self) -> str:
        return str(self.metaObject().className())  # type: ignore[attr-defined]

    def connect(self, signal: str, *target: Any) -> bool:
        """Connect to a callable, or to ``(receiver, "slot(types)")``."""
        return _connect(self, signal, target)

    def disconnect(self, signal: str, *target: Any) -> bool:
        """Undo :meth:`connect`; False where there was no such connection, as in Slicer."""
        return _disconnect(self, signal, target)


class Foreign:
    """An object that Qt made itself (a table's header, ...), seen in the dialect."""

    __slots__ = ("_object",)

    def __init__(self, foreign: QtCore.QObject) -> None:
        object.__setattr__(self, "_object", foreign)

    def __getattr__(self, name: str) -> Any:
        kind = dialect(type(self._object))
        found = getattr(kind, name)
        return found.__get__(self._object, kind) if hasattr(found, "__get__") else found

    def __setattr__(self, name: str, value: Any) -> None:
        descriptor = getattr(dialect(type(self._object)), name, None)
        if not isinstance(descriptor, QtProperty):
            raise AttributeError(f"{type(self._object).__name__} has no property '{name}'")
        descriptor.__set__(self._object, value)

    def __eq__(self, other: object) -> bool:
        return bool(self._object == _plain(other))

    def __hash__(self) -> int:
        return hash(self._object)

    def className(self) -> str:
        return str(self._object.metaObject().className())

    def connect(self, signal: str, *target: Any) -> bool:
        return _connect(self._object, signal, target)

    def disconnect(self, signal: str, *target: Any) -> bool:
        return _disconnect(self._object, signal, target)


def _plain(value: Any) -> Any:
    return value._object if type(value) is Foreign else value


def _signal(sender: Any, signal: str) -> tuple[str, str]:
    """The normalised signature and, of a signal made in Python, the attribute."""
    key = normalized(signal)
    attribute = getattr(sender, "SIGNALS", {}).get(key, "")
    if not attribute and sender.metaObject().indexOfSignal(key) < 0:
        raise ValueError(f"{type(sender).__name__} has no signal '{signal}'")
    return key, attribute


def _connect(sender: Any, signal: str, target: tuple[Any, ...]) -> bool:
    key, attribute = _signal(sender, signal)
    slot = _limited(find_slot(*target))
    if attribute:
        getattr(sender, attribute).connect(slot)
    else:
        QtCore.QObject.connect(sender, QtCore.SIGNAL(key), slot)
    vars(sender).setdefault("_connected", []).append((key, target, slot))
    return True


def _disconnect(sender: Any, signal: str, target: tuple[Any, ...]) -> bool:
    key, attribute = _signal(sender, signal)
    connected = vars(sender).get("_connected", [])
    for entry in connected:
        if entry[:2] == (key, target):
            connected.remove(entry)
            if attribute:
                getattr(sender, attribute).disconnect(entry[2])
            else:
                QtCore.QObject.disconnect(sender, QtCore.SIGNAL(key), entry[2])
            return True
    return False


def normalized(signature: str) -> str:
    """``signature`` without needless blanks and ``const &``."""
    normalize: Any = QtCore.QMetaObject.normalizedSignature  # its type hints ask for bytes
    return bytes(normalize(signature).data()).decode()


def find_slot(receiver: Any, signature: str | None = None) -> Slot:
    """The callable that a connection ends in; raises ValueError where there is none."""
    if signature is None:
        if not callable(receiver):
            raise ValueError(f"{receiver!r} cannot be called")
        return receiver
    key = normalized(signature)
    if key not in receiver.SLOTS and receiver.metaObject().indexOfMethod(key) < 0:
        raise ValueError(f"{type(receiver).__name__} has no slot '{signature}'")
    name, _, types = key.rstrip(")").partition("(")
    method = getattr(receiver, name)
    count = len(types.split(",")) if types else 0
    return lambda *values: method(*values[:count])


def _limited(slot: Slot) -> Slot:
    """``slot`` called with as many of a signal's values as it takes, as PythonQt does."""
    function = getattr(slot, "__func__", slot)
    code = getattr(function, "__code__", None)
    if code is None or code.co_flags & inspect.CO_VARARGS:
        return lambda *values: slot(*values)
    count = code.co_argcount - (function is not slot)
    return lambda *values: slot(*values[:count])


def has_property(kind: Any, name: str) -> bool:
    """Whether a class made by :func:`dialect`, or derived from one, has a Qt property."""
    found = inspect.getattr_static(kind, name, None)
    return isinstance(found, (QtProperty, QtCore.Property)) or name in _VIRTUAL


def dialect(base: type) -> Any:
    """The class of PySide6 ``base`` in PythonQt's dialect."""
    return _dialect(base)


@functools.cache
def _dialect(base: Any) -> Any:
    meta = base.staticMetaObject
    members: dict[str, Any] = {"qt_class": base, "sealed": True, "__module__": "qt"}
    for index in range(meta.propertyCount()):
        found = meta.property(index)
        if found.name() not in _VIRTUAL:
            members[found.name()] = QtProperty(found.name(), writable=found.isWritable())
    for name in _GIVING_OBJECTS:
        if hasattr(base, name) and name not in members:
            members[name] = _adopting(getattr(base, name))
    return _DialectType(base.__name__, (Dialect, base), members)


def _adopting(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, *values: Any, **options: Any) -> Any:
        # findChildren(qt.QWidget) means every widget, not only those of the derived class.
        plain = [vars(v).get("qt_class", v) if isinstance(v, type) else v for v in values]
        return adopt(method(self, *plain, **options))

    return call


def adopt(value: Any) -> Any:
    """``value`` with the objects in it that Qt made itself turned into :class:`Foreign` ones."""
    if isinstance(value, list):
        return [adopt(item) for item in value]
    if isinstance(value, QtCore.QObject) and type(value).__module__.startswith("PySide6."):
        return Foreign(value)
    return value
