"""Pictures of the panel in its states, and figures of how it responds, on the panel host.

    PYTHONPATH=. .venv/bin/python Testing/panel_pictures.py FOLDER [--ct PATH] [--model NAME]

Without ``--ct`` the built-in synthetic CT is used, whose pictures may be published. Prints, as
JSON: seconds from Apply to the first slice for the first and the second run, the event loop's
longest standstill (all of it, and the part in which this process computed), and how long Cancel
took.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing" / "Python")]

import panel_host  # noqa: E402

from CovidLesionSegLogic import mrml  # noqa: E402

PATIENCE_S = 1200
CANCELS = 5


class Session:
    """One panel, its pictures and figures."""

    def __init__(self, host: Any, folder: Path, model: str) -> None:
        self.host, self.folder = host, folder
        self.panel = host.open(ROOT / "CovidLesionSeg" / "CovidLesionSeg.py")
        self.ui = self.panel.ui
        self.ui.modelSelector.setCurrentIndex(self.ui.modelSelector.findData(model))
        worker = self.panel.logic._workers.get()
        host.wait_for(lambda: worker.session.ready and not worker.session.busy, PATIENCE_S)

    def picture(self, name: str) -> None:
        """The panel in both themes."""
        for theme in ("light", "dark"):
            path = self.folder / f"panel-{name}-{theme}.png"
            self.host.save_picture(self.panel, path, width=470, theme=theme)

    def idle(self) -> bool:
        """Whether no run goes on."""
        return not self.panel.jobs.busy

    def begin(self) -> float:
        """Press Apply and wait for the first slice; the seconds between."""
        first: list[float] = []
        show = self.panel.progress.show
        began = time.monotonic()
        self.ui.applyButton.click()

        def note(stage: str, done: int, total: int) -> None:
            show(stage, done, total)
            if stage == "segment" and done and not first:
                first.append(time.monotonic() - began)

        self.panel.jobs._run.onProgress = note
        self.host.wait_for(lambda: first or self.idle(), PATIENCE_S)
        if not first:
            raise SystemExit(f"the run ended early: {self.ui.statusLabel.text}")
        return first[0]

    def cancel(self) -> float:
        """Press Cancel; the seconds until Apply is there again."""
        began = time.monotonic()
        self.ui.applyButton.click()
        self.host.wait_for(self.idle, PATIENCE_S)
        return time.monotonic() - began


def main() -> None:
    """Make the pictures and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ct", type=Path)
    parser.add_argument("--model", default="coarse-refine")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    with panel_host.running() as host:
        session = Session(host, asked.folder, asked.model)
        session.panel._parameterNode.inputVolume = volume_node(asked.ct)
        session.picture("before")
        figures: dict[str, Any] = {"model": asked.model}
        with host.event_loop_gaps() as gaps:
            figures["first slice, first run s"] = session.begin()
            host.wait_for(lambda: "left" in session.ui.statusLabel.text, PATIENCE_S)
        figures["standstill ms"] = 1000 * gaps.longest
        figures["standstill by this process ms"] = 1000 * gaps.longest_own
        session.picture("during")
        with host.event_loop_gaps() as gaps:
            host.wait_for(session.idle, PATIENCE_S)
        figures["standstill at the end ms"] = 1000 * gaps.longest
        figures["standstill at the end by this process ms"] = 1000 * gaps.longest_own
        session.ui.modelButton.collapsed = True
        session.picture("after")
        session.ui.modelButton.collapsed = False
        figures["first slice, second run s"] = session.begin()
        figures["cancel s"] = [session.cancel()]
        for _ in range(CANCELS - 1):
            session.begin()
            figures["cancel s"].append(session.cancel())
        session.panel._parameterNode.inputVolume = not_a_ct()
        session.panel._parameterNode.outputSegmentation = None
        session.panel.results.clear()
        session.ui.applyButton.click()
        host.wait_for(session.idle, PATIENCE_S)
        session.picture("error")
    print(json.dumps(figures, indent=1))


def volume_node(path: Path | None) -> Any:
    """The CT as a node."""
    if path is None:
        from CovidLesionSegLib import sampledata

        return sampledata.load()
    from CovidLesionSegLogic.ct import read_ct

    return mrml.volume_to_node(read_ct(path), name="Chest CT")


def not_a_ct() -> Any:
    """A volume of one value."""
    import numpy as np

    from CovidLesionSegLogic.ct import CTVolume

    grey = np.full((20, 64, 64), 7, np.int16)
    return mrml.volume_to_node(CTVolume(grey), name="T2 map")


if __name__ == "__main__":
    main()
