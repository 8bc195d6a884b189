"""From HU slices to the network's input, exactly as the model card says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.window import window
from CovidLesionSegLogic.models import InputSpec

if TYPE_CHECKING:
    from torch import Tensor

MIN_MARGIN = 2
"""Pixels left around the lungs at least: pleura and chest wall must be in the picture."""


class Box(NamedTuple):
    """A rectangle of pixels, half open: rows ``top`` to ``bottom``, columns ``left`` to ``right``.

    Row and column indices of the canonical slice (rows run to posterior, columns to the left).
    """

    top: int
    bottom: int
    left: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the rectangle in an array (..., y, x)."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width), pixels."""
        return self.bottom - self.top, self.right - self.left


def lung_box(mask: NDArray[Any], margin: float) -> Box | None:
    """Bounding box of the non-zero pixels of ``mask`` (y, x) with a margin, or None if empty.

    The margin on each side is ``margin`` times the box's own side, at least 2 pixels, and ends
    at the image's edge.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return None
    columns = np.flatnonzero(mask.any(axis=0))
    (top, bottom), (left, right) = (
        _widened(int(v[0]), int(v[-1]) + 1, margin, length)
        for v, length in zip((rows, columns), mask.shape, strict=True)
    )
    return Box(top, bottom, left, right)


def _widened(first: int, end: int, margin: float, length: int) -> tuple[int, int]:
    extra = max(MIN_MARGIN, round(margin * (end - first)))
    return max(0, first - extra), min(length, end + extra)


def lung_boxes(lungs: NDArray[Any], spec: InputSpec) -> dict[int, Box]:
    """Which slices go through the network and which part of them.

    Parameters
    ----------
    lungs
        (z, y, x), non-zero inside the lungs.
    spec
        Of the model card: ``crop``, ``scope``, ``margin`` and ``smallest``.

    Returns
    -------
    dict
        Slice index -> box, for the slices that have any lung, in ascending order.
    """
    own = {k: box for k in range(len(lungs)) if (box := lung_box(lungs[k], spec.margin))}
    if spec.crop == "none":
        whole = Box(0, lungs.shape[1], 0, lungs.shape[2])
        return dict.fromkeys(own, whole)
    if spec.scope == "volume" and own:
        union = lung_box(np.asarray(lungs.any(axis=0)), spec.margin)
        assert union is not None
        return dict.fromkeys(own, union)
    if spec.smallest > 0 and own:
        largest = np.max([box.size for box in own.values()], axis=0)
        height, width = (round(spec.smallest * int(side)) for side in largest)
        return {
            k: Box(
                *_grown(box.top, box.bottom, height, lungs.shape[1]),
                *_grown(box.left, box.right, width, lungs.shape[2]),
            )
            for k, box in own.items()
        }
    return own


def _grown(first: int, end: int, side: int, length: int) -> tuple[int, int]:
    """At least ``side`` long about the same middle, moved where it would leave 0...length."""
    side = max(side, end - first)
    start = min(max(0, first - (side - (end - first)) // 2), length - side)
    return start, start + side


def prepare_slice(hu: NDArray[Any], spec: InputSpec) -> Tensor:
    """The network's input for one (cropped) slice.

    Window to 0...1, bilinear resize with antialiasing to ``size`` x ``size`` as in training,
    grey repeated to ``channels``, normalised by mean and standard deviation.

    Parameters
    ----------
    hu
        (h, w), HU. Values that are not finite count as air.

    Returns
    -------
    Tensor
        (channels, size, size), float32, on the CPU.
    """
    import torch

    grey = torch.from_numpy(np.nan_to_num(window(hu, *spec.window), nan=0.0))
    grey = resize(grey[None], (spec.size, spec.size))
    mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
    return (grey - mean[:, None, None]) / std[:, None, None]


def resize(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (c, h, w) to (c, *size): bilinear, antialiased where it shrinks."""
    from torch.nn.functional import interpolate

    if tuple(planes.shape[-2:]) == size:
        return planes
    return interpolate(
        planes[None], size=size, mode="bilinear", antialias=True, align_corners=False
    )[0]
