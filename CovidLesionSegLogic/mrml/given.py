"""Lungs or lobes that the user has as a segmentation, as labels on the CT's grid."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.errors import InputError
from CovidLesionSegLogic.mrml.labels import own_label, paint
from CovidLesionSegLogic.quantify import LOBES, lobe_of

if TYPE_CHECKING:
    from CovidLesionSegLogic.ct import CTVolume

RIGHT, LEFT = 1, 2
_LUNG = {"lung", "lungs"}
_SIDES = {"right", "left", "both", "r", "l"}


class Given(NamedTuple):
    """``kind``: "lungs" (1 right, 2 left) or "regions" (the lobes); names of regions by label."""

    kind: str
    labels: NDArray[np.uint8]
    names: dict[int, str]


def given_kind(node: Any) -> str:
    """What the segments of a vtkMRMLSegmentationNode are by their names: "lungs" or "regions".

    Raises
    ------
    InputError
        They are neither; the message says how to name them.
    """
    return _plan(node)[0]


def given_labels(node: Any, ct: CTVolume) -> Generator[None, None, Given]:
    """Labels of the segments; pauses after each, so that a window stays alive meanwhile.

    A segment of another grid is resampled (nearest neighbour). The errors are those of
    :func:`given_kind`, and InputError where nothing lies on the CT.
    """
    kind, values = _plan(node)
    names = dict(enumerate(LOBES, 1)) if kind == "regions" else {}
    given = Given(kind, np.zeros(ct.shape, np.uint8), names)
    for segment_id, value in values.items():
        paint(given.labels, node, segment_id, value, ct)
        yield
    if not given.labels.any():
        raise InputError(
            f"No segment of '{node.GetName()}' lies on the CT: choose the segmentation that "
            "belongs to it, or none."
        )
    return given


def _plan(node: Any) -> tuple[str, dict[str, int]]:
    """Kind, and label value by segment id."""
    segmentation = node.GetSegmentation()
    segments = {}
    for index in range(segmentation.GetNumberOfSegments()):
        segment_id = segmentation.GetNthSegmentID(index)
        segments[segment_id] = segmentation.GetSegment(segment_id)
    lobes = {key: lobe_of(one.GetName()) for key, one in segments.items()}
    found = {key: lobe for key, lobe in lobes.items() if lobe is not None}
    if sorted(found.values()) == sorted(LOBES):
        return "regions", {key: LOBES.index(lobe) + 1 for key, lobe in found.items()}
    lungs = {key: side for key, one in segments.items() if (side := _side(one))}
    if lungs:
        return "lungs", lungs
    raise InputError(
        f"The segmentation '{node.GetName()}' holds neither lungs nor the five lobes: name its "
        "segments 'right lung' and 'left lung', or 'right upper lobe' and so on, or choose none."
    )


def _side(segment: Any) -> int:
    """1 right lung or both, 2 left lung, 0 another structure."""
    kind, value = own_label(segment)
    if kind:
        return value if kind == "lung" else 0
    words = set(re.findall(r"[a-z]+", segment.GetName().lower()))
    if not words & _LUNG or words - _LUNG - _SIDES:
        return 0
    return LEFT if words & {"left", "l"} else RIGHT
