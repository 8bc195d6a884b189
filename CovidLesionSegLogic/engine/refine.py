"""The refinement of coarse logits, only where it can matter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from CovidLesionSegLogic.engine.parts import Parts

if TYPE_CHECKING:
    from torch import Tensor

UNDECIDED = 0.001
"""Below this probability a pixel is taken for no lesion, whatever is looked at besides.

It has a thousandth of the odds of one half; for lower thresholds see :func:`floor_for`.
"""

TILE = 16


@dataclass(frozen=True)
class Shortcuts:
    """What is left out where it is not expected to change a label; each can be switched off.

    Parameters
    ----------
    tiles
        The refinement's last stages run only around undecided pixels.
    one_view
        A mirror image is looked at only where the first view leaves something undecided.
    floor
        The probability from which a pixel is undecided, as :func:`floor_for` gives it.
    """

    tiles: bool = True
    one_view: bool = True
    floor: float = UNDECIDED


_AT_ONCE = 64
_MOST = 0.4


def floor_for(threshold: float) -> float:
    """The probability from which a pixel is undecided, for a lowest ``threshold`` of labels.

    It has a thousandth of the threshold's odds, and is at most 0.001.
    """
    odds = min(threshold / (1 - threshold), 1.0) * UNDECIDED / (1 - UNDECIDED)
    return odds / (1 + odds)


def undecided(logits: Tensor, temperature: float, floor: float = UNDECIDED) -> Tensor:
    """(B, H, W): where logits (B, classes, H, W) leave a class a probability of ``floor``."""
    least = math.log(floor / (1 - floor)) * temperature
    return (logits >= least).any(dim=1)


def refined(parts: Parts, coarse: Tensor, temperature: float, floor: float = UNDECIDED) -> Tensor:
    """Final logits of the coarse-refine network from its coarse ones (B, classes, H, W).

    Two thirds of the refinement's arithmetic are its last, local stages at the highest
    resolution. They run in tiles around the pixels that the coarse logits leave undecided; other
    pixels keep their coarse logits, which the threshold is far from. Where much is undecided, or
    something at the frame's rim, the whole frame is refined.
    """
    doubtful = undecided(coarse, temperature, floor)
    result = coarse.clone()
    whole: list[int] = []
    tiled: list[int] = []
    for k, one in enumerate(doubtful):
        if one.any():
            (whole if _wants_all(one) else tiled).append(k)
    if whole:
        result[whole] += parts("refinement", coarse[whole])[0]
    if tiled:
        result[tiled] = _in_tiles(parts, coarse[tiled], doubtful[tiled])
    return result


def _wants_all(doubtful: Tensor) -> bool:
    from CovidLesionSegLogic.networks.refinement import HALO

    inner = doubtful[HALO:-HALO, HALO:-HALO]
    if min(inner.shape) < TILE or int(inner.sum()) < int(doubtful.sum()):
        return True
    return float(_tiles(doubtful[None]).float().mean()) > _MOST


def _tiles(doubtful: Tensor) -> Tensor:
    """(B, H/16, W/16): which tiles of 16 x 16 pixels hold something undecided."""
    from torch.nn.functional import max_pool2d

    return max_pool2d(doubtful[:, None].float(), TILE)[:, 0] > 0


def _in_tiles(parts: Parts, coarse: Tensor, doubtful: Tensor) -> Tensor:
    import torch

    from CovidLesionSegLogic.networks.refinement import HALO

    context = parts("refinement.context", coarse)[0]
    result = coarse.clone()
    height, width = coarse.shape[-2:]
    slices, rows, columns = _tiles(doubtful).nonzero(as_tuple=True)
    # No window reaches beyond the frame: tiles at its rim are moved inwards, onto their
    # neighbours, and what lies beyond them is decided.
    rows = (rows * TILE).clamp(HALO, height - TILE - HALO)
    columns = (columns * TILE).clamp(HALO, width - TILE - HALO)
    for start in range(0, len(slices), _AT_ONCE):
        k, r, c = (v[start : start + _AT_ONCE] for v in (slices, rows, columns))
        around = _windows(coarse, k, r - HALO // 2, c - HALO // 2, TILE + HALO)
        below = _windows(context, k, r // 2 - HALO // 2, c // 2 - HALO // 2, TILE // 2 + HALO)
        residual = parts("refinement.detail", below, around)[0]
        inner = around[..., HALO // 2 : -(HALO // 2), HALO // 2 : -(HALO // 2)]
        place = torch.arange(TILE, device=coarse.device)
        at = (k[:, None, None], (r[:, None] + place)[:, :, None], (c[:, None] + place)[:, None, :])
        result.permute(0, 2, 3, 1)[at] = (inner + residual).permute(0, 2, 3, 1)
    return result


def _windows(maps: Tensor, k: Tensor, top: Tensor, left: Tensor, side: int) -> Tensor:
    """(N, C, side, side) from maps (B, C, H, W): window n of map k[n] at (top[n], left[n])."""
    import torch

    place = torch.arange(side, device=maps.device)
    at = (k[:, None, None], (top[:, None] + place)[:, :, None], (left[:, None] + place)[:, None, :])
    return maps.permute(0, 2, 3, 1)[at].permute(0, 3, 1, 2)
