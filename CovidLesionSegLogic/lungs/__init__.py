"""Lung mask of a CT: right and left lung, from a network's probabilities or by density."""

from .mask import LungMask, lungs_from_density, lungs_from_predictions
from .sides import LEFT, RIGHT, split_sides

__all__ = [
    "LEFT",
    "RIGHT",
    "LungMask",
    "lungs_from_density",
    "lungs_from_predictions",
    "split_sides",
]
