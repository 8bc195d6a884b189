"""Lungs that were found last, for another run on the same CT."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.box import Placed
from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.models import ModelCard

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class FoundLungs:
    """Lungs by the network: mask (z, y, x) on the canonical grid, method, warnings."""

    mask: NDArray[np.uint8]
    method: str
    warnings: tuple[str, ...]


class KeptLungs:
    """Remembers the lungs of one CT, as found by one network, kind of device and engine."""

    def __init__(self) -> None:
        self._key = b""
        self._mask: Placed | None = None
        self._found: FoundLungs | None = None

    def recall(
        self, canonical: CTVolume, card: ModelCard, device: torch.device, engine: str
    ) -> FoundLungs | None:
        """The lungs of ``canonical`` if they are known, in a mask that may be changed."""
        key = _key(canonical, card, device, engine)
        if key != self._key:
            self.clear()
            self._key = key
        if self._mask is None or self._found is None:
            return None
        return replace(self._found, mask=self._mask.whole())

    def keep(self, found: FoundLungs) -> None:
        """The lungs of the CT that :meth:`recall` did not know."""
        part = Placed.of(found.mask)
        self._mask = replace(part, array=part.array.copy())
        self._found = replace(found, mask=np.empty(0, np.uint8))

    def clear(self) -> None:
        """Forget them."""
        self._key, self._mask, self._found = b"", None, None


def _key(canonical: CTVolume, card: ModelCard, device: torch.device, engine: str) -> bytes:
    """Whatever the lungs depend on; a gigabyte of voxels takes about a second."""
    digest = hashlib.blake2b(digest_size=32)
    described = (canonical.shape, canonical.spacing, canonical.array.dtype.str)
    digest.update(repr((described, card.weights.sha256, device.type, engine)).encode())
    for plane in canonical.array:
        digest.update(np.ascontiguousarray(plane).data)
    return digest.digest()
