"""The large vessels of the mediastinum and the central airways, alike in every patient."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.phantom.fields import spline

Tube = tuple[NDArray[np.float64], NDArray[np.float64]]
Node = tuple[float, float, float, float]


def _tube(*nodes: Node, n: int = 7) -> Tube:
    """A smooth path (n, 3) and its radii (n,) through nodes (x, y, z, radius), mm."""
    curve = spline(nodes, n)
    return curve[:, :3], curve[:, 3]


@cache
def great_vessels() -> dict[str, Tube]:
    """Paths (n, 3) and radii (n,), mm, of the large mediastinal vessels; not to be changed."""
    return {
        "aorta": _tube(
            (4, -22, -10, 15),
            (-14, -34, 18, 16),
            (-15, -32, 42, 15.5),
            (-4, -18, 63, 14.5),
            (12, 4, 66, 13.5),
            (23, 22, 52, 12.5),
            (25, 28, 25, 12),
            (24, 26, -20, 11.5),
            (18, 22, -75, 11),
            (9, 14, -150, 10),
            n=22,
        ),
        "pulmonary trunk": _tube(
            (20, -46, -6, 14), (24, -38, 14, 14.5), (25, -20, 30, 13), (36, -2, 35, 11)
        ),
        "right pulmonary artery": _tube((24, -24, 28, 11.5), (-6, -14, 25, 11), (-38, -4, 19, 9.5)),
        "left pulmonary artery": _tube((28, -14, 32, 11.5), (38, 6, 32, 10.5), (44, 16, 18, 8.5)),
        "superior vena cava": _tube(
            (-22, -30, 96, 8), (-29, -26, 70, 9.5), (-30, -22, 30, 10), (-28, -18, -4, 11)
        ),
        "brachiocephalic vein": _tube(
            (-24, -30, 92, 8), (4, -36, 82, 7), (30, -28, 100, 7), (44, -14, 122, 6)
        ),
        "brachiocephalic artery": _tube((-8, -18, 70, 7), (-16, -10, 100, 6.5), (-26, -2, 150, 5)),
        "left carotid artery": _tube((5, -6, 72, 5), (10, -2, 105, 4.5), (20, 2, 150, 4)),
        "left subclavian artery": _tube(
            (16, 10, 68, 5.5), (24, 12, 100, 5), (46, 8, 125, 5), (90, 0, 135, 4.5)
        ),
        "right interlobar artery": _tube((-37, -4, 19, 9), (-45, 8, 6, 7.5), (-50, 19, -12, 6)),
        "left descending artery": _tube((43, 15, 20, 8.5), (52, 23, 4, 7.5), (55, 29, -12, 6)),
        "right superior vein": _tube((-12, -2, 0, 6.5), (-38, -9, 10, 6), n=4),
        "right inferior vein": _tube((-12, 8, -8, 6.5), (-38, 16, -11, 6), n=4),
        "left superior vein": _tube((14, 0, 4, 6.5), (40, -8, 15, 6), n=4),
        "left inferior vein": _tube((14, 10, -6, 6.5), (38, 18, -9, 6), n=4),
        "inferior vena cava": _tube((-20, -6, -30, 12), (-22, 0, -60, 12), (-24, 6, -150, 12)),
        "oesophagus": _tube(
            (4, 14, 150, 7),
            (6, 20, 100, 7),
            (8, 24, 50, 7),
            (6, 26, -10, 7.5),
            (12, 12, -60, 8),
            (24, -4, -84, 9),
            n=9,
        ),
    }


@cache
def central_airways() -> dict[str, Tube]:
    """Paths and lumen radii, mm, of trachea and main bronchi; not to be changed."""
    return {
        "trachea": _tube(
            (0, -8, 160, 8.5), (0, 0, 105, 8.6), (-2, 6, 70, 8.8), (0, 9, 44, 9.5), n=8
        ),
        "right main bronchus": _tube((-1, 9, 45, 7.5), (-14, 11, 36, 7.2), (-34, 11, 24, 6.5)),
        "right intermediate bronchus": _tube(
            (-33, 11, 25, 6), (-37, 13, 8, 5.4), (-41, 17, -8, 4.8)
        ),
        "right upper bronchus": _tube((-27, 11, 29, 5.2), (-46, 11, 33, 4.4)),
        "left main bronchus": _tube((1, 9, 45, 7.2), (18, 13, 33, 6.6), (40, 17, 18, 6)),
        "left upper bronchus": _tube((37, 16, 20, 5), (52, 8, 20, 4.4)),
        "left lower bronchus": _tube((40, 17, 18, 5.4), (43, 23, 2, 4.8), (46, 26, -8, 4.4)),
    }
