"""The panel host's check of ``.ui`` files, and its probe of the event loop."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6.QtUiTools", reason="PySide6 is not installed")
panel_host = pytest.importorskip("panel_host")
sample_panel = pytest.importorskip("sample_panel")


def test_probe_notices_a_standstill() -> None:
    with panel_host.running() as host:
        import qt

        with host.event_loop_gaps() as gaps:
            host.process_events(0.2)
        smooth = gaps.longest
        with host.event_loop_gaps() as gaps:
            qt.QTimer.singleShot(20, lambda: time.sleep(0.3))
            host.process_events(0.4)
        assert 0.28 < gaps.longest < 5
        assert smooth < gaps.longest / 2


FIELDS = ("ct", "surfaces", "threshold", "device", "note", "rounds", "labels")


def test_lint_finds_each_planted_mistake(tmp_path: Path) -> None:
    from panel_host.lint import check_ui

    item, wire = sample_panel.widget_text, sample_panel.connection
    mistakes = {
        "class QDial is unknown": {"extra": item("QDial", "dial")},
        "no parameter 'treshold'": {"extra": item("QSlider", "s", "treshold")},
        "applyButton: 2 objects": {"extra": item("QPushButton", "applyButton")},
        "bare: a tool tip is missing": {"extra": item("QCheckBox", "bare", tip="")},
        "no property sufix": {
            "extra": item("QSpinBox", "s", more='<property name="sufix"><string/></property>')
        },
        "no signal pressed(bool)": {
            "connections": wire("applyButton", "pressed(bool)", "noteEdit", "clear()")
        },
        "no slot wipe()": {"connections": wire("applyButton", "clicked()", "noteEdit", "wipe()")},
        "'nobody'": {"connections": wire("nobody", "clicked()", "noteEdit", "clear()")},
    }
    path = tmp_path / "Sample.ui"
    for expected, change in mistakes.items():
        path.write_text(sample_panel.ui_text(**change), encoding="utf-8")
        (found,) = check_ui(path, FIELDS)
        assert expected in found
    path.write_text(sample_panel.ui_text(), encoding="utf-8")
    assert check_ui(path, FIELDS) == []
