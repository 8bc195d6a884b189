"""A trained network on the test images: the published protocol, image by image."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.assess.slices import dice_at, score_slice, to_grey
from CovidLesionSegLogic.assess.tables.metrics import curve_arrays, image_figures

if TYPE_CHECKING:
    import torch
    from torch import nn

    from CovidLesionSegLogic.learn.sources import Slice

THRESHOLD = 0.5


@dataclass(frozen=True, eq=False)
class Scores:
    """Of one network: figures per image, curves (images, 256) by name, 8-bit maps by image."""

    images: list[dict[str, Any]]
    curves: dict[str, NDArray[np.float64]]
    maps: dict[str, NDArray[np.uint8]]
    seconds: float


def soft_map(
    network: nn.Module,
    image: NDArray[np.uint8],
    size: int,
    *,
    flips: bool = False,
    device: torch.device | None = None,
) -> NDArray[np.float32]:
    """Probability (H, W) of one 8-bit slice (H, W), at the slice's own size, in float32.

    The slice is resized to ``size`` pixels squared (bilinear, antialiased); with ``flips`` the
    logits of the slice and of its mirror image are averaged.
    """
    import torch
    from torch.nn import functional as F

    from CovidLesionSegLogic.learn.lesions import normalise

    x = torch.from_numpy(image.astype(np.float32) / 255)[None, None]
    x = F.interpolate(x, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    with torch.inference_mode():
        x = normalise(x).to(device or torch.device("cpu"))
        logits = network.predict_logits(x).float()  # type: ignore[operator]
        if flips:
            logits = (logits + network.predict_logits(x.flip(-1)).float().flip(-1)) / 2  # type: ignore[operator]
        p = torch.sigmoid(logits).cpu()
        p = F.interpolate(p, size=image.shape, mode="bilinear", align_corners=False)
    return np.asarray(p[0, 0].numpy())


def score_network(
    network: nn.Module,
    test: Sequence[Slice],
    size: int,
    *,
    flips: bool = False,
    device: torch.device | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scores:
    """Score ``network`` on ``test``; ``progress`` is told images and may raise to stop.

    As in ``evaluate slices``: the map is rounded to 8 bits before it is stretched and cut; Dice
    at 0.5 is of the map itself.
    """
    network.eval()
    started = time.monotonic()
    scores, rows, maps = [], [], {}
    for done, item in enumerate(test):
        progress(done, len(test))
        soft = soft_map(network, item.image, size, flips=flips, device=device)
        truth = item.mask > 0
        maps[item.name] = to_grey(soft)
        score = replace(
            score_slice(maps[item.name] / 255, truth, threshold=THRESHOLD),
            dice_at_threshold=dice_at(soft, truth, THRESHOLD),
        )
        scores.append(score)
        rows.append({"image": item.name, **image_figures(score)})
    progress(len(test), len(test))
    return Scores(rows, curve_arrays(scores), maps, time.monotonic() - started)
