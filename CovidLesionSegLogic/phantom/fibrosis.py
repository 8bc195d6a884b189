"""Fibrosis: reticulation and parenchymal bands, with known extent.

In the words of the Fleischner Society's glossary (Hansell et al., Radiology 2008;246:697) a
parenchymal band is a linear opacity, 1-3 mm thick and up to 5 cm long, that usually reaches the
pleura, and reticulation a net of small linear opacities. What readers outline as fibrosis is the
region of the net together with its bands, and so is the truth here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from CovidLesionSegLogic.phantom.anatomy import Chest
from CovidLesionSegLogic.phantom.fields import Noise
from CovidLesionSegLogic.phantom.grid import Array, Block, Points
from CovidLesionSegLogic.phantom.lesions import inwards_at, subpleural

Floats = NDArray[np.floating[Any]]

#: severity -> chance of any fibrosis, range of the number of regions. Rare in mild and moderate
#: disease, as the coarse-refine paper finds (section 3.4, Figure 4).
FIBROSIS: dict[str, tuple[float, tuple[int, int]]] = {
    "none": (0.0, (0, 0)),
    "mild": (0.08, (1, 1)),
    "moderate": (0.3, (1, 2)),
    "severe": (1.0, (2, 4)),
}
RADII = (18.0, 32.0)  # mm
MESH = 8.5  # mm between the middles of neighbouring cells of the net
STRETCH = np.array([1.0 / 1.5, 1.0, 1.0])  # cells are longer across the pleura than along it
EDGE = 1.2  # mm over which a region ends: much sharper than ground glass


@dataclass(frozen=True, eq=False)
class Band:
    """A flat band: middle, unit normal and direction (3,); half length, half width, thickness."""

    centre: Floats
    normal: Floats
    direction: Floats
    half_length: float
    half_width: float
    thickness: float

    def share(self, xyz: Floats, block: Block) -> Array:
        """Share (n,) of the band in the voxels at positions (n, 3)."""
        offset = xyz - self.centre
        along = offset @ self.direction / self.half_length
        beside = offset @ np.cross(self.normal, self.direction) / self.half_width
        out = along**2 + beside**2
        # One voxel's depth across the band: a thinner band is drawn as wide, and paler.
        depth = float(np.linalg.norm((self.normal @ block.axes) * block.spacing))
        # Thinner towards its inner end.
        thickness = self.thickness * np.clip(1.0 - 0.6 * np.maximum(along, 0.0), 0.1, 1.0)
        edge = 0.5 * np.maximum(thickness, depth) - np.abs(offset @ self.normal)
        part = np.clip(edge / depth + 0.5, 0.0, 1.0)
        return (part * np.minimum(1.0, thickness / depth) * (out < 1.0)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Scar:
    """One fibrotic region: a subpleural ellipsoid cut by planes, a net of septa, and bands.

    Parameters
    ----------
    centre, radii, axes
        Middle (3,) and half axes (3,), mm; rows of ``axes`` are unit vectors, the first inwards.
    normals, offsets
        Planes (n, 3) and their distances from the middle (n,), mm, that cut the ellipsoid.
    cells
        (m, 3) middles of the net's cells in the region's axes, mm, drawn out along the first.
    bands
        Parenchymal bands; they reach beyond the region.
    ground_hu, line_hu
        Between the septa, and of septa and bands.
    thickness
        Of the septa, mm.
    """

    centre: Floats
    radii: Floats
    axes: Floats
    normals: Floats
    offsets: Floats
    cells: Floats
    bands: tuple[Band, ...]
    ground_hu: float
    line_hu: float
    thickness: float

    @property
    def size(self) -> float:
        """Half of the region's longest axis, mm."""
        return float(self.radii.max())

    def region(self, xyz: Floats) -> Array:
        """Share (n,) of the region itself, without its bands, at positions (n, 3)."""
        offset = xyz - self.centre
        u = np.linalg.norm(offset @ self.axes.T / self.radii, axis=1)
        outside = (u - 1.0) * self.radii.min()
        cut = (offset @ self.normals.T - self.offsets).max(axis=1)
        return np.clip(0.5 - np.maximum(outside, cut) / EDGE, 0.0, 1.0).astype(np.float32)

    def septa(self, xyz: Floats) -> Array:
        """Share (n,) of thickened septa at positions (n, 3): the walls between the cells."""
        local = (xyz - self.centre) @ self.axes.T * STRETCH
        near, index = cKDTree(self.cells).query(local, k=2)
        apart = np.linalg.norm(self.cells[index[:, 0]] - self.cells[index[:, 1]], axis=1)
        wall = (near[:, 1] ** 2 - near[:, 0] ** 2) / (2.0 * apart)
        return np.clip((0.5 * self.thickness - wall) / EDGE + 0.5, 0.0, 1.0).astype(np.float32)


