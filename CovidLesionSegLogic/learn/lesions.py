"""Training of lesion networks on 2-D slices: split by patient, balanced sampling, validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from . import sources
from .augment import random_affine, random_grey, shrink_for, warp
from .imagenet import IMAGENET_MEAN, IMAGENET_STD
from .losses import refnet_loss
from .sources import Slice

# Validation patients; everything else trains. Patients of 100-slice images are not published, so
# the eight images are chosen among sizes and greys that no training image shares.
VALIDATION_PATIENTS = frozenset(
    {f"sirm_{n}" for n in (3, 15, 26, 40, 41, 51, 52, 54)}
    | {"coronacases_009", "coronacases_010", "radiopaedia_27_86410", "radiopaedia_36_86526"}
)
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
SIZES = (256, 352, 352, 416)


@dataclass(frozen=True)
class LesionBatch:
    """Normalised images (B, 3, S, S) and masks (B, 1, S, S), float32."""

    images: Tensor
    masks: Tensor


def load_slices(data: Path, *, true_hu: bool = False) -> list[Slice]:
    """All labelled slices at hand, decoded.

    ``true_hu`` adds the lesion-free slices of ``covid_ct_md``: without them that data set is an
    independent test.
    """
    slices = [
        *sources.sirm100(data / "sirm100_train50"),
        *sources.zenodo20(data / "zenodo20"),
        *sources.medseg_lesions(data / "medseg_volumes"),
    ]
    return slices + (sources.covid_ct_md(data / "covid_ct_md", infected=False) if true_hu else [])


def split(slices: Sequence[Slice]) -> tuple[list[Slice], list[Slice]]:
    """(training, validation) by patient."""
    training = [s for s in slices if s.patient not in VALIDATION_PATIENTS]
    return training, [s for s in slices if s.patient in VALIDATION_PATIENTS]


def normalise(grey: Tensor) -> Tensor:
    """(B, 1, H, W) in 0..1 to ImageNet-normalised (B, 3, H, W)."""
    mean = torch.tensor(IMAGENET_MEAN, dtype=torch.float32).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, dtype=torch.float32).view(1, 3, 1, 1)
    return (grey - mean) / std


class LesionBatches:
    """Random augmented batches, a function of the seed and the step alone."""

    def __init__(
        self,
        slices: Sequence[Slice],
        *,
        mixture: dict[str, float] = MIXTURE,
        batch_size: int = 4,
        sizes: Sequence[int] = SIZES,
        seed: int = 0,
    ) -> None:
        # Patients, not slices, are drawn evenly: neighbouring slices are near-duplicates.
        self.by_source: dict[str, dict[str, list[Slice]]] = {}
        for s in slices:
            self.by_source.setdefault(s.source, {}).setdefault(s.patient, []).append(s)
        self.names = [name for name in mixture if name in self.by_source]
        weights = np.array([mixture[name] for name in self.names])
        self.weights = weights / weights.sum()
        self.batch_size, self.sizes, self.seed = batch_size, tuple(sizes), seed

    def __call__(self, step: int) -> LesionBatch:
        rng = np.random.default_rng([self.seed, step])
        size = int(rng.choice(self.sizes))
        pairs = [self._sample(rng, size) for _ in range(self.batch_size)]
        images = torch.cat([p[0] for p in pairs])
        return LesionBatch(normalise(images), torch.cat([p[1] for p in pairs]))

    def _sample(self, rng: np.random.Generator, size: int) -> tuple[Tensor, Tensor]:
        patients = self.by_source[str(rng.choice(self.names, p=self.weights))]
        names = sorted(patients)
        # Square root of the slice count: a compromise between patients and slices.
        p = np.sqrt([len(patients[n]) for n in names])
        members = patients[str(rng.choice(names, p=p / p.sum()))]
        chosen = members[int(rng.integers(len(members)))]
        both = np.stack([chosen.image, chosen.mask * 255]).astype(np.float32) / 255
        x = shrink_for(torch.from_numpy(both)[None], size)
        matrix = random_affine(rng, flip=bool(rng.random() < 0.5))
        image = warp(x[:, :1], matrix, size, mode="bilinear")
        mask = (warp(x[:, 1:], matrix, size, mode="bilinear") > 0.5).float()
        return random_grey(image, rng), mask


def refnet_batch_loss(network: nn.Module, batch: LesionBatch) -> Tensor:
    """Ref-Net's total loss on one batch."""
    return refnet_loss(network(batch.images), batch.masks)


@torch.inference_mode()
def predict_slice(
    network: nn.Module, image: NDArray[np.uint8], size: int = 352, *, reduced: bool = True
) -> NDArray[np.float32]:
    """Soft map (H, W) of one 8-bit slice at its own size."""
    x = torch.from_numpy(image.astype(np.float32) / 255)[None, None]
    x = F.interpolate(x, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=reduced):
        logits = network.predict_logits(normalise(x))  # type: ignore[operator]
    p = torch.sigmoid(logits.float())
    return F.interpolate(p, size=image.shape, mode="bilinear", align_corners=False)[0, 0].numpy()


class LesionValidation:
    """Figures by source: mean Dice at 0.5 by slice or by patient, and false marks on healthy lung.

    ``score`` averages the Dice of the 100-slice set and of the volumes' patients and subtracts
    the share of falsely marked pixels on lesion-free slices.
    """

    def __init__(self, slices: Sequence[Slice], *, per_patient: int = 20) -> None:
        self.slices: list[Slice] = []
        groups: dict[tuple[str, str], list[Slice]] = {}
        for s in slices:
            groups.setdefault((s.source, s.patient), []).append(s)
        for members in groups.values():
            every = max(1, len(members) // per_patient)
            self.slices += members[::every]

    def __call__(self, network: nn.Module) -> dict[str, float]:
        pooled: dict[str, np.ndarray] = {}
        false_share: list[float] = []
        for s in self.slices:
            p = predict_slice(network, s.image)
            hard, truth = p > 0.5, s.mask > 0
            counts = np.array([(hard & truth).sum(), hard.sum() + truth.sum()], float)
            if s.source == "medseg_free":
                false_share.append(float(hard.mean()))
            if s.source == "sirm100":
                pooled[f"sirm:{s.name}"] = counts
            else:
                key = f"volume:{s.patient}"
                pooled[key] = pooled.get(key, 0) + counts
        dice = {k: 2 * c[0] / c[1] if c[1] else 1.0 for k, c in pooled.items()}
        sirm = float(np.mean([v for k, v in dice.items() if k.startswith("sirm")]))
        volumes = float(np.mean([v for k, v in dice.items() if k.startswith("volume")]))
        false_marks = float(np.mean(false_share)) if false_share else 0.0
        figures = {k.split(":")[1]: float(v) for k, v in dice.items() if k.startswith("volume")}
        return figures | {
            "sirm_dice": sirm,
            "volume_dice": volumes,
            "false_marks": false_marks,
            "score": (sirm + volumes) / 2 - false_marks,
        }
