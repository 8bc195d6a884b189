"""What the gate sees of a slice: the mean of the encoder's last feature over the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from CovidLesionSegLogic.engine import Cancel, Progress, no_progress
from CovidLesionSegLogic.networks.coarse_refine import CoarseRefineNet

from .augment import random_grey
from .batches import normalise
from .classification import infection_probabilities
from .labelled import LabelledSlice
from .published_augmentation import apply_variant, square
from .schedule import VARIANTS

AT_ONCE = 8


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode, so that batch-norm statistics stay; each module's mode comes back after."""
    before = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training


@torch.inference_mode()
def gate_features(
    network: CoarseRefineNet,
    slices: Sequence[LabelledSlice],
    *,
    size: int,
    views: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Tensor:
    """(N, views, C), float32, on the CPU; computed where the network is, which stays as it is.

    The first view is the slice itself. The others are the paper's rotations and flip in turn,
    each with a random change of grey: a function of seed, slice number and view alone.

    Raises
    ------
    CancelledError
        Stopping was asked for.
    """
    progress, cancel = progress or no_progress, cancel or Cancel()
    device = next(network.encoder.parameters()).device
    wanted = [(i, v) for i in range(len(slices)) for v in range(views)]
    found = []
    with evaluating(network):
        for first in range(0, len(wanted), AT_ONCE):
            cancel.check()
            progress("features", first // views, len(slices))
            few = [
                view(slices[i].image, v, size, seed=[seed, i, v])
                for i, v in wanted[first:][:AT_ONCE]
            ]
            features = network.encode(normalise(torch.cat(few).to(device)))[-1]
            found.append(features.mean((2, 3)).float().cpu())
    progress("features", len(slices), len(slices))
    channels = network.encoder.channels[-1]
    # Not an inference tensor: a fit differentiates through it.
    flat = torch.cat(found) if found else torch.zeros(0, channels)
    return flat.reshape(len(slices), views, channels)


def view(image: NDArray[np.uint8], number: int, size: int, *, seed: Sequence[int]) -> Tensor:
    """View ``number`` of a slice (H, W), as (1, 1, size, size) in 0..1."""
    if number == 0:
        return square(image, size)
    changed = square(apply_variant(image, number % VARIANTS), size)
    return random_grey(changed, np.random.default_rng(list(seed)))


def gate_probabilities(
    network: CoarseRefineNet,
    images: Sequence[NDArray[np.uint8]],
    *,
    size: int,
    cancel: Cancel | None = None,
) -> NDArray[np.float64]:
    """The gate's probability of lesion (N,) for 8-bit slices, decoder and refinement left out."""
    with evaluating(network):
        return infection_probabilities(
            lambda x: network.gate_logits(network.encode(x)),
            images,
            size=size,
            device=next(network.encoder.parameters()).device,
            cancel=cancel,
        )
