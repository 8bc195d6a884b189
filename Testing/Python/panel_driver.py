"""Steps that the tests of the panel have in common; the fixtures are in conftest.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from CovidLesionSegLogic.phantom import Phantom

PATIENCE_S = 120


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


def show_truth(panel: Any, volume: Any, phantom: Phantom) -> Any:
    """Results as after a run that has found all; the segmentation."""
    from CovidLesionSegLogic import mrml
    from CovidLesionSegLogic.models import LesionClass
    from CovidLesionSegLogic.quantify import quantify

    classes = (LesionClass("ground-glass opacity", 1), LesionClass("consolidation", 2))
    node = mrml.labels_to_segmentation(
        phantom.lesions, phantom.lungs, phantom.ct, classes, reference=volume
    )
    found = quantify(phantom.ct, phantom.lesions, phantom.lungs, classes)
    panel.results.show(found, node, volume)
    return node
