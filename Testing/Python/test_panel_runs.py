"""Runs of the panel that are cancelled, lost or left behind, with the real worker."""

from __future__ import annotations

import gc
import os
import signal
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from panel_driver import (
    PATIENCE_S,
    apply_and_wait,
    click,
    segment_names,
    wait_for_status,
    wait_until_idle,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from CovidLesionSegLogic.phantom import Phantom

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6.QtUiTools", reason="PySide6 is not installed")


from CovidLesionSegLogic import mrml  # noqa: E402


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
