"""What the scanner adds: reconstruction blur, correlated noise, 12-bit range."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from CovidLesionSegLogic.phantom.grid import Array, Block

KERNEL = 0.55  # mm, standard deviation of the in-plane blur beyond the voxel itself
CORRELATION = 0.6  # mm, standard deviation of the noise's own blur


def reconstruct(
    hu: Array, block: Block, rng: np.random.Generator, sigma: float, circle: bool
) -> NDArray[np.int16]:
    """HU as a scanner would store them: (z, y, x) int16, -1024..3071.

    Parameters
    ----------
    hu
        Noise-free HU; changed in place.
    rng
        Draws slice after slice, so that the way into blocks does not matter.
    sigma
        Standard deviation of the noise, HU.
    circle
        Whether voxels outside the circle that fits the slice are -1024, as scanners pad them.
    """
    for k in range(hu.shape[0]):
        noise = rng.standard_normal(hu.shape[1:], dtype=np.float32)
        image = hu[k]
        for axis, spacing in ((0, block.spacing[1]), (1, block.spacing[0])):
            noise = gaussian_filter1d(noise, CORRELATION / spacing, axis=axis, mode="wrap")
            image = gaussian_filter1d(image, KERNEL / spacing, axis=axis, mode="nearest")
        noise *= sigma / max(float(noise.std()), 1e-3)
        hu[k] = image + noise
    if circle:
        _, ny, nx = hu.shape
        y = ((np.arange(ny) + 0.5) / ny * 2.0 - 1.0)[:, None]
        x = ((np.arange(nx) + 0.5) / nx * 2.0 - 1.0)[None, :]
        hu[:, x * x + y * y > 1.0] = -1024.0
    return np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
