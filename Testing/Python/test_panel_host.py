"""The host that opens a Slicer panel with real widgets and real nodes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6.QtUiTools", reason="PySide6 is not installed")
panel_host = pytest.importorskip("panel_host")
sample_panel = pytest.importorskip("sample_panel")


@pytest.fixture
def host() -> Iterator[Any]:
    with panel_host.running() as host:
        yield host


@pytest.fixture
def panel(host: Any, tmp_path: Path) -> Any:
    return host.open(sample_panel.write(tmp_path))


def add_volume(host: Any, name: str) -> Any:
    return host.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)


def test_properties_are_attributes_and_misspelt_ones_raise(host: Any) -> None:
    import qt

    button, table, box = qt.QPushButton("old"), qt.QTableWidget(2, 3), qt.QComboBox()
    button.text, button.enabled = "Apply", False
    assert (button.text, button.isEnabled()) == ("Apply", False)
    button.setText("Cancel")
    assert button.text == "Cancel"
    with pytest.raises(TypeError, match="not callable"):
        button.text()
    with pytest.raises(AttributeError, match="tooltip"):
        button.tooltip = "x"
    with pytest.raises(AttributeError, match="read-only"):
        table.width = 3
    with pytest.raises(TypeError, match="minimumWidth"):
        table.minimumWidth = "wide"
    box.addItem("first", 7)
    assert (box.count, box.currentIndex, box.currentData, box.findData(7)) == (1, 0, 7, 0)
    header = table.horizontalHeader()  # made by Qt itself
    header.visible = False
    assert header.isVisibleTo(table) is False
    assert isinstance(header, qt.QWidget)
    assert not isinstance(header, qt.QLabel)
    timer = qt.QTimer()
    timer.singleShot, timer.interval = True, 5
    assert (timer.interval, timer.active) == (5, False)
    seen: list[str] = []
    qt.QTimer.singleShot(1, lambda: seen.append("shot"))
    host.wait_for(lambda: seen == ["shot"])


def test_signals_are_connected_by_signature(host: Any) -> None:
    import qt

    button, seen = qt.QPushButton(), []

    def no_values() -> None:
        seen.append("none")

    assert button.connect("clicked(bool)", no_values)
    button.connect("clicked( bool )", lambda checked: seen.append(checked))
    button.click()
    assert seen == ["none", False]
    assert button.disconnect("clicked(bool)", no_values)
    assert not button.disconnect("clicked(bool)", no_values)
    button.click()
    assert seen == ["none", False, False]
    with pytest.raises(ValueError, match=r"clicked\(int\)"):
        button.connect("clicked(int)", no_values)


def test_unknown_names_raise(host: Any) -> None:
    import ctk
    import qt

    for owner, name in ((qt, "QWizard"), (ctk, "ctkDial"), (slicer, "qMRMLTreeView")):
        with pytest.raises(AttributeError, match="test host has no"):
            getattr(owner, name)
    with pytest.raises(AttributeError, match="test host has no"):
        host.app.coreIOManager  # noqa: B018
    with pytest.raises(ImportError):
        from slicer.parameterNodeWrapper import parameterPack  # noqa: F401


def test_everything_is_taken_away_at_the_end(tmp_path: Path) -> None:
    before = {name: getattr(slicer.util, name) for name in ("errorDisplay", "selectModule")}
    modules, hook = getattr(slicer, "modules", None), sys.excepthook
    with panel_host.running() as host:
        assert slicer.modules is not modules
        host.open(sample_panel.write(tmp_path))
    assert {name: getattr(slicer.util, name) for name in before} == before
    assert sys.excepthook is hook
    assert getattr(slicer, "modules", None) is not host.modules
    assert not {"qt", "ctk", "Sample", "slicer.i18n"} & set(sys.modules)
    assert not any(hasattr(slicer, name) for name in ("app", "i18n", "qMRMLWidget"))


def test_an_error_in_a_slot_or_observer_fails_at_the_end() -> None:
    def run(*, observer: bool) -> None:
        with panel_host.running() as host:
            import qt

            def wrong(*_values: Any) -> None:
                raise KeyError("lost")

            if observer:
                node = add_volume(host, "CT")
                node.AddObserver("ModifiedEvent", wrong)
                node.Modified()
                host.scene.RemoveNode(node)
            else:
                button = qt.QPushButton()
                button.connect("clicked(bool)", wrong)
                button.click()

    for observer in (False, True):
        with pytest.raises(KeyError, match="lost"):
            run(observer=observer)


def test_module_is_made_as_slicer_makes_it(host: Any, panel: Any) -> None:
    module = slicer.modules.SampleInstance
    assert (module.parent.title, module.started) == ("Sample", 0)
    host.app.emit("startupCompleted()")
    assert module.started == 1
    assert slicer.modules.SampleWidget is panel
    with pytest.raises(AttributeError):
        module.parent.titel = "misspelt"


def test_connections_of_the_file_are_wired(host: Any, panel: Any, tmp_path: Path) -> None:
    assert panel.ui.ctSelector.mrmlScene() is slicer.mrmlScene
    panel.ui.surfacesBox.checked = False
    assert panel.ui.noteEdit.enabled is False
    for wrong in (("surfacesBox", "toggled(int)"), ("nobody", "toggled(bool)")):
        text = sample_panel.connection(*wrong, "noteEdit", "setEnabled(bool)")
        path = tmp_path / "wrong.ui"
        path.write_text(sample_panel.ui_text(connections=text), encoding="utf-8")
        with pytest.raises(ValueError, match=r"toggled\(int\)|nobody"):
            slicer.util.loadUI(str(path))
    path.write_text(sample_panel.ui_text(sample_panel.widget_text("QDial", "dial")), "utf-8")
    with pytest.raises(KeyError, match="QDial"):
        slicer.util.loadUI(str(path))


def test_section_collapses(host: Any, panel: Any) -> None:
    section, button = panel.ui.section, panel.ui.applyButton
    panel.ui.deviceBox.visible = False
    assert button.visible
    assert section.height > 100
    section.click()
    host.process_events(0.05)
    assert (section.collapsed, button.visible, section.height < 40) == (True, False, True)
    section.collapsed = False
    host.process_events(0.05)
    assert (button.visible, panel.ui.deviceBox.visible) == (True, False)


def test_selector_follows_the_scene(host: Any, panel: Any) -> None:
    selector = panel.ui.ctSelector
    chosen: list[str | None] = []
    selector.connect(
        "currentNodeChanged(vtkMRMLNode*)", lambda node: chosen.append(node and node.GetName())
    )
    first, second = add_volume(host, "first"), add_volume(host, "second")
    host.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "another kind")
    add_volume(host, "hidden").SetHideFromEditors(1)
    selector.setMRMLScene(host.scene)
    assert (selector.nodeCount(), selector.currentNode() is first) == (2, True)
    selector.setCurrentNode(second)
    second.SetName("renamed")
    assert "renamed" in [
        box.currentText for box in selector.children() if hasattr(box, "currentText")
    ]
    host.scene.RemoveNode(second)
    assert selector.currentNode() is first
    selector.noneEnabled = True
    host.scene.RemoveNode(first)
    assert (selector.currentNode(), selector.currentNodeID) == (None, "")
    made = selector.addNode()
    assert selector.currentNode() is made
    assert chosen == ["first", "second", "first", None, made.GetName()]


def test_parameters_and_widgets_follow_each_other(host: Any, panel: Any) -> None:
    ui, parameters = panel.ui, panel.parameters
    assert (ui.surfacesBox.checked, ui.thresholdSlider.value, ui.deviceBox.count) == (True, 0.5, 3)
    volume = add_volume(host, "CT")
    ui.ctSelector.setCurrentNode(volume)
    ui.surfacesBox.checked, ui.thresholdSlider.value = False, 0.25
    ui.deviceBox.currentIndex, ui.noteEdit.text, ui.roundsBox.value = 2, "hello", 5
    values = [parameters.getValue(name) for name in ("ct", "surfaces", "threshold", "device")]
    assert values == [volume, False, 0.25, "cuda"]
    assert (parameters.note, parameters.rounds, ui.roundsBox.maximum) == ("hello", 5, 9)
    before = panel.changes
    parameters.threshold, parameters.device, parameters.ct = 0.75, "cpu", None
    assert panel.changes > before
    assert (ui.thresholdSlider.value, ui.deviceBox.currentText) == (0.75, "cpu")
    assert ui.ctSelector.currentNode() is None
    with pytest.raises(ValueError, match="not within"):
        parameters.threshold = 2.0
    with pytest.raises(TypeError, match="surfaces"):
        parameters.surfaces = "yes"
    parameters.disconnectGui(panel.tag)
    ui.noteEdit.text = "alone"
    assert parameters.note == "hello"


def test_parameters_survive_a_saved_scene(host: Any, panel: Any, tmp_path: Path) -> None:
    kind, parameters = type(panel.parameters), panel.parameters
    parameters.ct, parameters.threshold, parameters.surfaces = add_volume(host, "CT"), 0.125, False
    parameters.labels = ["one", "two"]
    parameters.labels.append("three")
    path = tmp_path / "scene.mrml"
    host.scene.SetURL(str(path))
    assert host.scene.Commit()
    other = slicer.vtkMRMLScene()
    other.SetURL(str(path))
    other.Connect()
    node = other.GetSingletonNode("Sample", "vtkMRMLScriptedModuleNode")
    read = kind(node)
    assert (read.threshold, read.surfaces, read.labels) == (0.125, False, ["one", "two", "three"])
    assert read.ct.GetName() == "CT"
    assert read.ct.GetScene() is other
    assert node.GetParameter("threshold") == "0.125"


def test_a_real_process_delivers_its_lines(host: Any, panel: Any) -> None:
    panel.ui.applyButton.click()
    host.wait_for(lambda: panel.ended, timeout=60)
    assert panel.lines == ["line 0", "line 1", "line 2"]
    assert panel.ended == [(0, True)]


def test_dialogs_are_noted_and_answered(host: Any, tmp_path: Path) -> None:
    import qt

    with (
        pytest.raises(KeyError),
        slicer.util.tryWithErrorDisplay("It failed.", waitCursor=True),
    ):
        raise KeyError("why")
    host.answers += [True, tmp_path / "table.csv"]
    assert slicer.util.confirmOkCancelDisplay("Install?", "Title")
    assert qt.QFileDialog.getSaveFileName(None, "Save").endswith("table.csv")
    with pytest.raises(AssertionError, match="unexpectedly"):
        slicer.util.confirmYesNoDisplay("Really?")
    kinds = ["error", "ok or cancel", "save file", "yes or no"]
    assert [kind for kind, _ in host.dialogs] == kinds
    assert host.dialogs[0][1].startswith("It failed.")
    with pytest.raises(AssertionError, match="packages"):
        slicer.util.pip_install("torch")
    qt.QDesktopServices.openUrl(qt.QUrl("file:///report.html"))
    assert host.opened == ["file:///report.html"]
    slicer.util.setSliceViewerLayers(background="vtkMRMLScalarVolumeNode1", fit=True)
    assert host.shown.layers == [{"background": "vtkMRMLScalarVolumeNode1", "fit": True}]


def test_pictures_are_readable_in_both_themes(host: Any, panel: Any, tmp_path: Path) -> None:
    from PySide6.QtGui import QImage

    panel.ui.applyButton.text = ""
    grey = {}
    for theme in ("light", "dark", "with text"):
        if theme == "with text":
            panel.ui.applyButton.text = "Apply the segmentation to the chosen scan"
        path = tmp_path / f"{theme}.png"
        host.save_picture(panel, path, width=400, theme="dark" if theme == "dark" else "light")
        image = QImage(str(path)).convertToFormat(QImage.Format.Format_Grayscale8)
        rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), -1)
        grey[theme] = rows[:, : image.width()].astype(int)
        assert image.width() == 400
        # Letters stand out from the ground.
        ground = np.median(grey[theme])
        assert (abs(grey[theme] - ground) > 120).sum() > 200
    assert np.median(grey["light"]) > 200
    assert np.median(grey["dark"]) < 80
    # Each letter is drawn as itself: an unknown font would draw nothing, or boxes.
    assert (abs(grey["with text"] - grey["light"]) > 60).sum() > 300
    with pytest.raises(ValueError, match="theme"):
        host.save_picture(panel, path, theme="pink")
