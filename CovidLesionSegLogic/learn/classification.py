"""Training a slice classifier: batches, loss, validation and prediction.

The coarse-refine paper's baseline is an SE-ResNet-34 trained from scratch (section 2.8, Table 6).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn import functional as F

from CovidLesionSegLogic.engine import Cancel, Progress

from .augment import random_affine, random_grey, shrink_for, warp
from .batches import normalise
from .checkpoint import BEST
from .labelled import LabelledSlice
from .published_augmentation import FivefoldOrder, apply_variant, square
from .schedule import Schedule
from .trainer import Trainer

SAMPLINGS = ("balanced", "published")
PREDICTED_AT_ONCE = 8


@dataclass(frozen=True)
class LabelBatch:
    """Normalised images (B, 3, S, S), float32, and labels (B,), int64: 1 is infected."""

    images: Tensor
    labels: Tensor


class LabelBatches:
    """Batches for a classifier, a function of seed and step alone.

    Parameters
    ----------
    slices
        Of both labels.
    size
        Side of the square images, pixels.
    sampling
        "balanced": half of a batch is infected (of an odd one the rest by chance); patient and
        slice are drawn with replacement, with random geometry and grey. "published": every epoch
        shows the paper's five variants of every slice (section 2.3), nothing else.

    Raises
    ------
    ValueError
        There are slices of one label only, or the sampling is unknown.
    """

    def __init__(
        self,
        slices: Sequence[LabelledSlice],
        *,
        batch_size: int = 8,
        size: int = 512,
        seed: int = 0,
        sampling: str = "balanced",
    ) -> None:
        if sampling not in SAMPLINGS:
            raise ValueError(f"sampling must be one of {SAMPLINGS}, not {sampling!r}")
        self.by_label: tuple[dict[str, list[LabelledSlice]], ...] = ({}, {})
        for s in slices:
            self.by_label[s.positive].setdefault(s.patient, []).append(s)
        if not all(self.by_label):
            raise ValueError("a classifier needs slices with infection and without")
        self.slices, self.batch_size, self.size = list(slices), batch_size, size
        self.seed, self.sampling = seed, sampling
        self.order = FivefoldOrder(len(self.slices), batch_size, seed=seed)

    def __call__(self, step: int) -> LabelBatch:
        if self.sampling == "published":
            pairs = [(self.slices[i], v) for i, v in self.order(step)]
            images = [square(apply_variant(s.image, v), self.size) for s, v in pairs]
            return _batch(images, [s for s, _ in pairs])
        rng = np.random.default_rng([self.seed, step])
        first = int(rng.integers(2))
        chosen = [self._draw(rng, (first + i) % 2) for i in range(self.batch_size)]
        return _batch([self._changed(rng, s.image) for s in chosen], chosen)

    def _draw(self, rng: np.random.Generator, label: int) -> LabelledSlice:
        patients = self.by_label[label]
        # Patients, not slices, are drawn evenly: neighbouring slices are near-duplicates.
        members = patients[str(rng.choice(sorted(patients)))]
        return members[int(rng.integers(len(members)))]

    def _changed(self, rng: np.random.Generator, image: NDArray[np.uint8]) -> Tensor:
        x = shrink_for(torch.from_numpy(image.astype(np.float32) / 255)[None, None], self.size)
        matrix = random_affine(rng, flip=bool(rng.random() < 0.5))
        return random_grey(warp(x, matrix, self.size, mode="bilinear"), rng)


def _batch(images: Sequence[Tensor], slices: Sequence[LabelledSlice]) -> LabelBatch:
    return LabelBatch(
        normalise(torch.cat(list(images))), torch.tensor([int(s.positive) for s in slices])
    )


def label_loss(network: nn.Module, batch: LabelBatch) -> Tensor:
    """Cross-entropy, mean over the batch."""
    return F.cross_entropy(network(batch.images).float(), batch.labels)


@torch.inference_mode()
def infection_probabilities(
    logits: Callable[[Tensor], Tensor],
    images: Sequence[NDArray[np.uint8]],
    *,
    size: int,
    device: torch.device | None = None,
    cancel: Cancel | None = None,
) -> NDArray[np.float64]:
    """Probability of infection (N,) of 8-bit slices (H, W) of any sizes, in float32.

    Parameters
    ----------
    logits
        Normalised images (B, 3, size, size) to (B, 2): a classifier in evaluation mode, say.
    device
        Where ``logits`` computes; None: on the CPU.
    """
    cancel, found = cancel or Cancel(), []
    for first in range(0, len(images), PREDICTED_AT_ONCE):
        cancel.check()
        few = [square(image, size) for image in images[first : first + PREDICTED_AT_ONCE]]
        x = normalise(torch.cat(few).to(device or "cpu"))
        found.append(logits(x).double().softmax(1)[:, 1].cpu().numpy())
    return np.concatenate(found) if found else np.zeros(0)


def label_figures(
    probabilities: NDArray[np.floating], positive: NDArray[np.bool_]
) -> dict[str, float]:
    """Figures of slice probabilities (N,) at 0.5; those that are not defined are left out.

    ``accuracy``, ``sensitivity``, ``specificity``, ``auc`` (area under the ROC curve) and
    ``validation_loss``, the mean cross-entropy.
    """
    p = np.asarray(probabilities, np.float64)
    called, truth = p > 0.5, np.asarray(positive, bool)
    # A float64 probability of exactly 0 or 1 costs as much as the nearest one that is not.
    likelihood = np.where(truth, p, 1 - p).clip(np.finfo(np.float64).tiny)
    figures = {
        "accuracy": float((called == truth).mean()) if truth.size else math.nan,
        "sensitivity": float(called[truth].mean()) if truth.any() else math.nan,
        "specificity": float((~called[~truth]).mean()) if (~truth).any() else math.nan,
        "auc": roc_auc(p, truth),
        "validation_loss": float(-np.log(likelihood).mean()) if truth.size else math.nan,
    }
    return {name: value for name, value in figures.items() if not math.isnan(value)}


def roc_auc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Share of (infected, not infected) pairs in the right order, ties half (Mann-Whitney); or NaN.

    NaN where one of the two is missing.
    """
    n, m = int(positive.sum()), int((~positive).sum())
    if not n or not m:
        return math.nan
    return float((rankdata(scores)[positive].sum() - n * (n + 1) / 2) / (n * m))


