"""Which slices and planes of a CT are worth a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.orient import to_canonical
from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.report.subject import ShownResult

BODY_HU = -500
MARGIN_MM = 12.0


@dataclass(frozen=True, eq=False)
class Scene:
    """Views of CT, labels and lungs in canonical axes (k up, j back, i to the patient's left).

    ``box`` holds (first, last + 1) along k, j and i of what is to be shown.
    """

    ct: CTVolume
    labels: NDArray[Any]
    lungs: NDArray[Any]
    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

    @classmethod
    def of(cls, result: ShownResult) -> Scene:
        """Canonical views of a result, boxed to the lungs and lesions, else to the body."""
        ct, reorientation = to_canonical(result.ct)
        labels = reorientation.apply(result.labels)
        lungs = reorientation.apply(result.lungs)
        return cls(ct, labels, lungs, _box(ct, labels, lungs))


@dataclass(frozen=True, eq=False)
class Plane:
    """One picture's worth of voxels: rows downwards, columns rightwards, sizes in mm."""

    hu: NDArray[Any]
    labels: NDArray[Any]
    lungs: NDArray[Any]
    row_mm: float
    column_mm: float

    @property
    def size_mm(self) -> tuple[float, float]:
        """(height, width)."""
        return self.hu.shape[0] * self.row_mm, self.hu.shape[1] * self.column_mm


def axial(scene: Scene, k: int) -> Plane:
    """Slice ``k`` as radiologists look at it: anterior up, the patient's right on the left."""
    (_, (j0, j1), (i0, i1)) = scene.box
    at = (k, slice(j0, j1), slice(i0, i1))
    sx, sy, _ = scene.ct.spacing
    return Plane(scene.ct.array[at], scene.labels[at], scene.lungs[at], sy, sx)


def coronal(scene: Scene, j: int) -> Plane:
    """Plane ``j`` from the front: head up, the patient's right on the left."""
    ((k0, k1), _, (i0, i1)) = scene.box
    at = (slice(k0, k1), j, slice(i0, i1))
    sx, _, sz = scene.ct.spacing
    return Plane(scene.ct.array[at][::-1], scene.labels[at][::-1], scene.lungs[at][::-1], sz, sx)


def sagittal(scene: Scene, i: int) -> Plane:
    """Plane ``i`` from the patient's left: head up, anterior on the left."""
    ((k0, k1), (j0, j1), _) = scene.box
    at = (slice(k0, k1), slice(j0, j1), i)
    _, sy, sz = scene.ct.spacing
    return Plane(scene.ct.array[at][::-1], scene.labels[at][::-1], scene.lungs[at][::-1], sz, sy)


class Planes(NamedTuple):
    """Coronal plane ``j`` and sagittal plane ``i``, and in words why these."""

    j: int
    i: int
    why: str


def best_planes(scene: Scene) -> Planes:
    """The coronal and sagittal planes with most lesion, else most lung, else midway."""
    for array, why in (
        (scene.labels, "plane with most lesion"),
        (scene.lungs, "plane with most lung"),
    ):
        counts = [_profile(array, axis) for axis in (1, 2)]
        if counts[0].any():
            return Planes(int(counts[0].argmax()), int(counts[1].argmax()), why)
    _, (j0, j1), (i0, i1) = scene.box
    return Planes((j0 + j1) // 2, (i0 + i1) // 2, "middle plane")


def choose_slices(scene: Scene, number: int) -> list[int]:
    """Canonical slices to show, topmost first: spread over the lungs, each where lesion is largest.

    The slices with lung or lesion are divided into ``number`` equal stretches. From each comes the
    slice with most lesion (the middle one where there is none), clear of the slices already taken
    from the neighbouring stretches.
    """
    lesion = _profile(scene.labels, 0)
    used = np.flatnonzero(lesion + _profile(scene.lungs, 0))
    first, last = (int(used[0]), int(used[-1]) + 1) if used.size else scene.box[0]
    number = min(number, last - first)
    edges = np.linspace(first, last, number + 1).round().astype(int)
    stretches = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    clear = (last - first) / number / 2
    chosen: list[int] = []
    for start, stop in sorted(stretches, key=lambda s: -int(lesion[s[0] : s[1]].max())):
        middle = (start + stop - 1) / 2
        free = [k for k in range(start, stop) if all(abs(k - c) >= clear for c in chosen)]
        by_lesion = [(int(lesion[k]), -abs(k - middle), k) for k in free or range(start, stop)]
        chosen.append(max(by_lesion)[2])
    return sorted(set(chosen), reverse=True)


def _profile(array: NDArray[Any], axis: int) -> NDArray[np.int64]:
    """Number of non-zero voxels along one axis, slice by slice: no copy of the volume."""
    counts = np.zeros(array.shape[axis], dtype=np.int64)
    for k in range(array.shape[0]):
        plane = array[k] != 0
        if axis == 0:
            counts[k] = np.count_nonzero(plane)
        else:
            counts += np.count_nonzero(plane, axis=2 - axis)
    return counts


def _box(
    ct: CTVolume, labels: NDArray[Any], lungs: NDArray[Any]
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    found = _bounds(lambda k: (lungs[k] > 0) | (labels[k] > 0), ct.shape)
    if found is None:
        found = _bounds(lambda k: ct.array[k] > BODY_HU, ct.shape)
    if found is None:
        nz, ny, nx = ct.shape
        return (0, nz), (0, ny), (0, nx)
    boxes = []
    for (low, high), size, spacing in zip(found, ct.shape, ct.spacing[::-1], strict=True):
        margin = round(MARGIN_MM / spacing)
        boxes.append((max(0, low - margin), min(size, high + margin)))
    return boxes[0], boxes[1], boxes[2]


def _bounds(inside: Any, shape: tuple[int, int, int]) -> list[tuple[int, int]] | None:
    ends = []
    rows, columns = np.zeros(shape[1], bool), np.zeros(shape[2], bool)
    slices = np.zeros(shape[0], bool)
    for k in range(shape[0]):
        mask = inside(k)
        slices[k] = mask.any()
        if slices[k]:
            rows |= mask.any(axis=1)
            columns |= mask.any(axis=0)
    for used in (slices, rows, columns):
        where = np.flatnonzero(used)
        if where.size == 0:
            return None
        ends.append((int(where[0]), int(where[-1]) + 1))
    return ends
