"""Work on label volumes slice by slice, so that nothing else is as large as the volume."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def count_labels(labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Voxels of each label 0 to 255 in a (z, y, x) uint8 volume.

    ``np.bincount`` of the whole volume would first copy it to eight bytes a voxel.
    """
    counts = np.zeros(256, np.int64)
    for plane in labels:
        counts += np.bincount(plane.ravel(), minlength=256)
    return counts


def bounding_box(
    mask: NDArray[Any], margin: tuple[int, int] = (0, 0)
) -> tuple[slice, slice] | None:
    """Rows and columns that hold the non-zero pixels of (h, w); None where there are none.

    ``margin`` is in pixels (rows, columns) and ends at the frame.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return None
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    (top, bottom), (left, right) = rows[[0, -1]].tolist(), columns[[0, -1]].tolist()
    return (
        slice(max(top - margin[0], 0), min(bottom + 1 + margin[0], mask.shape[0])),
        slice(max(left - margin[1], 0), min(right + 1 + margin[1], mask.shape[1])),
    )
