"""Training of the lung network on whole frames: right and left lung of every slice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F

from CovidLesionSegLogic.lungs.classical import air_filled_lungs
from CovidLesionSegLogic.lungs.sides import LEFT, RIGHT, split_sides

from . import sources
from .augment import random_affine, random_grey, shrink_for, warp
from .losses import lung_loss
from .sources import Slice

SIZE = 256
UNKNOWN_SIDE = 3
VALIDATION_PATIENTS = frozenset(
    {"coronacases_009", "coronacases_010", "radiopaedia_27_86410", "radiopaedia_36_86526"}
)
MIXTURE = {"medseg": 0.35, "fullframe": 0.3, "covid_ct_md": 0.25, "zenodo20": 0.1}
# Smaller pieces are debris of the published masks.
MINIMUM_PIECE_PX = 30


def slice_sides(mask: NDArray[np.bool_], body: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Sides of the lungs in one slice: 1 right, 2 left, 3 where they cannot be told apart.

    A piece counts as a side when it lies to one side of the body's middle.
    """
    labels = np.zeros(mask.shape, np.uint8)
    pieces, count = ndimage.label(mask)
    columns = np.flatnonzero(body.any(0))
    middle = (columns[0] + columns[-1]) / 2 if columns.size else mask.shape[1] / 2
    width = columns[-1] - columns[0] if columns.size else mask.shape[1]
    for i in range(1, count + 1):
        x = np.nonzero(pieces == i)[1]
        if x.size < MINIMUM_PIECE_PX:
            continue
        centre = float(x.mean()) - middle
        beyond = np.mean(x > middle) if centre < 0 else np.mean(x < middle)
        if abs(centre) < 0.08 * width or beyond > 0.15:
            return (mask * np.uint8(UNKNOWN_SIDE)).astype(np.uint8)
        labels[pieces == i] = RIGHT if centre < 0 else LEFT
    return labels


def full_frames(root: Path) -> list[Slice]:
    """Whole frames of ``zenodo20_fullframe``."""
    slices = []
    for path in sorted((root / "images").glob("*.jpg")):
        image = sources.read_grey(path)
        lungs = sources.read_grey(root / "lung" / f"{path.stem}.png") > 0
        mask = slice_sides(lungs, _largest(ndimage.binary_opening(image > 90, iterations=2)))
        slices.append(Slice(image, mask, path.stem.rsplit("_", 1)[0], "fullframe", path.stem))
    return slices


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    pieces, count = ndimage.label(mask)
    if not count:
        return mask
    return np.asarray(pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:])))


def cropped(root: Path) -> list[Slice]:
    """Slices of ``zenodo20``: lungs that fill the frame, as in a narrow field of view."""
    slices = []
    for s in sources.zenodo20(root):
        lungs = sources.read_grey(root / "lung" / f"{s.name}.png") > 0
        mask = slice_sides(lungs, np.ones_like(lungs))
        slices.append(Slice(s.image, mask, s.patient, s.source, s.name))
    return slices


def medseg_frames(root: Path) -> list[Slice]:
    """Every slice of the whole-frame volumes, with or without lung."""
    slices = []
    for name, hu, _, lungs in sources.medseg(root):
        sides = split_sides(lungs > 0, (0.68, 0.68, 6.0))
        for k in range(len(hu)):
            image = sources.to_window(hu[k])
            patient = sources.SAME_PATIENT[name]
            slices.append(Slice(image, sides[k], patient, "medseg", f"{name}_{k:03d}"))
    return slices


def healthy_frames(folder: Path, *, every: int = 2) -> list[Slice]:
    """Slices of a CT without infection, with the classical mask, which is right for such a CT."""
    from CovidLesionSegLogic.ct import read_ct, to_canonical

    ct, _ = to_canonical(read_ct(folder))
    sides = split_sides(air_filled_lungs(ct.array, ct.spacing), ct.spacing)
    return [
        Slice(sources.to_window(ct.array[k]), sides[k], folder.name, "covid_ct_md", f"{k:03d}")
        for k in range(0, len(sides), every)
    ]


def load_slices(data: Path) -> list[Slice]:
    """All slices with lung masks at hand."""
    return [
        *medseg_frames(data / "medseg_volumes"),
        *full_frames(data / "zenodo20_fullframe"),
        *cropped(data / "zenodo20"),
        *healthy_frames(data / "covid_ct_md" / "normal001"),
    ]


