"""Dialogs of ``slicer.util`` that are noted and answered by the test instead of opened."""

from __future__ import annotations

import inspect
from typing import Any

import slicer


class Dialogs:
    """What the user was told and asked.

    Attributes
    ----------
    shown
        Kind ("error", "info", "warning", "ok or cancel", "yes or no", "save file", ...) and text.
    answers
        What the user will answer, in this order; a question without an answer fails.
    """

    def __init__(self) -> None:
        self.shown: list[tuple[str, str]] = []
        self.answers: list[Any] = []

    def ask(self, kind: str, text: str) -> Any:
        self.shown.append((kind, text))
        if not self.answers:
            raise AssertionError(f"the user was asked unexpectedly ({kind}): {text}")
        return self.answers.pop(0)

    def functions(self) -> dict[str, Any]:
        """Replacements for the functions of ``slicer.util``, by name."""

        def tell(kind: str) -> Any:
            return lambda text, *_values, **_options: self.shown.append((kind, text))

        def confirm(kind: str) -> Any:
            return lambda text, *_values, **_options: bool(self.ask(kind, text))

        return {
            "errorDisplay": tell("error"),
            "infoDisplay": tell("info"),
            "warningDisplay": tell("warning"),
            "messageBox": tell("message"),
            "confirmOkCancelDisplay": confirm("ok or cancel"),
            "confirmYesNoDisplay": confirm("yes or no"),
            "confirmRetryCloseDisplay": confirm("retry or close"),
        }


class Shown:
    """What a panel had the main window show: modules, layers of the slice views, status line."""

    def __init__(self) -> None:
        self.modules: list[str] = []
        self.layers: list[dict[str, Any]] = []
        self.messages: list[str] = []
        self._signature = inspect.signature(slicer.util.setSliceViewerLayers)

    def selectModule(self, module: Any) -> None:
        self.modules.append(module if isinstance(module, str) else module.name)

    def showStatusMessage(self, message: str, duration: int = 0) -> None:
        self.messages.append(message)

    def setSliceViewerLayers(self, *values: Any, **options: Any) -> None:
        self.layers.append(dict(self._signature.bind(*values, **options).arguments))
