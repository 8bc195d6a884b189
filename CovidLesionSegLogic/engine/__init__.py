"""Slices in, probabilities out: device, batches, memory, progress and cancelling."""

from CovidLesionSegLogic.engine.cancel import Cancel
from CovidLesionSegLogic.engine.device import choose_device, default_batch_size, describe_device
from CovidLesionSegLogic.engine.gate import longest_run, patient_decision
from CovidLesionSegLogic.engine.memory import is_out_of_memory, memory_errors_for
from CovidLesionSegLogic.engine.parts import AUTO, ENGINES, check_engine, engine_for, engine_used
from CovidLesionSegLogic.engine.predict import SlicePrediction, predict_slices
from CovidLesionSegLogic.engine.preprocess import Box, lung_box, lung_boxes, prepare_slice
from CovidLesionSegLogic.engine.progress import Progress, no_progress
from CovidLesionSegLogic.engine.refine import Shortcuts, floor_for

__all__ = [
    "AUTO",
    "ENGINES",
    "Box",
    "Cancel",
    "Progress",
    "Shortcuts",
    "SlicePrediction",
    "check_engine",
    "choose_device",
    "default_batch_size",
    "describe_device",
    "engine_for",
    "engine_used",
    "floor_for",
    "is_out_of_memory",
    "longest_run",
    "lung_box",
    "lung_boxes",
    "memory_errors_for",
    "no_progress",
    "patient_decision",
    "predict_slices",
    "prepare_slice",
]
