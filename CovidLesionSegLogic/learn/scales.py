"""Multi-scale training: the published three steps per batch, or one random scale per batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch.nn import functional as F

from .batches import LesionBatch

MULTIPLE = 32
FACTORS = (0.75, 1.0, 1.25)


def scaled_size(size: int, factor: float) -> int:
    """``size`` times ``factor``, rounded to a multiple of 32: 352 gives 256, 352 and 448."""
    return max(MULTIPLE, round(size * factor / MULTIPLE) * MULTIPLE)


def rescale(batch: LesionBatch, factor: float) -> LesionBatch:
    """The batch at another size: images bilinear (antialiased), masks bilinear and hard again."""
    side = scaled_size(batch.images.shape[-1], factor)
    if side == batch.images.shape[-1]:
        return batch
    images, masks = (
        F.interpolate(x, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
        for x in (batch.images, batch.masks)
    )
    return LesionBatch(images, (masks > 0.5).float())


@dataclass
class ThreeScales:
    """As published for Inf-Net and Ref-Net: every batch is learnt from at each scale in turn.

    An optimiser step is one scale of a batch: step // 3 picks the batch, step % 3 the scale.

    Parameters
    ----------
    batches
        Batch number to batch, all of one size.
    factors
        Of the batch's own size; the result is rounded to a multiple of 32.
    """

    batches: Callable[[int], LesionBatch]
    factors: Sequence[float] = FACTORS
    _kept: tuple[int, LesionBatch] | None = field(default=None, init=False, repr=False)

    def __call__(self, step: int) -> LesionBatch:
        index, scale = divmod(step, len(self.factors))
        if self._kept is None or self._kept[0] != index:
            self._kept = (index, self.batches(index))
        return rescale(self._kept[1], self.factors[scale])


@dataclass
class RandomScale:
    """One random scale per batch: a third of the arithmetic of :class:`ThreeScales`.

    The scale is a function of seed and step alone.
    """

    batches: Callable[[int], LesionBatch]
    factors: Sequence[float] = FACTORS
    seed: int = 0

    def __call__(self, step: int) -> LesionBatch:
        # The third number keeps this draw apart from those of the batch itself.
        rng = np.random.default_rng([self.seed, step, 1])
        return rescale(self.batches(step), float(rng.choice(self.factors)))
