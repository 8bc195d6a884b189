"""The display window of radiology: Hounsfield units to 0..1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def window(
    array: NDArray[Any], low_hu: float, high_hu: float, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Map ``low_hu``..``high_hu`` linearly to 0..1; what lies outside is clipped.

    Parameters
    ----------
    array
        HU, any shape and numeric dtype.
    low_hu, high_hu
        Lower and upper end of the window, HU; ``low_hu`` < ``high_hu``.
    out
        A float32 array of the same shape to write into, for work slice by slice.

    Returns
    -------
    float32 array of the same shape, 0..1.

    Raises
    ------
    ValueError
        When the window is empty or ``out`` does not fit.
    """
    if not high_hu > low_hu:
        raise ValueError(f"a window needs low < high, not {low_hu}..{high_hu} HU")
    if out is None:
        out = np.empty(array.shape, dtype=np.float32)
    elif out.shape != array.shape or out.dtype != np.float32:
        raise ValueError(f"out must be float32 of shape {array.shape}")
    np.subtract(array, np.float32(low_hu), out=out, dtype=np.float32, casting="unsafe")
    out *= np.float32(1.0 / (high_hu - low_hu))
    return np.clip(out, 0.0, 1.0, out=out)
