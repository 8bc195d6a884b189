"""Lung mask of a CT: right and left lung, from a network's probabilities or by density."""

from .frame import body_window
from .mask import LungMask, has_lung, lungs_from_density, lungs_from_predictions
from .sides import LEFT, RIGHT, split_sides
from .slices import bounding_box, count_labels

__all__ = [
    "LEFT",
    "RIGHT",
    "LungMask",
    "body_window",
    "bounding_box",
    "count_labels",
    "has_lung",
    "lungs_from_density",
    "lungs_from_predictions",
    "split_sides",
]
