"""ONNX Runtime without its reports."""

from __future__ import annotations

import os
from types import ModuleType

SILENCED = {"ORT_DISABLE_TELEMETRY": "1", "ORT_TELEMETRY_DISABLED": "1"}
"""Released builds report their use to their maker, and note an identifier of the machine in the
home folder, unless one of these (the name has changed) stands in the environment when they are
imported."""


def onnx_runtime() -> ModuleType:
    """The library; the only place that imports it, as nothing may be sent (SECURITY.md)."""
    os.environ.update(SILENCED)
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # Windows' own reports, which know no variable
    return onnxruntime
