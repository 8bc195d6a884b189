"""A CT and the arrays on its grid, seen in canonical orientation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.orient import Reorientation, to_canonical
from CovidLesionSegLogic.ct.volume import CTVolume


@dataclass(frozen=True, eq=False)
class CanonicalGrid:
    """A CT seen canonically: ``ct.array[k, j, i]``, i towards Left, j Posterior, k Superior (LPS).

    ``ct`` is a view of the input's voxels, ``reorientation`` leads other arrays here and back.
    """

    ct: CTVolume
    reorientation: Reorientation

    @classmethod
    def of(cls, ct: CTVolume) -> CanonicalGrid:
        """The canonical view of ``ct`` (axes permuted and flipped, voxels not copied)."""
        return cls(*to_canonical(ct))

    def view(self, array: NDArray[Any]) -> NDArray[Any]:
        """``array`` (z, y, x on the input's own grid) as a canonical view (k, j, i)."""
        return self.reorientation.apply(array)

    def own_slice_index(self, k: int) -> int:
        """Canonical slice ``k``'s index along the axis of the input that it runs along."""
        return self.ct.shape[0] - 1 - k if self.reorientation.flips[0] else k

    @property
    def own_slice_axis(self) -> str:
        """The input's index axis, ``"i"``, ``"j"`` or ``"k"``, that runs between feet and head."""
        return "kji"[self.reorientation.axes[0]]

    def slice_z_mm(self) -> NDArray[np.float64]:
        """Position of the centre of every canonical slice along patient Superior, mm; (k,)."""
        nz, ny, nx = self.ct.shape
        index = np.zeros((4, nz))
        index[0], index[1], index[2], index[3] = (nx - 1) / 2, (ny - 1) / 2, np.arange(nz), 1
        z: NDArray[np.float64] = (self.ct.affine @ index)[2]
        return z
