"""Training the gate of a frozen segmentation network.

"When the segmentation network converges, we freeze all parameters of the segmentation model.
Later, we train the classification part" (coarse-refine paper, section 3.1). What is trained is a
linear layer on the mean of the encoder's last feature, so the features of all slices are computed
once and the layer is fitted to them: a convex problem with one solution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from CovidLesionSegLogic.engine import Cancel, Progress
from CovidLesionSegLogic.networks.coarse_refine import CoarseRefineNet

from .classification import label_figures
from .gate_features import gate_features
from .labelled import LabelledSlice

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
"""Of squared weights on features of unit variance, beside a loss whose sample weights sum to 1."""
ITERATIONS = 500


@dataclass(frozen=True, eq=False)
class GateTraining:
    """What came out.

    Attributes
    ----------
    network
        The network that was given, with its trained gate.
    penalty
        The one that was chosen on the validation slices.
    figures
        On the validation slices, as
        :func:`~CovidLesionSegLogic.learn.classification.label_figures` gives them, and
        "balanced_loss", by which the penalty was chosen.
    probabilities
        Of the validation slices, in their order, (N,).
    """

    network: CoarseRefineNet
    penalty: float
    figures: dict[str, float]
    probabilities: NDArray[np.float64]


def train_gate(
    network: CoarseRefineNet,
    training: Sequence[LabelledSlice],
    validation: Sequence[LabelledSlice],
    *,
    size: int,
    views: int = 5,
    penalties: Sequence[float] = PENALTIES,
    quiet: float = 0.0,
    seed: int = 0,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> GateTraining:
    """Fit the gate; nothing else of the network changes, batch-norm statistics included.

    A network without a gate gets one (a card must then name ``gate`` in its architecture).

    Parameters
    ----------
    training, validation
        By patient the sides of the segmentation's own split: the encoder has seen the
        segmentation's training patients.
    size
        Side of the network's input, pixels.
    quiet
        As for :func:`fit_linear`.
    views
        How many images are made of a training slice: itself, then changed ones.
    progress
        Stage "features" counts slices.

    Raises
    ------
    ValueError
        The training or validation slices do not have both labels.
    CancelledError
        Stopping was asked for; the network is as it was.
    """
    for name, side in (("training", training), ("validation", validation)):
        if len({s.positive for s in side}) < 2:
            raise ValueError(f"the {name} slices must be with and without lesion")
    known = gate_features(
        network, training, size=size, views=views, seed=seed, progress=progress, cancel=cancel
    )
    held_out = gate_features(network, validation, size=size, progress=progress, cancel=cancel)
    truth, patients = labels_of(training), [s.patient for s in training]
    weights = sample_weights(truth, patients)[:, None].expand(-1, views).reshape(-1) / views
    seen, wanted = known.flatten(0, 1), truth[:, None].expand(-1, views).reshape(-1)
    held_truth = labels_of(validation)
    held_weights = sample_weights(held_truth, [s.patient for s in validation])
    fits = []
    for penalty in penalties:
        weight, bias = fit_linear(seen, wanted, weights, penalty=penalty, quiet=quiet)
        logits = held_out[:, 0].double() @ weight + bias
        loss = float(weighted_loss(logits, held_truth, held_weights))
        fits.append((loss, penalty, weight, bias, logits))
    loss, penalty, weight, bias, logits = min(fits, key=lambda fit: fit[:2])
    _set_gate(network, weight, bias)
    p = torch.sigmoid(logits).numpy()
    figures = label_figures(p, held_truth.numpy()) | {"balanced_loss": loss}
    return GateTraining(network, penalty, figures, p)


def labels_of(slices: Sequence[LabelledSlice]) -> Tensor:
    """(N,), bool."""
    return torch.tensor([s.positive for s in slices])


def sample_weights(positive: Tensor, patients: Sequence[str]) -> Tensor:
    """(N,), float64, summing to 1: half for each label, there evenly by patient, there by slice."""
    groups: dict[bool, dict[str, int]] = {False: {}, True: {}}
    for label, name in zip(positive.tolist(), patients, strict=True):
        groups[label][name] = groups[label].get(name, 0) + 1
    weights = [
        1 / (len(groups[label]) * groups[label][name])
        for label, name in zip(positive.tolist(), patients, strict=True)
    ]
    result = torch.tensor(weights, dtype=torch.float64)
    return result / result.sum()


def weighted_loss(logits: Tensor, positive: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of the binary cross-entropies."""
    losses = F.binary_cross_entropy_with_logits(logits, positive.to(logits.dtype), reduction="none")
    return (weights * losses).sum()


def fit_linear(
    features: Tensor, positive: Tensor, weights: Tensor, *, penalty: float, quiet: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Penalised logistic regression, weights (C,) and bias (), float64.

    The features are brought to weighted mean 0 and variance 1 for the fit, so that one penalty
    suits all channels, and the result is brought back. L-BFGS from zero in float64: the same on
    every run, and near the one minimum.

    Parameters
    ----------
    features
        (N, C).
    positive, weights
        (N,), as :func:`sample_weights` makes them.
    quiet
        Channels that vary by less than this share of the mean over the channels keep a weight of 0:
        brought to variance 1 they would decide by what rounding the network's weights changes.
    """
    x = features.detach().double().cpu()
    mean = (weights[:, None] * x).sum(0)
    spread = (weights[:, None] * (x - mean).square()).sum(0).sqrt()
    # A channel that says nothing keeps a weight of 0.
    dead = spread < max(1e-8, quiet * float(spread.mean()))
    x = torch.where(dead, 0.0, (x - mean) / spread.clamp(min=1e-8))
    parameters = torch.zeros(x.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [parameters],
        max_iter=ITERATIONS,
        tolerance_grad=1e-9,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        optimiser.zero_grad()
        weight, bias = parameters[:-1], parameters[-1]
        loss = weighted_loss(x @ weight + bias, positive, weights)
        loss = loss + penalty * weight.square().sum()
        loss.backward()
        return float(loss.detach())

    with torch.enable_grad():
        optimiser.step(closure)
    fitted = parameters.detach()
    weight = torch.where(dead, 0.0, fitted[:-1] / spread.clamp(min=1e-8))
    return weight, fitted[-1] - (weight * mean).sum()


@torch.no_grad()
def _set_gate(network: CoarseRefineNet, weight: Tensor, bias: Tensor) -> None:
    """Half of the logit to each output: softmax over two is the sigmoid of their difference."""
    place = next(network.encoder.parameters())
    if network.gate is None:
        network.gate = nn.Linear(len(weight), 2).to(place.device)
        network.gate.train(network.training)
    network.gate.weight.copy_(torch.stack([-weight / 2, weight / 2]))
    network.gate.bias.copy_(torch.stack([-bias / 2, bias / 2]))
