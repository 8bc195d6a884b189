"""The widgets of Slicer that know the MRML scene, made of Qt's."""

from __future__ import annotations

from typing import Any, ClassVar

import slicer
from PySide6 import QtCore, QtWidgets

from .dialect import dialect


class qMRMLWidget(dialect(QtWidgets.QWidget)):  # type: ignore[misc]
    """Root of a panel, which hands its scene on to the widgets connected with it."""

    sealed = True
    SIGNALS: ClassVar[dict[str, str]] = {"mrmlSceneChanged(vtkMRMLScene*)": "_sceneChanged"}
    SLOTS = ("setMRMLScene(vtkMRMLScene*)",)
    _sceneChanged = QtCore.Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self._sceneChanged.emit(scene)


def _attribute(kind: Any, name: str) -> Any:
    """A property that is kept in ``_name`` and changes what the selector lists."""

    def write(self: Any, value: Any) -> None:
        setattr(self, f"_{name}", value)
        self._refresh()

    return QtCore.Property(kind, lambda self: getattr(self, f"_{name}"), write)


class qMRMLNodeComboBox(dialect(QtWidgets.QWidget)):  # type: ignore[misc]
    """A selector of one node of the scene, with entries to create or delete one.

    It follows the scene: nodes appear, are renamed and disappear. As in Slicer, the first node is
    chosen where nothing was and "None" is not offered. Renaming by the user is not offered here.
    """

    sealed = True
    SIGNALS: ClassVar[dict[str, str]] = {
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
        "currentNodeChanged(bool)": "_currentNodeIsThere",
        "currentNodeIDChanged(QString)": "currentNodeIDChanged",
        "nodeAdded(vtkMRMLNode*)": "nodeAdded",
        "nodeAddedByUser(vtkMRMLNode*)": "nodeAddedByUser",
    }
    SLOTS = ("setMRMLScene(vtkMRMLScene*)", "setCurrentNode(vtkMRMLNode*)")
    currentNodeChanged = QtCore.Signal(object)
    currentNodeIDChanged = QtCore.Signal(str)
    nodeAdded = QtCore.Signal(object)
    nodeAddedByUser = QtCore.Signal(object)
    _currentNodeIsThere = QtCore.Signal(bool)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._nodeTypes: list[str] = []
        self._noneEnabled = self._showHidden = False
        self._addEnabled = self._removeEnabled = self._showChildNodeTypes = True
        self._renameEnabled = False
        self._noneDisplay, self._baseName = "None", ""
        self._scene: Any = None
        self._node: Any = None
        self._listed: list[Any] = []
        self._box = dialect(QtWidgets.QComboBox)()
        layout = dialect(QtWidgets.QHBoxLayout)(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self._box.activated.connect(self._activated)
        # The observers must not keep the widget, nor outlive it.
        self._observed: list[tuple[Any, int]] = []
        observed = self._observed
        self.destroyed.connect(lambda: _forget(observed))

    nodeTypes = _attribute("QStringList", "nodeTypes")
    addEnabled = _attribute(bool, "addEnabled")
    removeEnabled = _attribute(bool, "removeEnabled")
    renameEnabled = _attribute(bool, "renameEnabled")
    noneEnabled = _attribute(bool, "noneEnabled")
    noneDisplay = _attribute(str, "noneDisplay")
    baseName = _attribute(str, "baseName")
    showChildNodeTypes = _attribute(bool, "showChildNodeTypes")
    showHidden = _attribute(bool, "showHidden")

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        self._refresh()

    def currentNode(self) -> Any:
        return self._node

    def setCurrentNode(self, node: Any) -> None:
        """Choose ``node``; one that is not listed, or None, leaves nothing chosen."""
        self._choose(node if node in self._listed else None)

    def setCurrentNodeID(self, identifier: str) -> None:
        self.setCurrentNode(self._scene.GetNodeByID(identifier) if identifier else None)

    def _current_id(self) -> str:
        return self._node.GetID() if self._node is not None else ""

    currentNodeID = QtCore.Property(str, _current_id, setCurrentNodeID)

    def nodeCount(self) -> int:
        return len(self._listed)

    def nodeFromIndex(self, index: int) -> Any:
        return self._listed[index]

    def addNode(self) -> Any:
        """Create a node of the first type and choose it, as "Create new" does."""
        kind = self._nodeTypes[0]
        name = self._scene.GenerateUniqueName(self._baseName or self._label())
        node = self._scene.AddNewNodeByClass(kind, name)
        self._choose(node)
        self.nodeAddedByUser.emit(node)
        return node

    def _lists(self, node: Any) -> bool:
        if node.GetHideFromEditors() and not self._showHidden:
            return False
        if self._showChildNodeTypes:
            return any(node.IsA(kind) for kind in self._nodeTypes)
        return node.GetClassName() in self._nodeTypes

    def _refresh(self, *_event: Any) -> None:
        """List the nodes anew; the chosen one stays chosen while it is listed."""
        scene = self._scene
        if scene is not None and scene.IsBatchProcessing():
            return
        before = self._listed
        nodes = [scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes())] if scene else []
        self._listed = [node for node in nodes if self._lists(node)]
        self._observe()
        keep = self._node if self._node in self._listed else None
        first_appeared = not before and bool(self._listed)
        if keep is None and not self._noneEnabled and (first_appeared or self._node is not None):
            keep = self._listed[0] if self._listed else None
        for node in self._listed:
            if node not in before:
                self.nodeAdded.emit(node)
        self._choose(keep)

    def _observe(self) -> None:
        _forget(self._observed)
        scene = self._scene
        if scene is None:
            return
        events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent)
        self._observed += [(scene, scene.AddObserver(event, self._changed)) for event in events]
        self._observed += [
            (node, node.AddObserver("ModifiedEvent", self._changed)) for node in self._listed
        ]

    def _changed(self, caller: Any, _event: str) -> None:
        if caller is self._scene:
            self._refresh()
        else:
            self._show()

    def _choose(self, node: Any) -> None:
        changed = node is not self._node
        self._node = node
        self._show()
        if changed:
            self.currentNodeChanged.emit(node)
            self._currentNodeIsThere.emit(node is not None)
            self.currentNodeIDChanged.emit(self._current_id())

    def _label(self) -> str:
        if not self._nodeTypes:
            return "Node"
        node = self._scene.CreateNodeByClass(self._nodeTypes[0]) if self._scene else None
        if node is None:
            return "Node"
        node.UnRegister(None)
        return str(node.GetTypeDisplayName() or node.GetNodeTagName())

    def _show(self) -> None:
        """Fill the combo box: None, the nodes, then what can be done."""
        box = self._box
        box.clear()
        label = self._label()
        box.placeholderText = f"Select a {label}"
        if self._noneEnabled:
            box.addItem(self._noneDisplay, None)
        for node in self._listed:
            box.addItem(node.GetName(), node.GetID())
        chosen = self._listed.index(self._node) + self._noneEnabled if self._node else -1
        if self._addEnabled or self._removeEnabled:
            box.insertSeparator(box.count)
        if self._addEnabled:
            box.addItem(f"Create new {label}", self.addNode)
        if self._removeEnabled and self._node is not None:
            box.addItem(f"Delete current {label}", lambda: self._scene.RemoveNode(self._node))
        box.currentIndex = chosen if chosen >= 0 or not self._noneEnabled else 0

    def _activated(self, index: int) -> None:
        data = self._box.itemData(index)
        if callable(data):
            data()
        else:
            self.setCurrentNodeID(data)


def _forget(observed: list[tuple[Any, int]]) -> None:
    for subject, tag in observed:
        subject.RemoveObserver(tag)
    observed.clear()


CLASSES = {kind.__name__: kind for kind in (qMRMLWidget, qMRMLNodeComboBox)}
for _kind in CLASSES:
    if hasattr(slicer, _kind):
        raise ImportError(f"slicer.{_kind} exists already; this is not plain slicer-core")
