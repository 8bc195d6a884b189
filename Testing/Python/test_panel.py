"""The real panel, with real widgets, real nodes and the real worker."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
import weakref
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
import tiny_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from CovidLesionSegLogic.phantom import Phantom

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6.QtUiTools", reason="PySide6 is not installed")
panel_host = pytest.importorskip("panel_host")

from vtk import vtkCollection, vtkIdTypeArray, vtkStringArray  # noqa: E402

from CovidLesionSegLogic import mrml  # noqa: E402

PATIENCE_S = 120


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A host in which the model of lesion types is a small one of random weights."""
    folder = tmp_path / "models"
    folder.mkdir()
    with monkeypatch.context() as patch:
        tiny_model.install_coarse_refine(folder, patch, 2)
    monkeypatch.setenv("COVIDLESIONSEG_MODELS", str(folder))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with panel_host.running() as host:
        yield host


@pytest.fixture
def panel(host: Any, repository: Path) -> Any:
    return host.open(repository / "CovidLesionSeg" / "CovidLesionSeg.py")


@pytest.fixture
def thorax(panel: Any, phantom: Phantom) -> Any:
    """The phantom's CT, chosen, with its lungs and the small model."""
    volume = mrml.volume_to_node(phantom.ct, name="Thorax")
    empty = np.zeros(phantom.ct.shape, np.uint8)
    lungs = mrml.labels_to_segmentation(
        empty, phantom.lungs, phantom.ct, (), name="Lungs", reference=volume
    )
    panel._parameterNode.inputVolume = volume
    panel._parameterNode.regions = lungs
    choose(panel.ui.modelSelector, "coarse-refine")
    choose(panel.ui.deviceSelector, "cpu")
    return volume


def choose(box: Any, data: str) -> None:
    box.setCurrentIndex(box.findData(data))
    assert box.currentData == data


def click(button: Any) -> None:
    assert button.enabled, button.toolTip
    button.click()


def apply_and_wait(host: Any, panel: Any) -> None:
    click(panel.ui.applyButton)
    wait_until_idle(host, panel)


def wait_until_idle(host: Any, panel: Any) -> None:
    host.wait_for(lambda: panel.ui.applyButton.text == "Apply", PATIENCE_S)


def wait_for_status(host: Any, panel: Any, text: str) -> None:
    host.wait_for(lambda: text in panel.ui.statusLabel.text, PATIENCE_S)


def segment_names(segmentation: Any) -> list[str]:
    content = segmentation.GetSegmentation()
    return [content.GetNthSegment(i).GetName() for i in range(content.GetNumberOfSegments())]


def test_apply_says_why_it_cannot_begin(host: Any, panel: Any, phantom: Phantom) -> None:
    assert not panel.ui.applyButton.enabled
    assert "chest CT" in panel.ui.applyButton.toolTip
    volume = mrml.volume_to_node(phantom.ct, name="Thorax")
    panel._parameterNode.inputVolume = volume
    assert panel.ui.applyButton.enabled
    same = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Lobes")
    panel._parameterNode.regions = panel._parameterNode.outputSegmentation = same
    assert not panel.ui.applyButton.enabled
    assert "two segmentations" in panel.ui.applyButton.toolTip


def test_a_whole_run(host: Any, panel: Any, thorax: Any) -> None:
    stages = []
    show = panel.progress.show
    panel.progress.show = lambda *step: (stages.append(step[0]), show(*step))
    click(panel.ui.applyButton)
    assert (panel.ui.applyButton.text, panel.ui.applyButton.enabled) == ("Cancel", True)
    assert not panel.ui.inputsButton.enabled
    assert panel.ui.progressBar.visible
    with host.event_loop_gaps() as gaps:
        wait_until_idle(host, panel)
    assert gaps.longest_own < 0.1
    assert list(dict.fromkeys(stages)) == ["handover", "load", "lungs", "segment", "quantify"]
    assert panel.ui.statusLabel.text.startswith("Done in")
    assert not panel.ui.progressBar.visible
    output = panel._parameterNode.outputSegmentation
    assert output.GetName() == "Thorax lesions"
    assert segment_names(output) == [
        "Ground-glass opacity",
        "Consolidation",
        "Right lung",
        "Left lung",
    ]
    table = panel.ui.resultsTable
    names = [table.item(row, 0).text() for row in range(table.rowCount)]
    assert names == ["ground-glass\nopacity", "consolidation", "all\nlesions", "lungs"]
    assert float(table.item(3, 1).text().split()[0].replace(",", "")) > 100  # mL of lung
    assert not panel.ui.resultsButton.collapsed
    assert host.dialogs == []


