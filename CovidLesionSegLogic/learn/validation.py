"""Figures of a lesion network on validation slices while it is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from CovidLesionSegLogic.engine import Cancel

from .batches import normalise
from .precision import autocast, resolve_precision
from .sources import Slice


@torch.inference_mode()
def predict_classes(
    network: nn.Module,
    image: NDArray[np.uint8],
    size: int = 352,
    *,
    reduced: bool = False,
    flips: bool = False,
) -> NDArray[np.float32]:
    """Soft maps (classes, H, W) of one 8-bit slice (H, W), computed where the network is.

    ``reduced`` computes in bfloat16; ``flips`` averages the logits of the slice and its mirror
    image.
    """
    device = next(network.parameters()).device
    x = torch.from_numpy(image.astype(np.float32) / 255)[None, None].to(device)
    x = F.interpolate(x, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    with autocast(device, "bfloat16" if reduced else "float32"):
        x = normalise(x)
        logits = network.predict_logits(x).float()  # type: ignore[operator]
        if flips:
            logits = (logits + network.predict_logits(x.flip(-1)).float().flip(-1)) / 2  # type: ignore[operator]
    p = torch.sigmoid(logits)
    p = F.interpolate(p, size=image.shape, mode="bilinear", align_corners=False)
    return p[0].cpu().numpy()


def predict_slice(
    network: nn.Module,
    image: NDArray[np.uint8],
    size: int = 352,
    *,
    reduced: bool = True,
    flips: bool = False,
) -> NDArray[np.float32]:
    """Soft map (H, W) of a network with one class; else as :func:`predict_classes`."""
    return predict_classes(network, image, size, reduced=reduced, flips=flips)[0]


def thinned(slices: Sequence[Slice], per_patient: int) -> list[Slice]:
    """About ``per_patient`` evenly spaced slices of each source and patient."""
    groups: dict[tuple[str, str], list[Slice]] = {}
    for s in slices:
        groups.setdefault((s.source, s.patient), []).append(s)
    chosen: list[Slice] = []
    for members in groups.values():
        chosen += members[:: max(1, len(members) // per_patient)]
    return chosen


class LesionValidation:
    """Figures by source: mean Dice at 0.5 by slice or by patient, and false marks on healthy lung.

    ``score`` averages the Dice of the 100-slice set and of the volumes' patients (of those that
    are there) and subtracts the share of falsely marked pixels on lesion-free slices.
    """

    def __init__(self, slices: Sequence[Slice], *, per_patient: int = 20) -> None:
        self.slices = thinned(slices, per_patient)

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
        means = {
            f"{kind}_dice": float(np.mean([v for k, v in dice.items() if k.startswith(kind)]))
            for kind in ("sirm", "volume")
            if any(k.startswith(kind) for k in dice)
        }
        false_marks = float(np.mean(false_share)) if false_share else 0.0
        figures = {k.split(":")[1]: float(v) for k, v in dice.items() if k.startswith("volume")}
        return figures | {
            **means,
            "false_marks": false_marks,
            "score": float(np.mean(list(means.values()))) - false_marks,
        }


class PatientValidation:
    """Figures on any slices, by patient.

    ``dice``: Dice at 0.5, pooled over a patient's slices, mean over patients with lesion (0 where
    there are none); ``false_marks``: share of marked pixels on lesion-free slices; ``score``: the
    first minus the second.

    Parameters
    ----------
    size
        Side of the network's input, pixels.
    precision
        As in a schedule.
    cancel
        Checked before each slice.
    """

    def __init__(
        self,
        slices: Sequence[Slice],
        *,
        size: int = 352,
        per_patient: int = 20,
        precision: str = "auto",
        cancel: Cancel | None = None,
    ) -> None:
        self.slices = thinned(slices, per_patient)
        self.size, self.precision, self.cancel = size, precision, cancel or Cancel()

    def __call__(self, network: nn.Module) -> dict[str, float]:
        device = next(network.parameters()).device
        reduced = resolve_precision(self.precision, device) == "bfloat16"
        pooled: dict[str, NDArray[np.float64]] = {}
        false_share: list[float] = []
        for s in self.slices:
            self.cancel.check()
            hard = predict_slice(network, s.image, self.size, reduced=reduced) > 0.5
            truth = s.mask > 0
            counts = np.array([(hard & truth).sum(), hard.sum(), truth.sum()], float)
            pooled[s.patient] = pooled.get(s.patient, np.zeros(3)) + counts
            if not truth.any():
                false_share.append(float(hard.mean()))
        dice = [2 * both / (ours + true) for both, ours, true in pooled.values() if true]
        mean = float(np.mean(dice)) if dice else 0.0
        false_marks = float(np.mean(false_share)) if false_share else 0.0
        return {"dice": mean, "false_marks": false_marks, "score": mean - false_marks}