def place_scars(chest: Chest, severity: str, rng: np.random.Generator) -> list[Scar]:
    """The fibrotic regions of one patient."""
    chance, (fewest, most) = FIBROSIS[severity]
    if rng.random() >= chance:
        return []
    side = 1.0 if rng.random() < 0.5 else -1.0
    scars = []
    for _ in range(int(rng.integers(fewest, most + 1))):
        scars.append(_scar(chest, side, rng))
        side = -side
    return scars


def _scar(chest: Chest, side: float, rng: np.random.Generator) -> Scar:
    pleura = subpleural(chest, side, rng)
    inwards = inwards_at(chest, pleura)
    size = float(rng.uniform(*RADII))
    across = np.cross(inwards, [0.0, 0.0, 1.0])
    across /= max(float(np.linalg.norm(across)), 1e-6)
    axes = np.stack([inwards, across, np.cross(inwards, across)])
    radii = size * np.array([rng.uniform(0.5, 0.75), rng.uniform(1.0, 1.5), rng.uniform(0.8, 1.1)])
    normals = rng.normal(size=(9, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    room = 1.4 * float(radii.max())
    count = round((2.0 * room / MESH) ** 3)
    bands = tuple(_band(pleura, axes, size, rng) for _ in range(int(rng.integers(3, 7))))
    return Scar(
        pleura + inwards * size * rng.uniform(0.05, 0.3),
        radii,
        axes,
        normals=normals,
        offsets=size * rng.uniform(0.5, 0.9, 9),
        cells=rng.uniform(-room, room, (count, 3)),
        bands=bands,
        ground_hu=float(rng.uniform(-620.0, -480.0)),
        line_hu=float(rng.uniform(-130.0, -20.0)),
        thickness=float(rng.uniform(1.2, 1.9)),
    )


def _band(pleura: Floats, axes: Floats, size: float, rng: np.random.Generator) -> Band:
    """A band that begins at the pleura and runs inwards past the region, mostly upright."""
    lean = np.radians(rng.uniform(-60.0, 60.0))
    direction = np.cos(lean) * axes[0] + np.sin(lean) * axes[1]
    normal = np.cross(direction, axes[2] + 0.25 * rng.normal(size=3))
    half = float(rng.uniform(12.0, 25.0))
    start = pleura + size * (rng.uniform(-1.1, 1.1) * axes[1] + rng.uniform(-0.6, 0.6) * axes[2])
    return Band(
        start + direction * (half - 4.0),
        normal / np.linalg.norm(normal),
        direction,
        half,
        half_width=float(rng.uniform(8.0, 15.0)),
        thickness=float(rng.uniform(1.8, 3.4)),
    )


def scarred(scars: list[Scar], block: Block, p: Points, noise: Noise) -> tuple[Array, Array]:
    """Fibrosis in the voxels of ``block`` at ``p`` (1-D positions).

    Returns
    -------
    part, hu
        Share of each voxel that is fibrosis, 0..1, and the density of that share.
    """
    part = np.zeros(p.shape, np.float32)
    hu = np.full(p.shape, -500.0, np.float32)
    xyz = np.stack([p.x, p.y, p.z], axis=-1)
    for scar in scars:
        near = within(xyz, scar.centre, scar.size + 4.0)
        if len(near):
            q = Points(p.x[near], p.y[near], p.z[near])
            # Lines and borders run straight for some millimetres, but not by the ruler.
            bent = _bent(xyz[near], q, noise, 0.9, 4.5)
            region = scar.region(bent)
            faint = np.clip(0.65 + 0.35 * noise(q, 9.0, 51.0), 0.15, 1.0)
            density = scar.ground_hu + 70.0 * noise(q, 7.0, 43.0)
            density = density + scar.septa(bent) * faint * (scar.line_hu - density)
            hu[near] = np.where(region > 0.0, density, hu[near])
            part[near] = np.maximum(part[near], region)
        for band in scar.bands:
            near = within(xyz, band.centre, band.half_length + 4.0)
            if not len(near):
                continue
            q = Points(p.x[near], p.y[near], p.z[near])
            share = band.share(_bent(xyz[near], q, noise, 1.6, 14.0), block)
            # Within the region over its net; beyond it the band is all there is.
            over = np.where(part[near] > 0.0, share, 1.0) * (share > 0.0)
            hu[near] += over * (scar.line_hu - hu[near])
            part[near] = np.maximum(part[near], share)
    return part, hu


def within(xyz: Floats, centre: Floats, reach: float) -> NDArray[np.intp]:
    """Indices of the positions (n, 3) within ``reach`` mm of ``centre``."""
    square = sum((xyz[:, n] - np.float32(centre[n])) ** 2 for n in range(3))
    return np.flatnonzero(square < reach**2)


def _bent(xyz: Floats, p: Points, noise: Noise, amount: float, scale: float) -> Floats:
    """Positions moved by about ``amount`` mm, differently every ``scale`` mm."""
    return xyz + amount * np.stack([noise(p, scale, s) for s in (11.0, 23.0, 37.0)], axis=-1)
