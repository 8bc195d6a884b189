"""Batches of slices with several lesion classes, of which some may be unnamed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .augment import random_affine, random_grey, shrink_for, warp
from .batches import LesionBatches, normalise
from .hybrid import hybrid_loss
from .sources import UNKNOWN_CLASS, Slice

__all__ = [
    "UNKNOWN_CLASS",
    "ClassBatch",
    "ClassBatches",
    "by_rarest_class",
    "class_planes",
    "hard_classes",
    "hybrid_batch_loss",
    "with_unknown",
]


@dataclass(frozen=True)
class ClassBatch:
    """Normalised images (B, 3, S, S), masks (B, classes, S, S) and which classes are known (B,).

    float32, float32 and bool. Where the classes are not known every mask of the image holds the
    union of the lesions. ``early``: of the beginning of a training, where its loss is another.
    """

    images: Tensor
    masks: Tensor
    known: Tensor
    early: bool = False


def class_planes(mask: NDArray[np.uint8], n_classes: int) -> NDArray[np.float32]:
    """(n_classes + 1, H, W): one plane of 0 and 1 per class, and one for lesion of no named class.

    Raises ValueError for values that are neither 0, a class nor ``UNKNOWN_CLASS``.
    """
    values = np.array([*range(1, n_classes + 1), UNKNOWN_CLASS])
    if mask.size and not np.isin(mask, [0, *values]).all():
        raise ValueError(f"the mask holds more than the classes 1 to {n_classes}")
    return (mask == values[:, None, None]).astype(np.float32)


def hard_classes(planes: Tensor) -> Tensor:
    """Warped planes (1, n, H, W) to 0 and 1: lesion from half on, of the class that weighs most.

    Each plane cut at a half for itself would leave a gap between two classes that touch.
    """
    lesion = planes.sum(1, keepdim=True) > 0.5
    largest = planes.argmax(1, keepdim=True)
    return torch.zeros_like(planes).scatter_(1, largest, lesion.to(planes.dtype))


def with_unknown(planes: Tensor) -> tuple[Tensor, bool]:
    """Masks (1, classes, H, W) of hard planes with the unnamed class last; are all known?"""
    named, unnamed = planes[:, :-1], planes[:, -1:]
    if not bool(unnamed.any()):
        return named, True
    return planes.amax(1, keepdim=True).expand_as(named), False


class ClassBatches(LesionBatches):
    """Random batches for any number of classes, drawn like those of one class.

    Parameters
    ----------
    n_classes
        The masks of the slices hold 0, 1 to ``n_classes`` and ``UNKNOWN_CLASS``.
    options
        As for :class:`~CovidLesionSegLogic.learn.batches.LesionBatches`.
    """

    def __init__(self, slices: list[Slice], n_classes: int, **options: Any) -> None:
        super().__init__(slices, **options)
        self.n_classes = n_classes

    def __call__(self, step: int) -> ClassBatch:  # type: ignore[override]
        rng = np.random.default_rng([self.seed, step])
        size = int(rng.choice(self.sizes))
        if self.sampling == "epochs":
            chosen = self._of_epoch(step)
            samples = [self._class_sample(rng, size, one) for one in chosen]
        else:
            samples = [
                self._class_sample(rng, size, self._draw(rng)) for _ in range(self.batch_size)
            ]
        return ClassBatch(
            normalise(torch.cat([s[0] for s in samples])),
            torch.cat([s[1] for s in samples]),
            torch.tensor([s[2] for s in samples]),
        )

    def _class_sample(
        self, rng: np.random.Generator, size: int, chosen: Slice
    ) -> tuple[Tensor, Tensor, bool]:
        grey = chosen.image.astype(np.float32) / 255
        x = torch.from_numpy(
            np.concatenate([grey[None], class_planes(chosen.mask, self.n_classes)])
        )
        if self.augment:
            matrix = random_affine(rng, flip=bool(rng.random() < 0.5))
            x = warp(shrink_for(x[None], size), matrix, size, mode="bilinear")
            image = random_grey(x[:, :1], rng)
        else:
            x = nn.functional.interpolate(
                x[None], size=(size, size), mode="bilinear", antialias=True, align_corners=False
            )
            image = x[:, :1]
        return image, *with_unknown(hard_classes(x[:, 1:]))


def by_rarest_class(slices: Sequence[Slice]) -> list[Slice]:
    """The slices; the source of one with lesion gets the number of its rarest class appended.

    "lesion" becomes "lesion 2" where class 2 is on fewer of the slices than the others of that
    slice, so that a mixture can draw rare classes as often as common ones. Lesion of unnamed class
    is a class of its own.
    """
    present = [[int(v) for v in np.unique(s.mask) if v] for s in slices]
    count = Counter(value for values in present for value in values)
    return [
        replace(s, source=f"{s.source} {min(values, key=count.__getitem__)}") if values else s
        for s, values in zip(slices, present, strict=True)
    ]


def hybrid_batch_loss(network: nn.Module, batch: ClassBatch) -> Tensor:
    """The coarse-refine network's loss on one batch."""
    return hybrid_loss(network(batch.images), batch.masks, batch.known)
