"""The real panel, with real widgets, real nodes and the real worker: choices and a whole run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from panel_driver import (
    PATIENCE_S,
    apply_and_wait,
    choose,
    click,
    segment_names,
    wait_until_idle,
)

if TYPE_CHECKING:
    from pathlib import Path

    from CovidLesionSegLogic.phantom import Phantom

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6.QtUiTools", reason="PySide6 is not installed")


from CovidLesionSegLogic import mrml  # noqa: E402


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


def test_another_ct_gets_a_segmentation_of_its_own(
    host: Any, panel: Any, thorax: Any, phantom: Phantom
) -> None:
    apply_and_wait(host, panel)
    first = panel._parameterNode.outputSegmentation
    panel._parameterNode.inputVolume = mrml.volume_to_node(phantom.ct, name="Later")
    assert panel._parameterNode.outputSegmentation is None
    panel._parameterNode.outputSegmentation = first  # asked for
    assert panel._parameterNode.outputSegmentation == first


def test_a_label_map_is_not_proposed_as_ct(host: Any, panel: Any, phantom: Phantom) -> None:
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Lobes")
    panel.enter()
    assert panel._parameterNode.inputVolume is None
    volume = mrml.volume_to_node(phantom.ct, name="Thorax")
    panel.enter()
    assert panel._parameterNode.inputVolume == volume
