"""Mistakes in a ``.ui`` file that Slicer shows only when somebody uses the panel."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from PySide6 import QtWidgets

from .ctk_widgets import ctkSliderWidget
from .dialect import dialect, has_property, normalized
from .mrml_widgets import qMRMLNodeComboBox
from .qt_names import LAYOUTS
from .ui_loader import widget_class

# Where the user acts, and therefore wants to read what happens.
_INPUTS = (
    QtWidgets.QPushButton,
    QtWidgets.QToolButton,
    QtWidgets.QCheckBox,
    QtWidgets.QRadioButton,
    QtWidgets.QComboBox,
    QtWidgets.QLineEdit,
    QtWidgets.QAbstractSlider,
    QtWidgets.QAbstractSpinBox,
    ctkSliderWidget,
    qMRMLNodeComboBox,
)


def check_ui(path: Path, parameter_fields: Collection[str]) -> list[str]:
    """One sentence for each mistake in a ``.ui`` file.

    Parameters
    ----------
    path
        The file.
    parameter_fields
        Names of the parameters that widgets may be bound to.
    """
    tree = ElementTree.parse(path)
    found: list[str] = []
    classes: dict[str, Any] = {}
    names: Counter[str] = Counter()
    for element in tree.iter():
        if element.tag not in ("widget", "layout"):
            continue
        name, kind = element.get("name", ""), element.get("class", "")
        if name:
            names[name] += 1
        try:
            classes[name] = _class(element.tag, kind)
        except KeyError:
            found.append(f"{name}: the class {kind} is unknown")
            continue
        found += _check_properties(name, classes[name], element, parameter_fields)
    twice = [name for name, count in names.items() if count > 1]
    found += [f"{name}: {names[name]} objects have this name" for name in twice]
    for connection in tree.iter("connection"):
        found += _check_connection(connection, names, classes)
    return found


def _class(tag: str, kind: str) -> Any:
    if tag == "widget":
        return widget_class(kind)
    if kind not in LAYOUTS:
        raise KeyError(kind)
    return dialect(getattr(QtWidgets, kind))


def _check_properties(
    name: str, kind: Any, element: ElementTree.Element, fields: Collection[str]
) -> list[str]:
    found = []
    given = {p.get("name", ""): p for p in element.findall("property")}
    for prop, value in given.items():
        # A property of its own must be declared as such, else it is a misspelt one.
        dynamic = value.get("stdset") == "0"
        known = has_property(kind, prop)
        if not (dynamic or known or element.tag == "layout" or element.get("class") == "Line"):
            found.append(f"{name}: {element.get('class')} has no property {prop}")
    if "SlicerParameterName" in given:
        parameter = given["SlicerParameterName"].findtext("string", "")
        if parameter not in fields:
            found.append(f"{name}: there is no parameter {parameter!r}")
    if (
        issubclass(kind, _INPUTS)
        and not "".join(given["toolTip"].itertext() if "toolTip" in given else ()).strip()
    ):
        found.append(f"{name}: a tool tip is missing")
    return found


def _check_connection(
    connection: ElementTree.Element, names: Counter[str], classes: dict[str, Any]
) -> list[str]:
    found = []
    for role, part in (("sender", "signal"), ("receiver", "slot")):
        name = connection.findtext(role, "")
        signature = normalized(connection.findtext(part, ""))
        if name not in names:
            found.append(f"a connection has the {role} {name!r}, which is not in the file")
        elif name in classes:
            kind = classes[name]
            meta = kind.qt_class.staticMetaObject
            if part == "signal":
                known = signature in kind.SIGNALS or meta.indexOfSignal(signature) >= 0
            else:
                known = signature in kind.SLOTS or meta.indexOfMethod(signature) >= 0
            if not known:
                found.append(f"{name}: {kind.__name__} has no {part} {signature}")
    return found
