"""Ribs, breastbone, spine, shoulder girdle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CovidLesionSegLogic.phantom.anatomy import Chest
from CovidLesionSegLogic.phantom.fields import Profile, spline
from CovidLesionSegLogic.phantom.grid import Array, Points
from CovidLesionSegLogic.phantom.tubes import Tubes

LEVEL = 24.0  # mm from one vertebra to the next
FIRST_LEVEL = 118.0  # height of the first thoracic vertebra's middle


@dataclass(frozen=True, eq=False)
class Skeleton:
    """Long bones as tubes; radii are the outer ones, the cortex is drawn 1.4 mm thick."""

    bones: Tubes
    cartilage: Tubes

    @classmethod
    def of(cls, chest: Chest, rng: np.random.Generator) -> Skeleton:
        """The skeleton that fits ``chest``."""
        bones: list[tuple[NDArray[np.float64], ArrayLike]] = []
        cartilage: list[tuple[NDArray[np.float64], ArrayLike]] = []
        for side in (-1.0, 1.0):
            for number in range(12):
                bone, soft = _rib(chest, number, side, rng)
                # Three tubes above each other: a rib is taller than it is thick.
                for lift in (-3.2, 0.0, 3.2):
                    bones.append((bone + np.array([0.0, 0.0, lift]), 3.4))
                    if number < 10:
                        cartilage.append((soft + np.array([0.0, 0.0, lift]), 3.6))
            bones += _girdle(side, chest)
        bones += _processes(chest)
        return cls(Tubes.along(bones), Tubes.along(cartilage))


def _wall(
    chest: Chest,
    angle: NDArray[np.float64],
    z: NDArray[np.float64],
    out: float,
) -> NDArray[np.float64]:
    """Points ``out`` mm outside the cavity; ``angle`` from the back (0) to the front (pi)."""
    a, front, back = chest.half_width(z) + out, chest.front(z) - out, chest.back(z) + out
    half = 0.5 * (back - front)
    s, c = np.sin(angle), np.cos(angle)
    rho = (np.abs(s / a) ** 2.4 + np.abs(c / half) ** 2.4) ** (-1 / 2.4)
    return np.stack([rho * s, 0.5 * (front + back) + rho * c, z], axis=1).astype(float)


def _rib(
    chest: Chest,
    number: int,
    side: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    top = FIRST_LEVEL + 2.0 - LEVEL * number * 0.97
    drop = (38.0, 58.0, 76.0, 90.0, 100.0, 108.0, 112.0, 108.0, 98.0, 84.0, 50.0, 30.0)[number]
    drop += float(rng.normal(0.0, 2.0))
    reach = (0.86, 0.84, 0.82, 0.81, 0.80, 0.78, 0.75, 0.71, 0.66, 0.6, 0.42, 0.3)[number]
    angle = np.linspace(0.16, reach, 22) * np.pi
    t = angle / (0.82 * np.pi)
    z = top - drop * t * (0.4 + t * (1.8 - 1.2 * t))  # steepest at the side
    path = _wall(chest, angle, z, 6.0)
    y0 = float(chest.spine(top))
    head = np.array([[18.0, y0 + 6.0, top + 2.0], [30.0, y0 + 20.0, top + 1.0]])
    bone = np.concatenate([head, path])
    # The cartilage runs on along the wall and climbs to the breastbone.
    stop = max(min(0.955, reach + 0.2), reach + 0.05)
    angle = np.linspace(reach, stop, 6) * np.pi
    target = max(
        float(Profile(range(11), [78, 62, 42, 24, 8, -8, -22, -34, -46, -56, -66])(number)),
        float(z[-1]) + 2.0,
    )
    climb = (angle - angle[0]) / (angle[-1] - angle[0])
    soft = _wall(chest, angle, z[-1] + (target - z[-1]) * climb**1.4, 6.5)
    mirror = np.array([side, 1.0, 1.0])
    return bone * mirror, soft * mirror


def _girdle(side: float, chest: Chest) -> list[tuple[NDArray[np.float64], ArrayLike]]:
    """Clavicle, shoulder blade and head of the humerus."""
    m = np.array([side, 1.0, 1.0])
    front = float(chest.front(95.0))
    clavicle = spline(
        [
            (16, front - 7, 90),
            (55, front - 14, 104),
            (105, front + 14, 122),
            (150, front + 44, 134),
        ],
        14,
    )
    parts: list[tuple[NDArray[np.float64], ArrayLike]] = [(clavicle * m, 5.8)]
    w = chest.habitus.width
    lateral = spline([(138, 30, 106), (124, 58, 70), (100 * w, 88, -4)], 26)
    medial = spline([(70, 92, 112), (74, 94, 60), (98 * w, 89, -6)], 26)
    for a, b in zip(lateral, medial, strict=True):
        middle = 0.5 * (a + b) + np.array([0.0, 3.0, 0.0])
        parts.append((spline([a, middle, b], 6) * m, 2.2))
    parts.append((lateral * m, np.linspace(6.0, 3.5, len(lateral))))
    parts.append((spline([(76, 100, 98), (118, 92, 116), (158, 52, 134)], 8) * m, 4.8))
    humerus = np.array([(164, 12, 118), (172, 6, 126), (198, -20, 152)], dtype=float)
    parts.append((humerus * m, np.array([21.0, 21.0, 13.0])))
    return parts


def _processes(chest: Chest) -> list[tuple[NDArray[np.float64], ArrayLike]]:
    """Spinous and transverse processes."""
    parts: list[tuple[NDArray[np.float64], ArrayLike]] = []
    for level in range(-1, 13):
        z = FIRST_LEVEL - LEVEL * level
        y = float(chest.spine(z))
        parts.append((np.array([(0, y + 34, z), (0, y + 50, z - 20)], dtype=float), 3.4))
        for side in (-1.0, 1.0):
            parts.append((np.array([(side * 12, y + 19, z), (side * 33, y + 31, z + 3)]), 4.6))
    return parts


def vertebral_body(chest: Chest, p: Points) -> Array:
    """The column of vertebral bodies and discs, waisted between the end plates."""
    y = chest.spine(p.z)
    waist = 1.0 - 0.08 * np.cos(2.0 * np.pi * (p.z - FIRST_LEVEL) / LEVEL)
    rho = np.sqrt((p.x / 16.5) ** 2 + ((p.y - y) / 14.0) ** 2)
    return ((rho - waist) * 14.0).astype(np.float32)


def neural_arch(chest: Chest, p: Points) -> tuple[Array, Array]:
    """Outer surface of the arch behind the bodies, and the spinal canal within it."""
    y = chest.spine(p.z) + 21.0
    outer = np.sqrt((p.x / 18.0) ** 2 + ((p.y - y) / 15.0) ** 2) - 1.0
    canal = np.sqrt((p.x / 10.5) ** 2 + ((p.y - y) / 8.5) ** 2) - 1.0
    gap = np.maximum(np.abs(_to_level(p.z, 0.0)) - 9.0, 0.0)
    return (outer * 15.0 + 0.8 * gap).astype(np.float32), (canal * 8.5).astype(np.float32)


def disc_share(p: Points) -> tuple[Array, Array]:
    """How much of the height ``p.z`` is disc, and how much end plate, 0..1."""
    gap = np.abs(_to_level(p.z, 0.5))
    disc = np.clip(0.5 - (gap - 2.6) / 2.0, 0.0, 1.0)
    plate = np.clip(1.0 - np.abs(gap - 4.2) / 1.6, 0.0, 1.0)
    return disc.astype(np.float32), plate.astype(np.float32)


def _to_level(z: Array, phase: float) -> Array:
    """Height above the nearest vertebra's middle (phase 0) or disc's middle (phase 0.5), mm."""
    level = (z - np.float32(FIRST_LEVEL)) / np.float32(LEVEL) + np.float32(phase)
    return (level - np.rint(level)) * np.float32(LEVEL)


def breastbone(chest: Chest, p: Points) -> Array:
    """Manubrium, body and xiphoid."""
    half = Profile([-72, -60, -40, 0, 50, 60, 70, 90, 98], [2, 9, 15, 15, 12, 14, 25, 27, 18])
    y = chest.front(p.z) - 9.5
    rho = ((np.abs(p.x) / half(p.z)) ** 3.0 + (np.abs(p.y - y) / 6.0) ** 3.0) ** (1.0 / 3.0)
    ends = np.maximum(p.z - 94.0, -70.0 - p.z)
    return np.maximum((rho - 1.0) * 6.0, ends).astype(np.float32)
