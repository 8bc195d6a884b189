"""The lungs: aerated tissue, opacities, fibrosis, fissures, vessels and airways."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.phantom.canvas import BLOOD, Canvas
from CovidLesionSegLogic.phantom.central import central_airways
from CovidLesionSegLogic.phantom.fibrosis import scarred
from CovidLesionSegLogic.phantom.fields import polyline
from CovidLesionSegLogic.phantom.grid import Array, Points, share
from CovidLesionSegLogic.phantom.lesions import opacity
from CovidLesionSegLogic.phantom.patient import Patient
from CovidLesionSegLogic.phantom.traction import traction


def lungs(
    canvas: Canvas,
    patient: Patient,
    mediastinum: Array,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Parenchyma, opacities, fibrosis, fissures and vessels.

    Returns
    -------
    lungs, lesions
        (z, y, x) uint8 labels of the block: a voxel belongs where more than half of it lies in
        the lung, and has an opacity where that replaces more than half of the air, or fibrosis
        where that is more than half of it.
    """
    block, chest = canvas.block, patient.chest
    labels = np.zeros(block.shape, np.uint8)
    sides = np.zeros(block.shape, np.uint8)
    field = chest.lungs(block.points, mediastinum)
    distance, depth = block.surface(field)
    part = share(distance, depth)
    inside = part > 0.0
    if not inside.any():
        return sides, labels
    q = block.inner.at(inside)
    weight = part[inside]
    tissue = _parenchyma(patient, q)
    o = opacity(patient.lesions, q, patient.noise)
    tissue += o.ggo * np.maximum(o.hu - tissue, 0.0)
    solid = np.clip(12.0 + 22.0 * patient.noise(q, 8.0, 61.0), -95.0, 40.0)
    tissue += o.solid * (solid - tissue)
    aerated = 1.0 - o.solid
    fibrous = np.zeros(q.shape, np.float32)
    if patient.scars:
        fibrous, density = scarred(patient.scars, block, q, patient.noise)
        tissue += fibrous * (density - tissue)
        aerated *= 1.0 - fibrous
    fissure = _fissures(canvas, patient, inside)
    tissue += fissure * aerated * 260.0
    vessels = patient.trees.vessels.cover(block)[inside]
    tissue += vessels * np.maximum(BLOOD - tissue, 0.0)
    bronchi = patient.trees.airways
    wall = bronchi.resized(scale=1.12, add=0.4).cover(block)[inside]
    lumen = bronchi.cover(block)[inside]
    tissue += 0.6 * wall * np.maximum(-20.0 - tissue, 0.0)
    tissue += lumen * (-985.0 - tissue)
    canvas.hu[inside] += weight * (tissue - canvas.hu[inside])
    most = weight > 0.5
    sides[inside] = most * np.where(chest.is_left(q), 2, 1).astype(np.uint8)
    label = np.where(o.solid > 0.5, 2, np.where(o.ggo > 0.5, 1, 0)).astype(np.uint8)
    label[fibrous > 0.5] = 3
    labels[inside] = label * most
    return sides, labels


def _parenchyma(patient: Patient, p: Points) -> Array:
    """Aerated lung: denser towards the back, finely mottled."""
    noise = patient.noise
    hu = patient.lung_hu + 0.42 * (p.y + 10.0) + 8.0 * noise(p, 35.0, 71.0)
    hu = hu + 9.0 * noise(p, 4.5, 77.0) + 7.0 * noise(p, 2.6, 79.0)
    return np.asarray(hu, dtype=np.float32)


def _fissures(canvas: Canvas, patient: Patient, inside: NDArray[np.bool_]) -> Array:
    """Share of each voxel within the 0.8 mm thin fissures."""
    block, chest = canvas.block, patient.chest
    p = block.points
    if patient.scars:
        p = _before_traction(patient, p)
    oblique = np.broadcast_to(chest.oblique_fissure(p), p.shape)
    d, depth = block.surface(oblique)
    d, depth = d[inside], depth[inside]
    q = block.inner.at(inside)
    total = np.clip(1.0 - np.abs(d) / np.maximum(depth, 1.6), 0.0, 1.0) * 0.6 / depth
    right = np.broadcast_to(chest.horizontal_fissure(p), p.shape)
    e, thick = block.surface(right)
    e, thick = e[inside], thick[inside]
    line = np.clip(1.0 - np.abs(e) / np.maximum(thick, 1.6), 0.0, 1.0) * 0.3 / thick
    total += np.where(~chest.is_left(q) & (d < 0), line, 0.0)
    return np.clip(total, 0.0, 0.8).astype(np.float32)


def _before_traction(patient: Patient, p: Points) -> Points:
    """About where fibrosis has drawn the tissue at ``p`` from."""
    xyz = np.stack(np.broadcast_arrays(p.x, p.y, p.z), axis=-1).reshape(-1, 3)
    moved, _ = traction(patient.scars, xyz, patient.noise)
    x, y, z = (2.0 * xyz - moved).astype(np.float32).T.reshape(3, *p.shape)
    return Points(x, y, z)


def airways(canvas: Canvas, patient: Patient) -> None:
    """Trachea and main bronchi, drawn as one so that no wall crosses a lumen."""
    tubes = list(central_airways().values())
    nodes = np.concatenate([path for path, _ in tubes])
    found = canvas.box(nodes.min(axis=0) - 14.0, nodes.max(axis=0) + 14.0)
    if found is None:
        return
    p, window = found
    lumen = np.full(p.shape, 1e4, np.float32)
    for path, radii in tubes:
        np.minimum(lumen, polyline(p, path, radii), out=lumen)
    distance, depth = canvas.block.surface(lumen)
    canvas.blend(share(distance, depth, 1.3), 30.0, window)
    canvas.blend(share(distance, depth), -992.0, window)
