"""What the panel shows of a result, and what can be done with it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
from panel_driver import (
    PATIENCE_S,
    apply_and_wait,
    click,
    show_truth,
    wait_until_idle,
)

if TYPE_CHECKING:
    from pathlib import Path

    from CovidLesionSegLogic.phantom import Phantom

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6.QtUiTools", reason="PySide6 is not installed")

from vtk import vtkCollection, vtkIdTypeArray, vtkStringArray  # noqa: E402

from CovidLesionSegLogic import mrml  # noqa: E402


def test_a_removed_and_a_changed_segment_are_noticed(
    host: Any, panel: Any, thorax: Any, phantom: Phantom
) -> None:
    for change in ("remove", "paint"):
        node = show_truth(panel, thorax, phantom)
        assert panel.ui.resultsLabel.text == ""
        segment = mrml.class_segments(node)["consolidation"]
        if change == "remove":
            node.RemoveSegment(segment)
        else:
            nothing = np.zeros(phantom.ct.shape, np.uint8)
            slicer.util.updateSegmentBinaryLabelmapFromArray(nothing, node, segment, thorax)
        assert "Measure again" in panel.ui.resultsLabel.text


def test_a_reloaded_module_leaves_no_observer(
    host: Any, panel: Any, thorax: Any, phantom: Phantom
) -> None:
    node = show_truth(panel, thorax, phantom)
    segment = mrml.class_segments(node)["consolidation"]
    host.close(panel)
    nothing = np.zeros(phantom.ct.shape, np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(nothing, node, segment, thorax)
    assert host.errors == []  # of widgets that are gone


def test_the_display_boxes_are_those_of_the_result(
    host: Any, panel: Any, thorax: Any, phantom: Phantom
) -> None:
    one = show_truth(panel, thorax, phantom)
    panel.ui.show3dCheckBox.checked = True
    panel.ui.opacitySlider.value = 0.4
    two = show_truth(panel, thorax, phantom)
    assert (panel.ui.show3dCheckBox.checked, panel.ui.opacitySlider.value) == (False, 1.0)
    assert not two.GetSegmentation().ContainsRepresentation("Closed surface")
    panel.results.show(panel.results.quantification, one, thorax)
    assert panel.ui.show3dCheckBox.checked
    assert panel.ui.opacitySlider.value == pytest.approx(0.4)


def test_a_name_with_a_dot_is_kept(
    host: Any, panel: Any, thorax: Any, phantom: Phantom, tmp_path: Path
) -> None:
    show_truth(panel, thorax, phantom)
    host.answers.append(str(tmp_path / "seen 2.5"))
    click(panel.ui.csvButton)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["seen 2.5.csv"]


def test_a_result_removed_while_it_is_measured_is_told(
    host: Any, panel: Any, thorax: Any, phantom: Phantom
) -> None:
    node = show_truth(panel, thorax, phantom)
    click(panel.ui.measureButton)
    run = panel.jobs._run
    host.wait_for(lambda: run._request is not None, PATIENCE_S)
    slicer.mrmlScene.RemoveNode(node)
    wait_until_idle(host, panel)
    assert "removed from the scene" in panel.ui.statusLabel.text
    assert not panel.ui.measureButton.enabled
    assert panel.results.quantification is None


def test_corrections_are_noticed_and_measured(host: Any, panel: Any, thorax: Any) -> None:
    apply_and_wait(host, panel)
    segmentation = panel._parameterNode.outputSegmentation
    before = panel.results.quantification.total.volume_ml
    segmentation.RemoveSegment(mrml.class_segments(segmentation)["consolidation"])
    assert "Measure again" in panel.ui.resultsLabel.text
    click(panel.ui.measureButton)
    wait_until_idle(host, panel)
    assert panel.results.quantification.total.volume_ml < before
    assert panel.ui.resultsTable.rowCount == 2
    assert "Measure again" not in panel.ui.resultsLabel.text


def test_the_table_is_copied_and_saved(host: Any, panel: Any, thorax: Any, tmp_path: Path) -> None:
    import qt

    apply_and_wait(host, panel)
    click(panel.ui.copyButton)
    lines = qt.QApplication.clipboard().text().split("\n")
    assert [line.split("\t")[0] for line in lines[1:]] == [
        "ground-glass opacity",
        "consolidation",
        "all lesions",
        "lungs",
    ]
    host.answers.append(str(tmp_path / "numbers"))
    click(panel.ui.csvButton)
    assert "ground-glass opacity" in (tmp_path / "numbers.csv").read_text("utf-8-sig")


def test_report_and_files_are_saved(host: Any, panel: Any, thorax: Any, tmp_path: Path) -> None:
    apply_and_wait(host, panel)
    host.answers.append(str(tmp_path / "out"))
    click(panel.ui.reportButton)
    wait_until_idle(host, panel)
    saved = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"Thorax_report.html", "Thorax_overview.png", "Thorax.seg.nrrd"} <= saved
    assert "Saved" in panel.ui.statusLabel.text


def test_a_row_shows_and_hides_its_segment(host: Any, panel: Any, thorax: Any) -> None:
    import qt

    apply_and_wait(host, panel)
    segmentation = panel._parameterNode.outputSegmentation
    segment_id = mrml.class_segments(segmentation)["ground-glass opacity"]
    item = panel.ui.resultsTable.item(0, 0)
    assert item.checkState() == qt.Qt.Checked
    item.setCheckState(qt.Qt.Unchecked)
    assert not segmentation.GetDisplayNode().GetSegmentVisibility(segment_id)
    panel.ui.opacitySlider.value = 0.4
    assert segmentation.GetDisplayNode().GetOpacity() == pytest.approx(0.4)


def test_a_point_of_the_chart_is_a_slice(host: Any, panel: Any, thorax: Any) -> None:
    apply_and_wait(host, panel)
    segmentation = panel._parameterNode.outputSegmentation
    chart = segmentation.GetNodeReference(mrml.CHART_ROLE)
    heights = sorted(s.z_mm for s in panel.results.quantification.slices)
    assert mrml.slice_position(chart, 3) == pytest.approx(heights[3])
    assert mrml.slice_position(chart, len(heights)) is None
    assert chart.GetNumberOfPlotSeriesNodes() == 2
    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode", "Red")
    view.SetOrientationToAxial()
    mrml.jump_to_slice(segmentation, heights[3])
    assert view.GetSliceToRAS().GetElement(2, 3) == pytest.approx(heights[3])


def test_probability_becomes_volumes_in_place(
    host: Any, panel: Any, thorax: Any, phantom: Phantom
) -> None:
    panel.ui.probabilityCheckBox.checked = True
    apply_and_wait(host, panel)
    maps = [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        if "probability" in node.GetName()
    ]
    assert [node.GetName() for node in maps] == [
        "Thorax probability of ground-glass opacity",
        "Thorax probability of consolidation",
    ]
    array = slicer.util.arrayFromVolume(maps[0])
    assert 0 <= array.min() < array.max() <= 1
    apply_and_wait(host, panel)
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 3


def test_removing_the_result_clears_its_numbers(host: Any, panel: Any, thorax: Any) -> None:
    apply_and_wait(host, panel)
    slicer.mrmlScene.RemoveNode(panel._parameterNode.outputSegmentation)
    assert panel.ui.resultsTable.rowCount == 0
    assert not panel.ui.measureButton.enabled
    apply_and_wait(host, panel)
    assert panel.ui.resultsTable.rowCount == 4


def test_the_segment_editor_opens_on_the_result(host: Any, panel: Any, thorax: Any) -> None:
    apply_and_wait(host, panel)
    editor = SimpleNamespace()
    editor.setSegmentationNode = lambda node: setattr(editor, "segmentation", node)
    editor.setSourceVolumeNode = lambda node: setattr(editor, "volume", node)
    widget = SimpleNamespace(self=lambda: SimpleNamespace(editor=editor))
    host.modules.segmenteditor = SimpleNamespace(widgetRepresentation=lambda: widget)
    click(panel.ui.editButton)
    assert host.shown.modules == ["SegmentEditor"]
    assert editor.segmentation == panel._parameterNode.outputSegmentation
    assert editor.volume == thorax


class Exporter:
    """Has the interface of the exporter that the extension QuantitativeReporting brings."""

    said = ""
    done: ClassVar[list[tuple[int, str]]] = []

    def examineForExport(self, item: int) -> list[Any]:
        return [SimpleNamespace(subjectHierarchyItemID=item, directory="")]

    def export(self, exportables: list[Any]) -> str:
        self.done.extend((one.subjectHierarchyItemID, one.directory) for one in exportables)
        return self.said


def test_dicom_seg_needs_an_exporter_and_a_ct_from_dicom(
    host: Any, panel: Any, thorax: Any, tmp_path: Path
) -> None:
    apply_and_wait(host, panel)
    button = panel.ui.dicomButton
    assert not button.enabled
    assert "QuantitativeReporting" in button.toolTip
    host.modules.dicomPlugins = {"DICOMSegmentationPlugin": Exporter}
    panel.results.setEnabled(True)
    assert not button.enabled
    assert "DICOM module" in button.toolTip
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    output = panel._parameterNode.outputSegmentation
    study = tree.CreateStudyItem(tree.GetSceneItemID(), "Study")
    tree.CreateItem(study, thorax)  # Slicer's plugins do this as soon as a node is added
    item = tree.CreateItem(tree.GetSceneItemID(), output)
    thorax.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    panel.results.setEnabled(True)
    host.answers.append(str(tmp_path))
    click(button)
    assert Exporter.done == [(item, str(tmp_path))]
    assert tree.GetItemParent(item) == study
    assert str(tmp_path) in panel.ui.statusLabel.text
    Exporter.said = "No non empty segments found."
    host.answers.append(str(tmp_path))
    click(button)
    assert "No non empty segments found." in host.dialogs[-1][1]
    assert "not written" in str(host.errors.pop())  # Slicer shows it and raises it again
    Exporter.said, Exporter.done[:] = "", []


class PlotView:
    """Has what the panel uses of Slicer's plot view: one signal."""

    def __init__(self) -> None:
        self.slots: list[Any] = []

    def connect(self, signal: str, slot: Any) -> None:
        assert signal == "dataSelected(vtkStringArray*,vtkCollection*)"
        self.slots.append(slot)

    def disconnect(self, signal: str, slot: Any) -> None:
        if slot in self.slots:
            self.slots.remove(slot)


