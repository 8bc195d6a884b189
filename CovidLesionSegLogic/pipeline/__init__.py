"""Segment one CT: the one path that panel, console, batch and worker use."""

from CovidLesionSegLogic.pipeline.gate import GateResult, GateSlice
from CovidLesionSegLogic.pipeline.kept_lungs import KeptLungs
from CovidLesionSegLogic.pipeline.options import SegmentOptions
from CovidLesionSegLogic.pipeline.result import SegmentationResult
from CovidLesionSegLogic.pipeline.segment import check_model, check_options, segment_ct

__all__ = [
    "GateResult",
    "GateSlice",
    "KeptLungs",
    "SegmentOptions",
    "SegmentationResult",
    "check_model",
    "check_options",
    "segment_ct",
]