def test_the_panel_shows_what_the_pipeline_finds(
    host: Any, panel: Any, thorax: Any, phantom: Phantom, tmp_path: Path
) -> None:
    from CovidLesionSegLogic.ct import write_image
    from CovidLesionSegLogic.pipeline import SegmentOptions, segment_ct

    apply_and_wait(host, panel)
    labels, _ = mrml.segmentation_to_labels(
        panel._parameterNode.outputSegmentation, mrml.node_to_volume(thorax)
    )
    write_image(phantom.lungs, phantom.ct, tmp_path / "lungs.nii.gz")
    options = SegmentOptions(model="coarse-refine", device="cpu", lungs=tmp_path / "lungs.nii.gz")
    np.testing.assert_array_equal(labels, segment_ct(phantom.ct, options).labels)


def test_the_second_run_keeps_the_worker_and_what_was_handed_over(
    host: Any, panel: Any, thorax: Any
) -> None:
    apply_and_wait(host, panel)
    worker = panel.logic._workers.get()
    stages = []
    show = panel.progress.show
    panel.progress.show = lambda *step: (stages.append(step[0]), show(*step))
    apply_and_wait(host, panel)
    assert panel.logic._workers.get() is worker
    assert "handover" not in stages
    assert panel.ui.statusLabel.text.startswith("Done in")
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert len(nodes) == 2  # the lungs and one result


def test_what_was_handed_over_goes_with_the_next_ct(
    host: Any, panel: Any, thorax: Any, phantom: Phantom
) -> None:
    apply_and_wait(host, panel)
    root = panel.logic._workers.get().root
    (first,) = root.iterdir()
    assert sorted(path.name for path in first.iterdir() if "lungs" not in path.name) == [
        "ct.json",
        "ct.raw",
    ]
    panel._parameterNode.inputVolume = mrml.volume_to_node(phantom.ct, name="Other")
    apply_and_wait(host, panel)
    (second,) = root.iterdir()
    assert second != first