def test_a_click_into_the_chart_moves_the_slice_views(
    host: Any, panel: Any, thorax: Any, phantom: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    show_truth(panel, thorax, phantom)
    view = PlotView()
    widget = SimpleNamespace(plotView=lambda: view)
    manager = SimpleNamespace(plotViewCount=1, plotWidget=lambda index: widget)
    monkeypatch.setattr(host.app, "layoutManager", lambda: manager, raising=False)
    charts: list[Any] = []
    logic = SimpleNamespace(ShowChartInLayout=charts.append)
    monkeypatch.setattr(host.modules, "plots", SimpleNamespace(logic=lambda: logic), raising=False)
    click(panel.ui.chartButton)
    click(panel.ui.chartButton)
    assert len(view.slots) == 1
    segmentation = panel.results.segmentation
    assert charts[-1] == segmentation.GetNodeReference(mrml.CHART_ROLE)
    red = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode", "Red")
    red.SetOrientationToAxial()
    before = red.GetSliceToRAS().GetElement(2, 3)
    foreign = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", "Of another chart")
    points = vtkIdTypeArray()
    points.InsertNextValue(5)
    selections = vtkCollection()
    selections.AddItem(points)
    series = vtkStringArray()
    series.InsertNextValue(foreign.GetID())
    view.slots[0](series, selections)
    assert red.GetSliceToRAS().GetElement(2, 3) == before
    series.SetValue(0, charts[-1].GetNthPlotSeriesNodeID(1))
    view.slots[0](series, selections)
    heights = sorted(s.z_mm for s in panel.results.quantification.slices)
    assert red.GetSliceToRAS().GetElement(2, 3) == pytest.approx(heights[5])
    panel.results.clear()
    assert view.slots == []


def test_a_correction_while_it_is_measured_is_told(host: Any, panel: Any, thorax: Any) -> None:
    apply_and_wait(host, panel)
    content = panel._parameterNode.outputSegmentation.GetSegmentation()
    click(panel.ui.measureButton)
    host.wait_for(lambda: panel.jobs._run._request is not None, PATIENCE_S)
    content.InvokeEvent(content.SourceRepresentationModified)
    wait_until_idle(host, panel)
    assert "Measure again" in panel.ui.resultsLabel.text
    click(panel.ui.measureButton)
    wait_until_idle(host, panel)
    assert "Measure again" not in panel.ui.resultsLabel.text
