"""A volume as it lies in memory or in a file, its values not yet known to be Hounsfield units."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.values import clean_hounsfield
from CovidLesionSegLogic.ct.volume import CTVolume, Vector3


@dataclass(frozen=True, eq=False)
class RawVolume:
    """Voxels of any real dtype, shape (z, y, x), with their grid in LPS mm.

    The fields are those of :class:`~.volume.CTVolume`; ``where`` is what messages call it.
    """

    array: NDArray[Any]
    origin: Vector3
    spacing: Vector3
    direction: NDArray[np.float64]
    name: str
    where: str
    source: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def checked(self) -> CTVolume:
        """The CT, with values checked and cleaned as a file's are.

        The array stays as it is where it is int16 or float32 and nothing must change; otherwise it
        is copied (int16 where all are whole numbers, else float32; -1024 HU where they are lower,
        or NaN around the body).

        Raises
        ------
        InputError
            The values are not Hounsfield units of a chest CT; the message begins with ``where``.
        """
        voxels = clean_hounsfield(self.array, self.where, narrow=False)
        return CTVolume(
            array=voxels.array,
            origin=self.origin,
            spacing=self.spacing,
            direction=self.direction,
            name=self.name,
            source=self.source,
            warnings=(*self.warnings, *voxels.warnings),
        )

    def grid(self) -> CTVolume:
        """The grid alone: a volume of zeros that takes no memory."""
        zeros = np.broadcast_to(np.int16(0), self.array.shape)
        return CTVolume(zeros, self.origin, self.spacing, self.direction, self.name)
