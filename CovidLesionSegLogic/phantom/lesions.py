"""COVID-19 opacities: ground glass and consolidation, with known extent.

Placement follows what reviews of the disease describe: on both sides, below the pleura, mostly
in the lower lobes and towards the back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.phantom.anatomy import Chest
from CovidLesionSegLogic.phantom.fields import Noise
from CovidLesionSegLogic.phantom.grid import Array, Points

#: severity -> number of opacities, range of their radii (mm), chance of consolidation in one
SEVERITIES: dict[str, tuple[int, tuple[float, float], float]] = {
    "none": (0, (0.0, 0.0), 0.0),
    "mild": (4, (14.0, 25.0), 0.25),
    "moderate": (9, (16.0, 32.0), 0.5),
    "severe": (16, (26.0, 46.0), 0.65),
}


@dataclass(frozen=True, eq=False)
class Lesion:
    """One opacity: a warped ellipsoid flattened along the pleura."""

    centre: NDArray[np.float64]
    radii: NDArray[np.float64]
    axes: NDArray[np.float64]
    hu: float
    shift: float
    consolidation: float
    reticulation: float

    @property
    def reach(self) -> float:
        """Nothing of the opacity lies farther than this from its centre, mm."""
        return float(self.radii.max()) * 1.9

    def field(self, p: Points, noise: Noise) -> Array:
        """1 at the opacity's edge, less inside; dimensionless."""
        x, y, z = (a - np.float32(c) for a, c in zip((p.x, p.y, p.z), self.centre, strict=True))
        m = (self.axes / self.radii[:, None]).astype(np.float32)
        u = np.sqrt(sum((m[r, 0] * x + m[r, 1] * y + m[r, 2] * z) ** 2 for r in range(3)))
        size = float(self.radii.mean())
        warp = noise.fractal(p, max(0.62 * size, 7.0), self.shift, octaves=3)
        return np.asarray(u + 0.26 * np.clip(warp, -2.4, 2.4), dtype=np.float32)


def place_lesions(chest: Chest, severity: str, rng: np.random.Generator) -> list[Lesion]:
    """The opacities of one patient; a higher severity has more and larger ones."""
    count, (small, large), solid = SEVERITIES[severity]
    lesions: list[Lesion] = []
    side = 1.0 if rng.random() < 0.5 else -1.0
    while len(lesions) < count:
        side = -side
        centre = subpleural(chest, side, rng)
        size = float(rng.uniform(small, large))
        central = rng.random() < 0.12
        inwards = inwards_at(chest, centre)
        centre = centre + inwards * size * (0.9 if central else rng.uniform(0.0, 0.35))
        across = np.cross(inwards, rng.normal(size=3))
        across /= np.linalg.norm(across)
        axes = np.stack([inwards, across, np.cross(inwards, across)])
        radii = size * np.array([0.72, rng.uniform(0.85, 1.3), rng.uniform(0.75, 1.1)])
        lesions.append(
            Lesion(
                centre,
                radii,
                axes,
                hu=float(rng.uniform(-680.0, -500.0)),
                shift=float(rng.uniform(3.0, 400.0)),
                consolidation=float(rng.uniform(0.42, 0.72)) if rng.random() < solid else 0.0,
                reticulation=float(rng.uniform(0.4, 1.0)) if rng.random() < 0.35 else 0.0,
            )
        )
    return lesions


def subpleural(chest: Chest, side: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A place 2-12 mm below the outer pleura, likelier at the back and the bases."""
    while True:
        xyz = rng.uniform([25.0, -80.0, -115.0], [140.0, 82.0, 100.0], (256, 3))
        xyz[:, 0] *= side
        p = Points(*xyz.T.astype(np.float32))
        depth = -chest.lungs(p)
        outer = -chest.cavity(p) < 16.0
        weight = np.where((depth > 2.0) & (depth < 12.0) & outer, 1.0, 0.0)
        weight *= np.exp(p.y / 45.0 - np.maximum(p.z + 20.0, 0.0) / 45.0)
        if weight.sum() > 0.0:
            return xyz[rng.choice(len(xyz), p=weight / weight.sum())]


def inwards_at(chest: Chest, at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vector from the pleura into the lung."""
    steps = np.concatenate([np.eye(3), -np.eye(3)]) * 2.0 + at
    f = chest.lungs(Points(*steps.T.astype(np.float32))).astype(float)
    gradient = f[3:] - f[:3]
    return gradient / max(float(np.linalg.norm(gradient)), 1e-6)


@dataclass(frozen=True, eq=False)
class Opacity:
    """What lesions do to a set of positions, arrays of one shape."""

    ggo: Array  # share of ground glass, 0..1
    solid: Array  # share of consolidation, 0..1
    hu: Array  # density of the ground glass


def opacity(lesions: list[Lesion], p: Points, noise: Noise) -> Opacity:
    """Opacities at ``p`` (1-D positions), HU of the ground glass included."""
    clear = np.ones(p.shape, np.float32)
    solid = np.zeros(p.shape, np.float32)
    weight = np.full(p.shape, 1e-6, np.float32)
    hu = np.full(p.shape, -600e-6, np.float32)
    for lesion in lesions:
        x, y, z = (a - np.float32(c) for a, c in zip((p.x, p.y, p.z), lesion.centre, strict=True))
        near = np.flatnonzero(x * x + y * y + z * z < lesion.reach**2)
        if not len(near):
            continue
        q = Points(p.x[near], p.y[near], p.z[near])
        u = lesion.field(q, noise)
        alpha = np.clip((1.0 - u) / 0.6 + 0.5, 0.0, 1.0)
        alpha = alpha * alpha * (3.0 - 2.0 * alpha)
        density = lesion.hu + 60.0 * noise.fractal(q, 11.0, lesion.shift + 31.0, octaves=3)
        density = density + 200.0 * np.clip(0.7 - u, 0.0, 0.7)
        if lesion.reticulation:
            # Thickened septa within the ground glass ("crazy paving").
            ridge = np.clip(1.0 - np.abs(noise(q, 7.0, lesion.shift + 57.0)) / 0.3, 0.0, 1.0)
            density = density + 150.0 * lesion.reticulation * ridge
        clear[near] *= 1.0 - alpha
        weight[near] += alpha
        hu[near] += alpha * density
        if lesion.consolidation:
            v = u + 0.16 * noise.fractal(q, 13.0, lesion.shift + 83.0, octaves=2)
            core = np.clip((lesion.consolidation - v) / 0.3 + 0.5, 0.0, 1.0)
            solid[near] = np.maximum(solid[near], core)
    return Opacity(1.0 - clear, solid, hu / weight)
