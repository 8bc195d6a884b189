"""What the panel does when it is clicked, on real nodes and without Qt.

Here events are processed between the steps of a run as in Slicer, so a test can click, close the
scene or close Slicer in the middle. How the widgets look and bind shows only in Slicer.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from CovidLesionSegLogic.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from CovidLesionSegLogic.phantom import Phantom

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
slicer_host = pytest.importorskip("slicer_host")

from CovidLesionSegLogic import models, mrml, pipeline  # noqa: E402


@pytest.fixture
def module() -> Iterator[ModuleType]:
    with slicer_host.slicer_names():
        yield slicer_host.load_module()


@pytest.fixture
def application(monkeypatch: pytest.MonkeyPatch) -> Any:
    application = slicer_host.Application()
    monkeypatch.setattr(slicer, "app", application, raising=False)
    return application


@pytest.fixture
def panel(
    module: ModuleType,
    application: Any,
    phantom: Phantom,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Any]:
    import tiny_model

    tiny_model.install(tmp_path, monkeypatch)
    mrml.get_scene().Clear(0)
    panel = slicer_host.make_panel(module, mrml.volume_to_node(phantom.ct, name="Thorax"))
    yield panel
    panel.cleanup()
    mrml.get_scene().Clear(0)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The real pipeline, noting how each run ends."""
    ends: list[str] = []
    real = pipeline.segment_ct

    def segment_ct(*args: Any, **options: Any) -> pipeline.SegmentationResult:
        ends.append("started")
        result = real(*args, **options)
        ends[-1] = "finished"
        return result

    monkeypatch.setattr(pipeline, "segment_ct", segment_ct)
    return ends


def segmentations() -> list[Any]:
    found = slicer.mrmlScene.GetNodesByClass("vtkMRMLSegmentationNode")
    found.UnRegister(None)
    return [found.GetItemAsObject(i) for i in range(found.GetNumberOfItems())]


def once(action: Callable[[], None]) -> Callable[[], None]:
    """``action`` on the first call only."""
    waiting = [action]
    return lambda: waiting.pop()() if waiting else None


def state(panel: Any) -> tuple[str, bool]:
    return panel.applyButton.text, panel.inputSelector.enabled


def test_apply_segments_into_a_new_node_with_the_chosen_model(
    panel: Any, application: Any, runs: list[str]
) -> None:
    seen: list[tuple[str, bool]] = []
    application.user = lambda: seen.append(state(panel))
    assert state(panel) == ("Apply", True)
    panel.onApplyButton()
    assert runs == ["finished"]
    assert set(seen) == {("Cancel", False)}
    assert state(panel) == ("Apply", True)
    (segmentation,) = segmentations()
    assert panel.outputSelector.currentNode() is segmentation
    assert '"name": "tiny"' in segmentation.GetAttribute("CovidLesionSeg.provenance")
    assert panel.statusLabel.text.startswith("Done.")


def test_a_second_click_cancels_instead_of_starting_a_second_run(
    panel: Any, application: Any, runs: list[str]
) -> None:
    application.user = once(panel.onApplyButton)
    panel.onApplyButton()
    assert runs == ["started"]
    assert panel.statusLabel.text == "Cancelled."
    assert segmentations() == []
    panel.onApplyButton()
    assert runs == ["started", "finished"]


def test_cancel_leaves_the_users_segmentation_as_it_was(
    panel: Any, application: Any, runs: list[str]
) -> None:
    kept = panel.logic.createSegmentation(panel.inputSelector.currentNode())
    kept.GetSegmentation().AddEmptySegment("mine")
    panel.outputSelector.setCurrentNode(kept)
    application.user = once(panel.onApplyButton)
    panel.onApplyButton()
    assert segmentations() == [kept]
    assert list(kept.GetSegmentation().GetSegmentIDs()) == ["mine"]


@pytest.mark.parametrize("way", ["scene", "lastWindowClosed()", "aboutToQuit()", "cleanup"])
def test_closing_during_a_run_cancels_it(
    way: str, panel: Any, application: Any, runs: list[str]
) -> None:
    def close() -> None:
        if way == "scene":
            slicer.mrmlScene.Clear(0)
        elif way == "cleanup":
            panel.cleanup()
        else:
            application.emit(way)

    application.user = once(close)
    panel.onApplyButton()
    assert runs == ["started"]
    assert segmentations() == []
    if way != "cleanup":
        assert panel.statusLabel.text == "Cancelled."


def test_closing_the_scene_at_the_last_step_writes_nothing(
    panel: Any, application: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its last report the pipeline does not look again; the logic does."""
    real = pipeline.segment_ct

    def segment_ct(*args: Any, **options: Any) -> pipeline.SegmentationResult:
        result = real(*args, **options)
        slicer.mrmlScene.Clear(0)
        return result

    monkeypatch.setattr(pipeline, "segment_ct", segment_ct)
    panel.onApplyButton()
    assert panel.statusLabel.text == "Cancelled."
    assert segmentations() == []


def test_a_node_removed_during_the_run_is_an_error_that_says_so(
    panel: Any, application: Any, runs: list[str]
) -> None:
    volume = panel.inputSelector.currentNode()
    application.user = once(lambda: slicer.mrmlScene.RemoveNode(volume))
    with pytest.raises(InputError, match="removed from the scene"):
        panel.onApplyButton()
    assert panel.statusLabel.text == "Failed."
    assert segmentations() == []
    assert (panel.applyButton.text, panel.applyButton.enabled) == ("Apply", False)


def test_cleanup_leaves_no_connection_behind(panel: Any, application: Any) -> None:
    assert panel.Observations
    panel.cleanup()
    assert not panel.Observations
    assert not any(application.slots.values())
    panel.cleanup()


def test_only_installed_lesion_models_are_offered(
    module: ModuleType, panel: Any, phantom: Phantom, tmp_path: Path, monkeypatch: Any
) -> None:
    import tiny_model

    installed = {card.name for card in models.list_models("lesion")}
    assert {name for _, name in panel.modelSelector.items} == installed
    tiny_model.install(tmp_path, monkeypatch, name="refnet")
    assert panel.logic.installedModels()[0][0] == models.DEFAULT_MODEL
    monkeypatch.setattr(models, "list_models", lambda task: [])
    bare = slicer_host.make_panel(module, mrml.volume_to_node(phantom.ct))
    assert not bare.applyButton.enabled
    assert "No lesion model is installed" in bare.applyButton.toolTip
    bare.cleanup()


@pytest.mark.parametrize("agreed", [False, True])
def test_packages_are_installed_only_after_asking_by_name(
    agreed: bool, panel: Any, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from CovidLesionSegLib import packages

    asked: list[str] = []
    installed: list[list[str]] = []

    def confirm(text: str, windowTitle: str | None = None, parent: Any = None) -> bool:
        asked.append(text)
        assert state(panel) == ("Cancel", False)
        return agreed

    def install(names: list[str]) -> None:
        installed.append(names)
        monkeypatch.delitem(sys.modules, "safetensors")

    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", confirm)
    monkeypatch.setattr(packages, "install", install)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    panel.enter()
    assert asked == []
    panel.onApplyButton()
    assert len(asked) == 1
    assert "safetensors" in asked[0]
    assert "torch" not in asked[0]
    assert installed == ([["safetensors"]] if agreed else [])
    if not agreed:
        assert runs == []
        assert panel.statusLabel.text == "Not started: Python packages are missing."
        assert state(panel) == ("Apply", True)
