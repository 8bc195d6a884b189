"""The coarse-refine paper's augmentation: five images from each (section 2.3).

"All images are rotated by 90, 180, and 270 degrees ... We also flipped the original images
horizontally": with the original five, of positives and negatives alike, and every epoch sees all
of them (15 060 = 5 x 3 012).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from .batches import normalise
from .class_batches import ClassBatch, class_planes, hard_classes, with_unknown
from .schedule import VARIANTS
from .sources import Slice

Pixels = TypeVar("Pixels", bound=np.generic)


def apply_variant(image: NDArray[Pixels], variant: int) -> NDArray[Pixels]:
    """0: as it is; 1, 2, 3: rotated by 90, 180, 270 degrees; 4: flipped horizontally.

    Parameters
    ----------
    image
        (..., H, W).
    """
    if not 0 <= variant < VARIANTS:
        raise ValueError(f"there are the variants 0 to {VARIANTS - 1}, not {variant}")
    if variant == VARIANTS - 1:
        return image[..., ::-1]
    return np.rot90(image, variant, axes=(-2, -1))


class FivefoldOrder:
    """Which (item, variant) are in the batch of a step, a function of seed and step alone.

    Every variant of every item comes once per epoch, in random order; the last batch of an epoch
    is filled up from the epoch's beginning.
    """

    def __init__(self, n_items: int, batch_size: int, *, seed: int = 0) -> None:
        if n_items < 1 or batch_size < 1:
            raise ValueError(f"no batches of {batch_size} can be made of {n_items} items")
        self.total, self.batch_size, self.seed = VARIANTS * n_items, batch_size, seed
        self._epoch: tuple[int, NDArray[np.int64]] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Batches that show everything once."""
        return -(-self.total // self.batch_size)

    def __call__(self, step: int) -> list[tuple[int, int]]:
        epoch, position = divmod(step, self.steps_per_epoch)
        order = self._order(epoch)
        first = position * self.batch_size
        chosen = [int(order[i % self.total]) for i in range(first, first + self.batch_size)]
        return [divmod(i, VARIANTS) for i in chosen]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if self._epoch is None or self._epoch[0] != epoch:
            # The third number keeps the order apart from other draws of the same seed.
            rng = np.random.default_rng([self.seed, epoch, 5])
            self._epoch = (epoch, rng.permutation(self.total))
        return self._epoch[1]


class FivefoldBatches:
    """Batches with the published augmentation and no other, for a segmentation with classes.

    Parameters
    ----------
    slices
        Whose masks hold 0, 1 to ``n_classes`` and ``UNKNOWN_CLASS``.
    size
        Side of the square images, pixels (512 in the paper).
    """

    def __init__(
        self,
        slices: Sequence[Slice],
        n_classes: int,
        *,
        batch_size: int = 8,
        size: int = 512,
        seed: int = 0,
    ) -> None:
        self.slices, self.n_classes, self.size = list(slices), n_classes, size
        self.order = FivefoldOrder(len(self.slices), batch_size, seed=seed)

    def __call__(self, step: int) -> ClassBatch:
        images, masks, known = [], [], []
        for index, variant in self.order(step):
            chosen = self.slices[index]
            images.append(square(apply_variant(chosen.image, variant), self.size))
            planes = class_planes(apply_variant(chosen.mask, variant), self.n_classes)
            mask, named = with_unknown(hard_classes(_resized(torch.from_numpy(planes), self.size)))
            masks.append(mask)
            known.append(named)
        return ClassBatch(normalise(torch.cat(images)), torch.cat(masks), torch.tensor(known))


def square(image: NDArray[np.uint8], size: int) -> Tensor:
    """8-bit grey (H, W) to (1, 1, size, size) in 0..1; bilinear, antialiased."""
    return _resized(torch.from_numpy(image.astype(np.float32) / 255)[None], size)


def _resized(planes: Tensor, size: int) -> Tensor:
    return F.interpolate(
        planes[None], size=(size, size), mode="bilinear", antialias=True, align_corners=False
    )
