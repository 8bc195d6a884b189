"""Random changes of geometry and grey that keep the labels true, on whole batches."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def random_affine(
    rng: np.random.Generator,
    *,
    scale: tuple[float, float] = (0.75, 1.3),
    stretch: float = 0.12,
    rotation: float = 15.0,
    shift: float = 0.08,
    flip: bool = False,
) -> Tensor:
    """2x3 matrix for ``affine_grid``: output position to input position, in -1..1.

    ``scale`` above 1 zooms out; ``rotation`` is in degrees; ``shift`` in parts of the half side.
    """
    zoom = math.exp(rng.uniform(math.log(scale[0]), math.log(scale[1])))
    aspect = math.exp(rng.uniform(-stretch, stretch))
    angle = math.radians(rng.uniform(-rotation, rotation))
    c, s = math.cos(angle), math.sin(angle)
    matrix = np.array([[c, -s], [s, c]]) @ np.diag([zoom * aspect, zoom / aspect])
    if flip:
        matrix[:, 0] *= -1
    offset = rng.uniform(-shift, shift, size=2)
    return torch.tensor(np.column_stack([matrix, offset]), dtype=torch.float32)


def warp(x: Tensor, matrix: Tensor, size: int, *, mode: str, padding: str = "zeros") -> Tensor:
    """Sample (1, C, H, W) through ``matrix`` onto a square of ``size`` pixels."""
    grid = F.affine_grid(matrix[None], [1, x.shape[1], size, size], align_corners=False)
    return F.grid_sample(x, grid, mode=mode, padding_mode=padding, align_corners=False)


def shrink_for(x: Tensor, size: int) -> Tensor:
    """Antialiased reduction before sampling when the image is much larger than ``size``."""
    longest = max(x.shape[-2:])
    if longest <= 1.5 * size:
        return x
    factor = size / longest
    target = [max(8, round(s * factor)) for s in x.shape[-2:]]
    return F.interpolate(x, size=target, mode="bilinear", antialias=True, align_corners=False)


def random_grey(x: Tensor, rng: np.random.Generator, *, strength: float = 1.0) -> Tensor:
    """Window, gamma, noise and blur of an image (1, 1, H, W) in 0..1: scanners and exports differ.

    The window changes by moving and scaling grey; half of the images keep their own.
    """
    if rng.random() < 0.8:
        gain = math.exp(rng.uniform(-0.22, 0.22) * strength)
        offset = rng.uniform(-0.10, 0.10) * strength
        x = ((x - 0.5) * gain + 0.5 + offset).clamp(0, 1)
    if rng.random() < 0.5:
        x = x ** math.exp(rng.uniform(-0.35, 0.35) * strength)
    if rng.random() < 0.3:
        sigma = rng.uniform(0.4, 1.2)
        radius = 3
        t = torch.arange(-radius, radius + 1, dtype=torch.float32)
        kernel = torch.exp(-0.5 * (t / sigma) ** 2)
        kernel = kernel / kernel.sum()
        x = F.pad(x, (radius,) * 4, mode="replicate")
        x = F.conv2d(F.conv2d(x, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    if rng.random() < 0.5:
        noise = rng.standard_normal(x.shape[-2:], dtype=np.float32)
        x = x + torch.from_numpy(noise) * float(rng.uniform(0, 0.04) * strength)
    return x.clamp(0, 1)
