"""One block of slices being painted, tissue over tissue."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from CovidLesionSegLogic.phantom.grid import Array, Block, Points, Window, share

AIR, FAT, MUSCLE, BLOOD = -1000.0, -103.0, 52.0, 42.0  # HU
EVERYTHING: Window = (slice(None), slice(None), slice(None))


class Canvas:
    """Noise-free HU of one block, (slices, rows, columns) float32; air to begin with."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.hu = np.full(block.shape, AIR, np.float32)

    def blend(self, part: Array, value: ArrayLike, window: Window = EVERYTHING) -> None:
        """Replace ``part`` (0..1) of each voxel of ``window`` by tissue of ``value`` HU."""
        view = self.hu[window]
        view += part * (np.asarray(value, dtype=np.float32) - view)

    def organ(self, field: Array, value: ArrayLike, window: Window) -> None:
        """Blend in the inside of ``field``, which has one voxel of margin around ``window``."""
        self.blend(share(*self.block.surface(field)), value, window)

    def box(self, low: ArrayLike, high: ArrayLike) -> tuple[Points, Window] | None:
        """Positions (with margin) and voxels within an LPS box; None if it is elsewhere."""
        window = self.block.window(low, high)
        if window is None:
            return None
        z, y, x = (slice(s.start, s.stop + 2) for s in window)
        return self.block.points[z, y, x], window
