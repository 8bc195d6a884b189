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


def score_network(
    network: nn.Module,
    test: Sequence[Slice],
    size: int,
    *,
    flips: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scores:
    """Score ``network``, in float32 where it is; ``progress`` is told images and may raise to stop.

    As in ``evaluate slices``: the map is rounded to 8 bits before it is stretched and cut; Dice
    at 0.5 is of the map itself.
    """
    from CovidLesionSegLogic.learn.lesions import predict_slice

    network.eval()
    started = time.monotonic()
    scores, rows, maps = [], [], {}
    for done, item in enumerate(test):
        progress(done, len(test))
        soft = predict_slice(network, item.image, size, reduced=False, flips=flips)
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
