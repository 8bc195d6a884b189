"""Batches of 2-D slices for lesion networks: drawn by patient or by epoch, augmented or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from .augment import random_affine, random_grey, shrink_for, warp
from .imagenet import IMAGENET_MEAN, IMAGENET_STD
from .losses import refnet_loss
from .sources import Slice

# Share of a batch's slices by source, of those sources that are there.
MIXTURE = {
    "sirm100": 0.36,
    "zenodo20": 0.20,
    "medseg": 0.13,
    "medseg_free": 0.10,
    "covid_ct_md_free": 0.07,
    "slices_sarscov2ct_pseudo": 0.08,
    "slices_song_pseudo": 0.02,
    "covid_ct_md_pseudo": 0.04,
}
# The same for the last stages of the release, with one group of readers only.
ONE_READER_MIXTURE = {
    "sirm100": 0.38,
    "zenodo20": 0.12,
    "medseg": 0.20,
    "medseg_free": 0.10,
    "covid_ct_md_free": 0.07,
    "slices_sarscov2ct_pseudo": 0.08,
    "slices_song_pseudo": 0.01,
    "covid_ct_md_pseudo": 0.04,
}
SIZES = (256, 352, 352, 416)
SAMPLINGS = ("mixture", "epochs")


@dataclass(frozen=True)
class LesionBatch:
    """Normalised images (B, 3, S, S) and masks (B, 1, S, S), float32."""

    images: Tensor
    masks: Tensor


def normalise(grey: Tensor) -> Tensor:
    """(B, 1, H, W) in 0..1 to ImageNet-normalised (B, 3, H, W)."""
    mean = torch.tensor(IMAGENET_MEAN, dtype=torch.float32, device=grey.device).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, dtype=torch.float32, device=grey.device).view(1, 3, 1, 1)
    return (grey - mean) / std


class LesionBatches:
    """Random batches, a function of the seed and the step alone.

    Parameters
    ----------
    mixture
        Share of a batch's slices by source, of those sources that are there.
    sizes
        Sides of the square images, pixels; one is drawn for each batch.
    sampling
        "mixture": source, patient and slice are drawn, with replacement. "epochs": every slice
        once per epoch, in random order, whatever its source (as published); the last batch of an
        epoch is filled up from the epoch's beginning.
    augment
        Random geometry and grey; False: the slices as they are, resized.

    Raises
    ------
    ValueError
        There are no slices, or none of a source that ``mixture`` names.
    """

    def __init__(
        self,
        slices: Sequence[Slice],
        *,
        mixture: Mapping[str, float] = MIXTURE,
        batch_size: int = 4,
        sizes: Sequence[int] = SIZES,
        seed: int = 0,
        sampling: str = "mixture",
        augment: bool = True,
    ) -> None:
        if sampling not in SAMPLINGS:
            raise ValueError(f"sampling must be one of {SAMPLINGS}, not {sampling!r}")
        # Patients, not slices, are drawn evenly: neighbouring slices are near-duplicates.
        self.by_source: dict[str, dict[str, list[Slice]]] = {}
        for s in slices:
            self.by_source.setdefault(s.source, {}).setdefault(s.patient, []).append(s)
        self.names = [name for name in mixture if name in self.by_source]
        if not slices or (sampling == "mixture" and not self.names):
            raise ValueError(f"no slice is of a source in {', '.join(mixture)}")
        weights = np.array([mixture[name] for name in self.names])
        self.weights = weights / weights.sum()
        self.batch_size, self.sizes, self.seed = batch_size, tuple(sizes), seed
        self.slices, self.sampling, self.augment = list(slices), sampling, augment

    def __call__(self, step: int) -> LesionBatch:
        rng = np.random.default_rng([self.seed, step])
        size = int(rng.choice(self.sizes))
        if self.sampling == "epochs":
            pairs = [self._sample(rng, size, chosen) for chosen in self._of_epoch(step)]
        else:
            pairs = [self._sample(rng, size, self._draw(rng)) for _ in range(self.batch_size)]
        images = torch.cat([p[0] for p in pairs])
        return LesionBatch(normalise(images), torch.cat([p[1] for p in pairs]))

    def _draw(self, rng: np.random.Generator) -> Slice:
        patients = self.by_source[str(rng.choice(self.names, p=self.weights))]
        names = sorted(patients)
        # Square root of the slice count: a compromise between patients and slices.
        p = np.sqrt([len(patients[n]) for n in names])
        members = patients[str(rng.choice(names, p=p / p.sum()))]
        return members[int(rng.integers(len(members)))]

    def _of_epoch(self, step: int) -> list[Slice]:
        per_epoch = -(-len(self.slices) // self.batch_size)
        epoch, position = divmod(step, per_epoch)
        # The third number keeps the order apart from the augmentation of the same seed.
        order = np.random.default_rng([self.seed, epoch, 2]).permutation(len(self.slices))
        first = position * self.batch_size
        return [self.slices[order[i % len(order)]] for i in range(first, first + self.batch_size)]

    def _sample(self, rng: np.random.Generator, size: int, chosen: Slice) -> tuple[Tensor, Tensor]:
        both = np.stack([chosen.image, chosen.mask * 255]).astype(np.float32) / 255
        x = torch.from_numpy(both)[None]
        if not self.augment:
            x = nn.functional.interpolate(
                x, size=(size, size), mode="bilinear", antialias=True, align_corners=False
            )
            return x[:, :1], (x[:, 1:] > 0.5).float()
        x = shrink_for(x, size)
        matrix = random_affine(rng, flip=bool(rng.random() < 0.5))
        image = warp(x[:, :1], matrix, size, mode="bilinear")
        mask = (warp(x[:, 1:], matrix, size, mode="bilinear") > 0.5).float()
        return random_grey(image, rng), mask


def refnet_batch_loss(network: nn.Module, batch: LesionBatch) -> Tensor:
    """Ref-Net's total loss on one batch."""
    return refnet_loss(network(batch.images), batch.masks)