def test_a_run_that_has_ended_keeps_no_ct(
    host: Any, panel: Any, thorax: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_hand_over(panel, monkeypatch)
    click(panel.ui.applyButton)
    run = weakref.ref(panel.jobs._run)
    click(panel.ui.applyButton)
    assert not panel.jobs.busy
    gc.collect()
    assert run() is None


def test_cancel_acts_within_a_second_and_leaves_nothing(host: Any, panel: Any, thorax: Any) -> None:
    click(panel.ui.applyButton)
    wait_for_status(host, panel, "Segmenting")
    began = time.monotonic()
    click(panel.ui.applyButton)
    wait_until_idle(host, panel)
    assert time.monotonic() - began < 10  # a busy machine; the latency is told by the benchmark
    assert "Cancelled" in panel.ui.statusLabel.text
    assert panel._parameterNode.outputSegmentation is None
    assert len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 1
    apply_and_wait(host, panel)
    assert panel.ui.statusLabel.text.startswith("Done in")


def slow_hand_over(panel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of the hand-over for each turn of the event loop, and small steps."""
    from CovidLesionSegLib import run

    from CovidLesionSegLogic.batch import exchange

    monkeypatch.setattr(run, "STEP_S", 0.0)
    monkeypatch.setattr(exchange, "BLOCK_BYTES", 1)


def test_cancel_during_the_hand_over_acts_at_once(
    host: Any, panel: Any, thorax: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_hand_over(panel, monkeypatch)
    click(panel.ui.applyButton)
    run, worker = panel.jobs._run, panel.logic._workers.get()
    host.wait_for(lambda: panel.ui.progressBar.value > 0, PATIENCE_S)
    click(panel.ui.applyButton)
    assert not panel.jobs.busy
    assert "Cancelled" in panel.ui.statusLabel.text
    assert worker.alive
    assert run._request is None
    assert [path.name for folder in worker.root.iterdir() for path in folder.iterdir()] == []


def test_cancel_before_the_last_step_sends_no_request(
    host: Any, panel: Any, thorax: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script that waits; all is handed over, only the request is missing."""
    from CovidLesionSegLogic.engine import Cancel
    from CovidLesionSegLogic.errors import CancelledError

    slow_hand_over(panel, monkeypatch)
    cancel = Cancel()
    run = panel.logic.makeRun(
        thorax,
        panel.logic.createSegmentation(thorax),
        progressCallback=lambda stage, done, total: cancel.cancel() if done == total else None,
    )
    run.start()
    with pytest.raises(CancelledError):
        run.wait(cancel)
    assert run._request is None
    assert run.worker.alive


def test_a_worker_lost_during_the_hand_over_is_told(
    host: Any, panel: Any, thorax: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_hand_over(panel, monkeypatch)
    click(panel.ui.applyButton)
    os.kill(panel.logic._workers.get().process.processId(), signal.SIGKILL)
    wait_until_idle(host, panel)
    assert "memory" in panel.ui.statusLabel.text


def test_an_answer_after_cancel_changes_nothing(host: Any, panel: Any, thorax: Any) -> None:
    click(panel.ui.applyButton)
    run = panel.jobs._run
    host.wait_for(lambda: run._request is not None, PATIENCE_S)
    done = run.worker.session._open[run._request].done
    run.worker.session.cancel = lambda number: None  # too late: the answer is under way
    click(panel.ui.applyButton)
    done({})
    assert not panel.jobs.busy
    assert "Cancelled" in panel.ui.statusLabel.text


def test_a_worker_that_does_not_heed_is_ended(host: Any, panel: Any, thorax: Any) -> None:
    click(panel.ui.applyButton)
    wait_for_status(host, panel, "Segmenting")
    worker = panel.logic._workers.get()
    os.kill(worker.process.processId(), signal.SIGSTOP)
    click(panel.ui.applyButton)
    wait_until_idle(host, panel)
    assert "Cancelled" in panel.ui.statusLabel.text
    assert not worker.alive
    assert not worker.root.exists()
    apply_and_wait(host, panel)
    assert panel.ui.statusLabel.text.startswith("Done in")


def test_a_killed_worker_is_told_and_the_next_run_works(host: Any, panel: Any, thorax: Any) -> None:
    click(panel.ui.applyButton)
    wait_for_status(host, panel, "Segmenting")
    os.kill(panel.logic._workers.get().process.processId(), signal.SIGKILL)
    wait_until_idle(host, panel)
    assert "memory" in panel.ui.statusLabel.text
    assert "press Apply again" in panel.ui.statusLabel.text
    assert panel._parameterNode.outputSegmentation is None
    apply_and_wait(host, panel)
    assert panel.ui.statusLabel.text.startswith("Done in")


def test_what_is_no_ct_is_refused_in_a_sentence(host: Any, panel: Any, phantom: Phantom) -> None:
    from CovidLesionSegLogic.ct import CTVolume

    ct = phantom.ct
    grey = CTVolume(np.full(ct.shape, 7, np.int16), ct.origin, ct.spacing, ct.direction, "Grey")
    panel._parameterNode.inputVolume = mrml.volume_to_node(grey)
    apply_and_wait(host, panel)
    assert "the same everywhere" in panel.ui.statusLabel.text
    assert "Grey" in panel.ui.statusLabel.text
    assert host.dialogs == []


def test_regions_that_are_none_are_refused(host: Any, panel: Any, thorax: Any) -> None:
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Bones")
    other.GetSegmentation().AddEmptySegment("", "rib")
    panel._parameterNode.regions = other
    apply_and_wait(host, panel)
    assert "neither lungs nor the five lobes" in panel.ui.statusLabel.text


def test_closing_the_scene_ends_the_run(host: Any, panel: Any, thorax: Any) -> None:
    click(panel.ui.applyButton)
    wait_for_status(host, panel, "Segmenting")
    slicer.mrmlScene.Clear(0)
    wait_until_idle(host, panel)
    host.process_events(0.2)
    assert not panel.ui.applyButton.enabled
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []


@pytest.mark.parametrize("which", ["inputVolume", "outputSegmentation"])
def test_a_node_removed_during_the_run_is_told(
    host: Any, panel: Any, thorax: Any, which: str
) -> None:
    click(panel.ui.applyButton)
    wait_for_status(host, panel, "Segmenting")
    slicer.mrmlScene.RemoveNode(getattr(panel._parameterNode, which))
    wait_until_idle(host, panel)
    assert "removed from the scene" in panel.ui.statusLabel.text


def test_reloading_the_module_ends_run_and_worker(host: Any, panel: Any, thorax: Any) -> None:
    click(panel.ui.applyButton)
    wait_for_status(host, panel, "Segmenting")
    worker = panel.logic._workers.get()
    host.close(panel)
    assert not worker.alive
    assert not worker.root.exists()


@pytest.mark.parametrize("how", ["kill", "close"])
def test_a_folder_in_use_goes_with_the_process(
    host: Any, panel: Any, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where no file of a process that is alive can be removed."""
    import shutil

    import qt

    worker = panel.logic._workers.get()
    host.wait_for(lambda: worker.session.ready, PATIENCE_S)
    process, remove = worker.process, shutil.rmtree
    monkeypatch.setattr(
        shutil,
        "rmtree",
        lambda path, **options: (
            remove(path, **options) if process.state() == qt.QProcess.NotRunning else None
        ),
    )
    worker.kill()
    assert worker.root.exists()
    if how == "close":
        worker.close()
        assert not worker.root.exists()
    else:
        host.wait_for(lambda: not worker.root.exists(), PATIENCE_S)


def test_leaving_slicer_ends_the_worker(host: Any, panel: Any, thorax: Any) -> None:
    apply_and_wait(host, panel)
    worker = panel.logic._workers.get()
    host.app.emit("aboutToQuit()")
    assert not worker.alive
    assert not worker.root.exists()


def test_choices_survive_a_saved_scene(host: Any, panel: Any, thorax: Any, tmp_path: Path) -> None:
    ui = panel.ui
    ui.surfacesCheckBox.checked = ui.thresholdCheckBox.checked = True
    ui.thresholdSlider.value = 0.3
    ui.lungsCheckBox.checked = False
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    assert slicer.mrmlScene.Commit()
    slicer.mrmlScene.Clear(0)
    host.process_events(0.1)
    assert not ui.surfacesCheckBox.checked
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    slicer.mrmlScene.Connect()
    panel.initializeParameterNode()
    assert (ui.surfacesCheckBox.checked, ui.lungsCheckBox.checked) == (True, False)
    assert ui.thresholdSlider.value == pytest.approx(0.3)
    assert panel.models.model == "coarse-refine"


def show_truth(panel: Any, volume: Any, phantom: Phantom) -> Any:
    """Results as after a run that has found all; the segmentation."""
    from CovidLesionSegLogic.models import LesionClass
    from CovidLesionSegLogic.quantify import quantify

    classes = (LesionClass("ground-glass opacity", 1), LesionClass("consolidation", 2))
    node = mrml.labels_to_segmentation(
        phantom.lesions, phantom.lungs, phantom.ct, classes, reference=volume
    )
    found = quantify(phantom.ct, phantom.lesions, phantom.lungs, classes)
    panel.results.show(found, node, volume)
    return node


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


def test_the_lists_follow_a_scene_that_is_loaded(host: Any, panel: Any, thorax: Any) -> None:
    """Loading changes the node of the choices while the panel shows it."""
    node = panel._parameterNode.parameterNode
    assert panel.models.model == "coarse-refine"
    other = next(name for name in panel.models._cards if name != "coarse-refine")
    node.SetParameter("model", other)
    assert panel.models.model == other
    choose(panel.ui.deviceSelector, "auto")
    choose(panel.ui.modelSelector, "coarse-refine")
    choose(panel.ui.deviceSelector, "cpu")
    chosen = panel._parameterNode
    assert (chosen.model, chosen.device) == ("coarse-refine", "cpu")
    assert panel.ui.deviceSelector.currentData == "cpu"


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


def test_missing_packages_are_asked_for_once(
    host: Any, panel: Any, thorax: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from CovidLesionSegLib import packages

    monkeypatch.setattr(packages, "missing", lambda names=None: ["SimpleITK"])
    host.answers.append(False)
    click(panel.ui.applyButton)
    assert not panel.jobs.busy
    assert "packages are missing" in panel.ui.statusLabel.text
    assert len(host.dialogs) == 1


def test_the_logic_waits_or_not(host: Any, panel: Any, thorax: Any) -> None:
    logic = panel.logic
    options: dict[str, Any] = {
        "model": "coarse-refine",
        "device": "cpu",
        "regions": panel._parameterNode.regions,
    }
    one = logic.createSegmentation(thorax)
    result = logic.process(thorax, one, **options)
    assert result.quantification.total.volume_ml > 0
    two = logic.createSegmentation(thorax)
    run = logic.process(thorax, two, waitForCompletion=False, **options)
    assert run.running
    host.wait_for(lambda: not run.running, PATIENCE_S)
    assert run.result.quantification.total == result.quantification.total


def test_a_script_cancels_from_its_callback(host: Any, panel: Any, thorax: Any) -> None:
    from CovidLesionSegLogic.engine import Cancel
    from CovidLesionSegLogic.errors import CancelledError

    cancel = Cancel()
    stop: Callable[[str, int, int], None] = lambda stage, done, total: (  # noqa: E731
        cancel.cancel() if stage == "segment" else None
    )
    output = panel.logic.createSegmentation(thorax)
    with pytest.raises(CancelledError):
        panel.logic.process(
            thorax,
            output,
            model="coarse-refine",
            device="cpu",
            regions=panel._parameterNode.regions,
            progressCallback=stop,
            cancel=cancel,
        )
    assert output.GetSegmentation().GetNumberOfSegments() == 0


def test_the_ui_file_is_in_order(repository: Path, panel: Any) -> None:
    from panel_host import lint

    fields = set(type(panel._parameterNode).__annotations__) or {
        "inputVolume",
        "regions",
        "outputSegmentation",
        "gate",
        "ownThreshold",
        "threshold",
        "showLungs",
        "probability",
        "surfaces",
    }
    path = repository / "Resources" / "UI" / "CovidLesionSeg.ui"
    assert lint.check_ui(path, fields) == []


def test_what_can_compute_is_listed_and_the_scenes_choice_kept(host: Any, panel: Any) -> None:
    box = panel.ui.deviceSelector
    panel._parameterNode.device = "cuda:1"
    panel.models.show("", "cuda:1")
    assert box.currentData == "auto"  # not known to be there
    host.wait_for(lambda: panel.logic._workers.get().session.ready, PATIENCE_S)
    host.wait_for(lambda: not panel.logic._workers.get().session.busy, PATIENCE_S)
    assert box.findData("cpu") == 1
    listed = [
        {"name": "cpu", "title": "CPU", "free_mb": None},
        {"name": "cuda:1", "title": "Some GPU", "free_mb": 7900.0},
    ]
    panel.models.setDevices(listed)
    assert box.currentData == "cuda:1"
    panel.models.setDevices([])
    choose(panel.ui.modelSelector, "coarse-refine")
    assert panel._parameterNode.device == "cuda:1"  # another model is no other device
    panel.models.setDevices(listed)
    assert box.currentText == "Some GPU (cuda:1, 7.9 GB free)"


def test_leaving_slicer_during_a_run_leaves_nothing(host: Any, panel: Any, thorax: Any) -> None:
    click(panel.ui.applyButton)
    wait_for_status(host, panel, "Segmenting")
    worker = panel.logic._workers.get()
    host.app.emit("aboutToQuit()")
    assert not worker.alive
    assert not worker.root.exists()
    assert not panel.jobs.busy


def test_a_run_goes_on_while_another_module_is_open(host: Any, panel: Any, thorax: Any) -> None:
    click(panel.ui.applyButton)
    wait_for_status(host, panel, "Segmenting")
    panel.exit()
    wait_until_idle(host, panel)
    panel.enter()
    assert panel.ui.resultsTable.rowCount == 4
    assert segment_names(panel._parameterNode.outputSegmentation)[0] == "Ground-glass opacity"
    assert panel.ui.applyButton.enabled


def test_two_sets_of_choices_do_not_mix(host: Any, panel: Any, thorax: Any) -> None:
    module = sys.modules["CovidLesionSeg"]
    one = panel._parameterNode
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "Second")
    two = module.CovidLesionSegParameterNode(node)
    panel.ui.surfacesCheckBox.checked = True
    panel.setParameterNode(two)
    assert not panel.ui.surfacesCheckBox.checked
    assert two.inputVolume is None
    assert not panel.ui.applyButton.enabled
    panel.ui.probabilityCheckBox.checked = True
    panel.setParameterNode(one)
    assert (panel.ui.surfacesCheckBox.checked, panel.ui.probabilityCheckBox.checked) == (
        True,
        False,
    )
    assert one.inputVolume == thorax
    assert (two.surfaces, two.probability) == (False, True)


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


def test_another_ct_gets_a_segmentation_of_its_own(
    host: Any, panel: Any, thorax: Any, phantom: Phantom
) -> None:
    apply_and_wait(host, panel)
    first = panel._parameterNode.outputSegmentation
    panel._parameterNode.inputVolume = mrml.volume_to_node(phantom.ct, name="Later")
    assert panel._parameterNode.outputSegmentation is None
    panel._parameterNode.outputSegmentation = first  # asked for
    assert panel._parameterNode.outputSegmentation == first


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


def test_folders_left_behind_are_removed_after_a_day(
    host: Any, panel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from CovidLesionSegLib import workerprocess

    names = (f"{workerprocess.PREFIX}1", f"{workerprocess.PREFIX}2", "else")
    temporary = tmp_path / "temporary"
    old, new, other = (temporary / name for name in names)
    for folder in (old, new, other):
        folder.mkdir(parents=True)
        (folder / "ct.raw").write_bytes(b"voxels")
    two_days_ago = time.time() - 2 * 24 * 3600
    for folder in (old, other):
        os.utime(folder, (two_days_ago, two_days_ago))
    monkeypatch.setattr(workerprocess.tempfile, "gettempdir", lambda: str(temporary))
    workerprocess.removeLeftovers()
    assert sorted(temporary.iterdir()) == [new, other]


def test_a_label_map_is_not_proposed_as_ct(host: Any, panel: Any, phantom: Phantom) -> None:
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Lobes")
    panel.enter()
    assert panel._parameterNode.inputVolume is None
    volume = mrml.volume_to_node(phantom.ct, name="Thorax")
    panel.enter()
    assert panel._parameterNode.inputVolume == volume