class LabelValidation:
    """Figures of a classifier on slices; ``score`` is the loss with its sign changed."""

    def __init__(
        self, slices: Sequence[LabelledSlice], *, size: int, cancel: Cancel | None = None
    ) -> None:
        if not slices:
            raise ValueError("there are no slices to validate on")
        self.slices, self.size, self.cancel = list(slices), size, cancel

    def __call__(self, network: nn.Module) -> dict[str, float]:
        p = infection_probabilities(
            network,
            [s.image for s in self.slices],
            size=self.size,
            device=next(network.parameters()).device,
            cancel=self.cancel,
        )
        figures = label_figures(p, np.array([s.positive for s in self.slices]))
        return figures | {"score": -figures["validation_loss"]}


def train_classifier(
    network: nn.Module,
    training: Sequence[LabelledSlice],
    validation: Sequence[LabelledSlice],
    schedule: Schedule,
    folder: Path,
    *,
    size: int = 512,
    batch_size: int = 8,
    seed: int = 0,
    sampling: str = "balanced",
    device: torch.device | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> nn.Module:
    """Train (or go on), and return ``network`` with the weights of the best validation.

    Raises
    ------
    RequestError, InputError, CancelledError
        As from :meth:`~CovidLesionSegLogic.learn.trainer.Trainer.run`.
    """
    Trainer(
        network,
        schedule,
        make_batch=LabelBatches(
            training, batch_size=batch_size, size=size, seed=seed, sampling=sampling
        ),
        loss=label_loss,
        validate=LabelValidation(validation, size=size, cancel=cancel),
        folder=folder,
        device=device,
        progress=progress,
        cancel=cancel,
        record={
            "size": size,
            "batch_size": batch_size,
            "seed": seed,
            "sampling": sampling,
            "training": sorted({s.patient for s in training}),
            "validation": sorted({s.patient for s in validation}),
        },
    ).run()
    best = torch.load(folder / BEST, map_location="cpu", weights_only=True)
    network.load_state_dict(best["network"])
    return network.eval()
