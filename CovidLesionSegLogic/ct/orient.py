"""To the canonical axes and back, without resampling."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.volume import CTVolume

OBLIQUE_DEGREES = 20.0
"""Beyond this angle to the patient's axes a warning is added: slices no longer look axial."""


@dataclass(frozen=True)
class Reorientation:
    """How an array of the input's axes became one of canonical axes.

    Parameters
    ----------
    axes
        For each canonical array axis (S, P, L order, i.e. k, j, i) the input's array axis.
    flips
        For each canonical array axis, whether it runs against the input's.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """The view of an input-oriented array (last three axes z, y, x) in canonical axes."""
        lead = array.ndim - 3
        view = array.transpose((*range(lead), *(lead + axis for axis in self.axes)))
        return view[self._steps]

    def restore(self, array: NDArray[Any]) -> NDArray[Any]:
        """The view of a canonical array (last three axes k, j, i) in the input's own axes."""
        lead = array.ndim - 3
        view = array[self._steps]
        inverse = np.argsort(self.axes)
        return view.transpose((*range(lead), *(lead + int(axis) for axis in inverse)))

    @property
    def _steps(self) -> tuple[Any, ...]:
        return (..., *(slice(None, None, -1 if flip else None) for flip in self.flips))


def closest_axes(direction: NDArray[np.float64]) -> tuple[tuple[int, int, int], tuple[int, ...]]:
    """Which index axis runs closest along each patient axis, and its sign.

    Parameters
    ----------
    direction
        Shape (3, 3): columns are the unit vectors of i, j, k in LPS.

    Returns
    -------
    assignment
        For L, P, S in turn the index axis (0 = i, 1 = j, 2 = k), each used once: the permutation
        with the largest sum of |cosine|, so oblique volumes are assigned without conflict.
    signs
        For L, P, S in turn +1 when that index axis runs towards it, else -1.
    """
    best = max(
        itertools.permutations(range(3)),
        key=lambda axes: sum(abs(direction[row, axis]) for row, axis in enumerate(axes)),
    )
    signs = tuple(-1 if direction[row, axis] < 0 else 1 for row, axis in enumerate(best))
    return (best[0], best[1], best[2]), signs


def obliquity_degrees(direction: NDArray[np.float64]) -> float:
    """The largest angle between an index axis and its closest patient axis, degrees."""
    axes, _ = closest_axes(direction)
    cosines = [abs(direction[row, axis]) for row, axis in enumerate(axes)]
    return math.degrees(math.acos(min(1.0, float(min(cosines)))))


def to_canonical(volume: CTVolume) -> tuple[CTVolume, Reorientation]:
    """The same voxels with i towards patient Left, j Posterior, k Superior (closest axes).

    Only axes are permuted and flipped: the array is a view, no voxel is resampled and every voxel
    keeps its place in the patient. An oblique volume stays oblique; beyond 20 degrees a warning
    is added.

    Returns
    -------
    canonical
        Shape (z, y, x) with z from feet to head, y from front to back, x from right to left.
    reorientation
        ``restore`` takes any array of the canonical shape back to the input's axes.
    """
    assignment, signs = closest_axes(volume.direction)
    # index axes are (i, j, k), array axes (k, j, i): array axis = 2 - index axis
    reorientation = Reorientation(
        axes=(2 - assignment[2], 2 - assignment[1], 2 - assignment[0]),
        flips=(signs[2] < 0, signs[1] < 0, signs[0] < 0),
    )
    size = volume.shape[::-1]
    origin = np.asarray(volume.origin, dtype=np.float64)
    for axis, sign in zip(assignment, signs, strict=True):
        if sign < 0:
            origin = origin + volume.direction[:, axis] * volume.spacing[axis] * (size[axis] - 1)
    canonical = replace(
        volume,
        array=reorientation.apply(volume.array),
        origin=(float(origin[0]), float(origin[1]), float(origin[2])),
        spacing=(
            volume.spacing[assignment[0]],
            volume.spacing[assignment[1]],
            volume.spacing[assignment[2]],
        ),
        direction=volume.direction[:, list(assignment)] * np.asarray(signs, dtype=np.float64),
        planes=(),  # they belong to the slices of the file, which may be another axis here
    )
    angle = obliquity_degrees(volume.direction)
    if angle > OBLIQUE_DEGREES:
        canonical = canonical.with_warnings(
            f"The volume lies {angle:.0f} degrees oblique to the patient's axes; slices are taken "
            "as they are, and results may be less accurate than on an axial scan."
        )
    return canonical, reorientation
