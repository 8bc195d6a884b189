"""The chest's large shapes: body, thoracic cavity, mediastinum, diaphragm and lungs.

Patient coordinates are LPS mm with the origin in the middle of the chest: x to the patient's
left, y to the back, z to the head. The lungs reach from about z = 120 to z = -130.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.phantom.central import central_airways, great_vessels
from CovidLesionSegLogic.phantom.fields import (
    Profile,
    ellipsoid,
    polyline,
    smooth_max,
    smooth_min,
)
from CovidLesionSegLogic.phantom.grid import Array, Points

FLOOR = np.float32(-133.0)  # where the lungs end below, mm
HEIGHTS = (150, 125, 110, 95, 75, 50, 20, -20, -60, -100, -145)


@dataclass(frozen=True, eq=False)
class Habitus:
    """What differs between patients (sizes in mm or as a factor)."""

    width: float
    depth: float
    fat: float
    breast: float
    dome_right: float
    dome_left: float
    heart: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Habitus:
        """A random adult who fits a field of view of 360 mm."""
        return cls(
            width=float(rng.uniform(0.93, 1.02)),
            depth=float(rng.uniform(0.92, 1.06)),
            fat=float(rng.uniform(7.0, 20.0)),
            breast=float(rng.uniform(15.0, 32.0)) if rng.random() < 0.45 else 0.0,
            dome_right=float(rng.uniform(-60.0, -48.0)),
            dome_left=float(rng.uniform(-70.0, -60.0)),
            heart=float(rng.uniform(0.93, 1.06)),
        )


@dataclass(frozen=True, eq=False)
class Chest:
    """Implicit fields of one patient's chest; each takes positions and is negative inside."""

    habitus: Habitus
    half_width: Profile = field(init=False)
    front: Profile = field(init=False)
    back: Profile = field(init=False)
    spine: Profile = field(init=False)
    body_width: Profile = field(init=False)
    body_front: Profile = field(init=False)
    body_back: Profile = field(init=False)

    def __post_init__(self) -> None:
        h = self.habitus
        width = np.array([30, 52, 79, 98, 115, 129, 136, 140, 141, 138, 132]) * h.width
        front = np.array([-14, -20, -34, -50, -67, -80, -87, -92, -95, -97, -97]) * h.depth
        back = np.array([36, 43, 54, 62, 68, 73, 75, 76, 75, 73, 69]) * (0.5 + 0.5 * h.depth)
        wall = np.array([205, 158, 118, 88, 62, 41, 27, 18, 14, 14, 15]) + h.fat
        put = object.__setattr__
        put(self, "half_width", Profile(HEIGHTS, width))
        put(self, "front", Profile(HEIGHTS, front))
        put(self, "back", Profile(HEIGHTS, back))
        put(self, "spine", Profile(HEIGHTS, [18, 22, 27, 32, 39, 45, 49, 50, 47, 42, 36]))
        put(self, "body_width", Profile(HEIGHTS, width + wall))
        put(
            self,
            "body_front",
            Profile(
                HEIGHTS,
                front - 0.7 * h.fat - np.array([46, 44, 40, 35, 30, 25, 20, 16, 14, 14, 15]),
            ),
        )
        put(
            self,
            "body_back",
            Profile(
                HEIGHTS, back + 0.6 * h.fat + np.array([64, 60, 53, 47, 42, 38, 35, 33, 32, 33, 36])
            ),
        )

    # -- outline ---------------------------------------------------------------------------

    def cavity(self, p: Points) -> Array:
        """Inner surface of the rib cage."""
        # The back of the chest bulges on both sides of the spine.
        bulge = 13.0 * np.exp(-(((np.abs(p.x) - 70.0) / 32.0) ** 2)) * _step(p.y, 0.0, 50.0)
        moved = Points(p.x, (p.y - bulge).astype(np.float32), p.z)
        return _oval(moved, self.half_width(p.z), self.front(p.z), self.back(p.z), 2.4, 2.3)

    def body(self, p: Points) -> Array:
        """The skin."""
        f = _oval(p, self.body_width(p.z), self.body_front(p.z), self.body_back(p.z), 2.7, 2.4)
        # The hollow of the back between the shoulder blades.
        groove = 7.0 * np.exp(-((p.x / 22.0) ** 2)) * (p.y > 0)
        f = f + groove.astype(np.float32)
        if self.habitus.breast:
            size = self.habitus.breast
            for side in (-1.0, 1.0):
                centre = (side * 72.0, float(self.body_front(-5.0)) + 12.0, -8.0)
                f = smooth_min(f, ellipsoid(p, centre, (58.0, 10.0 + size, 52.0)), 18.0)
        return f

    # -- mediastinum -----------------------------------------------------------------------

    def heart_axes(self) -> NDArray[np.float64]:
        """Unit axes (rows, LPS) of the heart: long axis to the left, front and below."""
        long = np.array([0.74, -0.42, -0.53])
        long /= np.linalg.norm(long)
        side = np.cross(long, [0.0, 0.0, 1.0])
        side /= np.linalg.norm(side)
        return np.stack([long, side, np.cross(long, side)])

    def heart(self, p: Points) -> Array:
        """The heart in its pericardium: ventricles and, to the right and behind, the atria."""
        s = self.habitus.heart
        ventricles = ellipsoid(
            p, (24.0, -38.0, -28.0), np.array([58.0, 44.0, 40.0]) * s, self.heart_axes()
        )
        right = ellipsoid(p, (-16.0, -32.0, -22.0), np.array([28.0, 38.0, 40.0]) * s)
        left_atrium = ellipsoid(p, (4.0, 6.0, -6.0), np.array([34.0, 18.0, 22.0]) * s)
        return smooth_min(smooth_min(ventricles, right, 12.0), left_atrium, 12.0)

    def mediastinum(self, p: Points) -> Array:
        """Everything between the lungs: fat, heart, great vessels, airways, oesophagus, spine."""
        f = np.abs(p.x - _middle(p)) - self._septum(p)
        f = smooth_min(f, self.heart(p) - 2.5, 9.0)
        for tubes in (great_vessels(), central_airways()):
            for name, (path, radii) in tubes.items():
                if name == "left subclavian artery" or "upper bronchus" in name:
                    continue
                thin = name.endswith(("bronchus", "vein"))
                fill = 3.0 if thin else 8.0
                f = smooth_min(f, polyline(p, path, radii + (0.4 if thin else 1.2)), fill)
        return smooth_min(f, self.vertebrae_hull(p), 6.0)

    def _septum(self, p: Points) -> Array:
        """Half-width, mm, of the plain fat between the lungs."""
        upper = _step(p.z, 70.0, 108.0)
        # Behind the breastbone a wedge of fat, narrow in front.
        wedge = np.clip(0.42 * (p.y - self.front(p.z) - 4.0), 0.0, 15.0)
        front = 3.0 + wedge + 18.0 * upper
        middle = 11.0 + 14.0 * upper
        width = front + (middle - front) * _step(p.y, -30.0, 5.0)
        # The fat of the heart's foot on the diaphragm.
        foot = np.exp(-(((p.z + 80.0) / 14.0) ** 2) - ((p.y + 66.0) / 30.0) ** 2)
        return (width + 16.0 * foot).astype(np.float32)

    def vertebrae_hull(self, p: Points) -> Array:
        """The spine with the tissue beside it, as the lungs see it."""
        y = self.spine(p.z)
        body = np.sqrt((p.x / 19.0) ** 2 + ((p.y - y) / 18.0) ** 2) - 1.0
        arch = np.sqrt((p.x / 54.0) ** 2 + ((p.y - y - 44.0) / 28.0) ** 2) - 1.0
        return smooth_min((body * 18.0).astype(np.float32), (arch * 28.0).astype(np.float32), 14.0)

    # -- diaphragm and lungs -----------------------------------------------------------------

    def diaphragm(self, p: Points) -> Array:
        """Height above which the lungs lie, minus z: negative above the diaphragm."""
        h = self.habitus
        halves = []
        for side, top, centre_y in ((-1.0, h.dome_right, -14.0), (1.0, h.dome_left, -18.0)):
            dx = side * p.x - 64.0
            dy = p.y - centre_y
            drop = (
                62.0 * np.maximum(dx / 70.0, 0.0) ** 3
                + 16.0 * np.maximum(-dx / 64.0, 0.0) ** 2
                + 84.0 * np.maximum(dy / 90.0, 0.0) ** 1.35
                + 40.0 * np.maximum(-dy / 72.0, 0.0) ** 2.6
            )
            # The recess behind the liver ends at about the twelfth rib.
            halves.append(smooth_max((top - drop).astype(np.float32), FLOOR, 8.0))
        left = _step(p.x, -12.0, 12.0)
        return halves[0] + (halves[1] - halves[0]) * left - p.z

    def apex(self, p: Points) -> Array:
        """The lungs' rounded tops: negative below them."""
        dx = np.abs(p.x) - 50.0
        dy = p.y - 26.0
        fall = dx * dx / 115.0 + dy * dy / np.where(dy < 0, 230.0, 110.0)
        return np.asarray(p.z - (119.0 - fall), dtype=np.float32)

    def lungs(self, p: Points, mediastinum: Array | None = None) -> Array:
        """Both lungs within their pleura; the right one has x below :func:`middle`."""
        m = self.mediastinum(p) if mediastinum is None else mediastinum
        f = smooth_max(self.cavity(p) + 2.0, self.apex(p) * 0.7, 6.0)
        f = smooth_max(f, self.diaphragm(p) * 0.6, 5.0)
        return smooth_max(f, -m, 3.0)

    def is_left(self, p: Points) -> NDArray[np.bool_]:
        """Whether positions lie left of the septum between the lungs."""
        return np.asarray(p.x - _middle(p) > 0)

    def oblique_fissure(self, p: Points) -> Array:
        """Height of the oblique fissure minus z: negative in the upper (and middle) lobes."""
        sag = 9.0 * ((np.abs(p.x) - 75.0) / 60.0) ** 2
        t = (p.y - 70.0) / 140.0
        return (48.0 + 118.0 * t + 16.0 * t * (t + 1.0) - sag - p.z).astype(np.float32)

    def horizontal_fissure(self, p: Points) -> Array:
        """Height of the right lung's horizontal fissure minus z: negative in the upper lobe."""
        return (9.0 + 0.06 * p.y - ((p.x + 70.0) / 40.0) ** 2 * 2.0 - p.z).astype(np.float32)


def _middle(p: Points) -> Array:
    """x of the septum between the lungs: a little left of the midline in front."""
    return (4.0 * _step(-p.y, -10.0, 50.0)).astype(np.float32)


def _step(value: Array, low: float, high: float) -> Array:
    """Smooth rise from 0 at ``low`` to 1 at ``high``."""
    t = np.clip((value - np.float32(low)) / np.float32(high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), dtype=np.float32)


def _oval(p: Points, half_width: Array, front: Array, back: Array, px: float, py: float) -> Array:
    """About the distance (mm) to an oval between ``front`` and ``back`` in every slice."""
    half = 0.5 * (back - front)
    u = np.abs(p.x / half_width) ** np.float32(px)
    v = np.abs((p.y - 0.5 * (front + back)) / half) ** np.float32(py)
    rho = (u + v) ** np.float32(2.0 / (px + py))
    return ((rho - 1.0) * np.minimum(half, half_width)).astype(np.float32)
