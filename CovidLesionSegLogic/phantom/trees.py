"""Pulmonary arteries, veins and airways: trees that fill the lungs.

The branching follows the volume-filling idea of Tawhai, Pullan and Hunter (Annals of Biomedical
Engineering 2000;28:793): the tissue a branch supplies is halved by a plane through the branch,
and each half gets a daughter that runs part of the way to its centre.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.phantom.anatomy import Chest
from CovidLesionSegLogic.phantom.grid import Points
from CovidLesionSegLogic.phantom.tubes import Tubes

Floats = NDArray[np.float64]
MURRAY = 2.7  # r**MURRAY is kept where a vessel divides


@dataclass(frozen=True, eq=False)
class Branch:
    """One branch: a short path (n, 3) in LPS mm and the number of terminals it feeds."""

    path: Floats
    terminals: int
    parent_terminals: int


def grow(
    start: Floats,
    heading: Floats,
    tissue: Floats,
    rng: np.random.Generator,
    *,
    leaf: int,
    fraction: float = 0.5,
) -> list[Branch]:
    """A tree from ``start`` into ``tissue`` (n, 3), ends supplying about ``leaf`` points each."""
    branches: list[Branch] = []
    stack = [(np.asarray(start, float), np.asarray(heading, float), tissue, len(tissue))]
    while stack:
        node, direction, points, above = stack.pop()
        centre = points.mean(axis=0)
        way = centre - node
        length = float(np.linalg.norm(way))
        last = len(points) <= leaf
        # Lobar vessels divide near the hilum; the segments' vessels are long.
        early = np.clip(1.6 * (1.0 - len(points) / len(tissue)), 0.3, 1.0)
        reach = (0.85 if last else early * fraction * rng.uniform(0.75, 1.2)) * length
        if length < 1e-6:
            continue
        end = node + way / length * reach
        # A branch leaves in its parent's direction and bends towards its tissue.
        bend = node + 0.45 * reach * (0.5 * direction + 0.5 * way / length)
        bend = bend + rng.normal(0.0, 0.025 * reach, 3)
        t = np.linspace(0.0, 1.0, 3 if reach < 12.0 else 5)[:, None]
        path = (1 - t) ** 2 * node + 2 * t * (1 - t) * bend + t**2 * end
        branches.append(
            Branch(path, max(1, round(len(points) / leaf)), max(1, round(above / leaf)))
        )
        if last:
            continue
        tangent = path[-1] - path[-2]
        tangent /= max(float(np.linalg.norm(tangent)), 1e-6)
        for part in _halves(points, end, tangent, rng):
            if len(part):
                stack.append((end, tangent, part, len(points)))
    return branches


def _halves(
    points: Floats, node: Floats, tangent: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """The points either side of a plane that contains ``tangent`` and splits their spread."""
    offset = points - points.mean(axis=0)
    across = offset - np.outer(offset @ tangent, tangent)
    _, vectors = np.linalg.eigh(across.T @ across)
    normal = vectors[:, -1] + 0.25 * rng.normal(size=3)
    position = offset @ normal
    cut = np.quantile(position, rng.uniform(0.22, 0.78))
    side = position > cut
    return points[side], points[~side]


def tubes_of(branches: list[Branch], terminal_radius: float) -> Tubes:
    """The branches as tubes whose radii obey Murray's law."""
    paths = []
    for branch in branches:
        end = terminal_radius * branch.terminals ** (1.0 / MURRAY)
        begin = terminal_radius * branch.parent_terminals ** (1.0 / MURRAY)
        begin = min(begin, 1.25 * end)
        paths.append((branch.path, np.linspace(begin, end, len(branch.path))))
    return Tubes.along(paths)


@dataclass(frozen=True, eq=False)
class LungTrees:
    """Vessels and airways within both lungs; airway radii are those of the lumen."""

    vessels: Tubes
    airways: Tubes


#: Where the trees of each lobe begin (LPS mm): lobe -> (artery, vein, bronchus).
ROOTS: dict[str, tuple[tuple[float, float, float], ...]] = {
    "right upper": ((-38, -2, 27), (-38, -9, 10), (-46, 11, 33)),
    "right middle": ((-46, 6, 5), (-38, -8, 6), (-40, 14, 0)),
    "right lower": ((-50, 19, -12), (-38, 16, -11), (-41, 17, -8)),
    "left upper": ((44, 6, 33), (40, -8, 15), (52, 8, 20)),
    "left lower": ((55, 29, -12), (38, 18, -9), (46, 26, -8)),
}


def lobe_points(chest: Chest, rng: np.random.Generator, count: int) -> dict[str, Floats]:
    """Random positions (n, 3) at least 3 mm inside the lungs, lobe by lobe."""
    low, high = np.array([-140.0, -95.0, -130.0]), np.array([140.0, 85.0, 120.0])
    xyz = rng.uniform(low, high, (count, 3)).astype(np.float32)
    p = Points(xyz[:, 0], xyz[:, 1], xyz[:, 2])
    inside = chest.lungs(p) < -3.0
    xyz = xyz[inside]
    p = Points(xyz[:, 0], xyz[:, 1], xyz[:, 2])
    left = chest.is_left(p)
    upper = chest.oblique_fissure(p) < 0
    top = chest.horizontal_fissure(p) < 0
    lobes = {
        "right upper": ~left & upper & top,
        "right middle": ~left & upper & ~top,
        "right lower": ~left & ~upper,
        "left upper": left & upper,
        "left lower": left & ~upper,
    }
    return {name: xyz[mask].astype(float) for name, mask in lobes.items()}


def make_trees(chest: Chest, rng: np.random.Generator) -> LungTrees:
    """Arteries with airways beside them, and veins between, for every lobe."""
    vessels, airways = [], []
    for name, tissue in lobe_points(chest, rng, 60_000).items():
        artery, vein, bronchus = (np.array(r, dtype=float) for r in ROOTS[name])
        outwards = tissue.mean(axis=0) - artery
        outwards /= np.linalg.norm(outwards)
        arterial = grow(artery, outwards, tissue, rng, leaf=10)
        vessels.append(tubes_of(arterial, 0.57))
        vessels.append(tubes_of(grow(vein, outwards, tissue, rng, leaf=11), 0.55))
        airways.append(_beside(arterial, bronchus - artery))
    return LungTrees(_joined(vessels), _joined(airways))


def _beside(arterial: list[Branch], shift: Floats, smallest: int = 8) -> Tubes:
    """Airway lumens that run along the arteries, about as wide as these."""
    paths = []
    side = np.array([0.3, 0.75, 0.6])
    root = arterial[0].terminals
    for branch in arterial:
        if branch.terminals < smallest:
            continue
        end = 0.38 * branch.terminals ** (1.0 / MURRAY)
        begin = min(0.38 * branch.parent_terminals ** (1.0 / MURRAY), 1.25 * end)
        radii = np.linspace(begin, end, len(branch.path))
        # Beside the artery, and at the root where the lobe's bronchus is.
        share = (np.array([branch.parent_terminals, branch.terminals]) / root) ** 1.5
        pull = np.linspace(share[0], share[1], len(branch.path))[:, None]
        gap = (2.5 * radii + 1.0)[:, None] * side
        paths.append((branch.path + pull * shift + (1.0 - pull) * gap, radii))
    return Tubes.along(paths)


def _joined(parts: list[Tubes]) -> Tubes:
    return Tubes(*(np.concatenate([getattr(t, f) for t in parts]) for f in ("a", "b", "ra", "rb")))