def split(slices: Iterable[Slice]) -> tuple[list[Slice], list[Slice]]:
    """(training, validation) by patient."""
    both = list(slices)
    training = [s for s in both if s.patient not in VALIDATION_PATIENTS]
    return training, [s for s in both if s.patient in VALIDATION_PATIENTS]


@dataclass(frozen=True)
class LungBatch:
    """Grey images (B, 1, S, S) in 0..1, targets (B, 2, S, S), and whose sides are known (B,)."""

    images: Tensor
    targets: Tensor
    known: Tensor


class LungBatches:
    """Random augmented batches, a function of the seed and the step alone."""

    def __init__(self, slices: Sequence[Slice], *, batch_size: int = 8, seed: int = 0) -> None:
        self.by_source: dict[str, list[Slice]] = {}
        for s in slices:
            self.by_source.setdefault(s.source, []).append(s)
        self.names = [n for n in MIXTURE if n in self.by_source]
        weights = np.array([MIXTURE[n] for n in self.names])
        self.weights = weights / weights.sum()
        self.batch_size, self.seed = batch_size, seed

    def __call__(self, step: int) -> LungBatch:
        rng = np.random.default_rng([self.seed, step])
        samples = [self._sample(rng) for _ in range(self.batch_size)]
        images, targets, known = zip(*samples, strict=True)
        return LungBatch(torch.cat(images), torch.cat(targets), torch.tensor(known))

    def _sample(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, bool]:
        members = self.by_source[str(rng.choice(self.names, p=self.weights))]
        s = members[int(rng.integers(len(members)))]
        known = not (s.mask == UNKNOWN_SIDE).any()
        right, left = s.mask == RIGHT, s.mask == LEFT
        if not known:
            right = left = s.mask > 0
        flip = bool(rng.random() < 0.5)
        if flip:
            right, left = left, right
        planes = np.stack([s.image / 255, right, left]).astype(np.float32)
        x = shrink_for(torch.from_numpy(planes)[None], SIZE)
        matrix = random_affine(rng, scale=(0.6, 1.35), rotation=20, shift=0.15, flip=flip)
        # Grey beyond the frame is repeated at times: scanners fill the corners differently.
        padding = "border" if rng.random() < 0.3 else "zeros"
        image = warp(x[:, :1], matrix, SIZE, mode="bilinear", padding=padding)
        target = (warp(x[:, 1:], matrix, SIZE, mode="bilinear") > 0.5).float()
        return random_grey(image, rng, strength=1.5), target, known


def lung_batch_loss(network: nn.Module, batch: LungBatch) -> Tensor:
    """Loss of the lung network on one batch."""
    return lung_loss(network(batch.images).float(), batch.targets, batch.known)


class LungValidation:
    """Dice of both lungs together, pooled per patient and data set; sides where they are known."""

    def __init__(self, slices: Sequence[Slice]) -> None:
        self.slices = [s for s in slices if s.source == "medseg"]
        self.slices += [s for s in slices if s.source == "fullframe"][::3]

    @torch.inference_mode()
    def __call__(self, network: nn.Module) -> dict[str, float]:
        counts: dict[str, NDArray[np.float64]] = {}
        for s in self.slices:
            x = torch.from_numpy(s.image.astype(np.float32) / 255)[None, None]
            small = F.interpolate(
                x, size=(SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False
            )
            p = torch.sigmoid(network(small))
            p = F.interpolate(p, size=s.image.shape, mode="bilinear", align_corners=False)
            found = (p[0] > 0.5).numpy()
            pairs = {f"{s.source}_{s.patient}": (found.any(0), s.mask > 0)}
            if not (s.mask == UNKNOWN_SIDE).any():
                pairs[f"right_{s.source}"] = (found[0], s.mask == RIGHT)
            for key, (a, b) in pairs.items():
                both = np.array([(a & b).sum(), a.sum() + b.sum()], float)
                counts[key] = counts.get(key, np.zeros(2)) + both
        dice = {k: float(2 * c[0] / c[1]) if c[1] else 1.0 for k, c in counts.items()}
        return dice | {"score": float(np.mean(list(dice.values())))}
