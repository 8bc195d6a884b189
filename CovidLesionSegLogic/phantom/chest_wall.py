"""Couch, skin, fat and the muscles of the chest wall."""

from __future__ import annotations

import numpy as np

from CovidLesionSegLogic.phantom.canvas import FAT, MUSCLE, Canvas
from CovidLesionSegLogic.phantom.grid import Array, Points, share
from CovidLesionSegLogic.phantom.patient import Patient


def table(canvas: Canvas, patient: Patient) -> None:
    """A curved carbon-fibre couch with a foam core."""
    p = canvas.block.inner
    top = patient.table_y - p.x**2 / 1400.0
    depth = np.broadcast_to(p.y - top, canvas.block.shape)
    if depth.max() < 0.0:
        return
    soft = float(np.linalg.norm(canvas.block.spacing[:2])) * 0.6
    for middle, half, value in ((1.2, 1.2, -420.0), (13.0, 10.5, -960.0), (25.0, 1.4, -250.0)):
        part = np.clip(0.5 - (np.abs(depth - middle) - half) / soft, 0.0, 1.0)
        canvas.blend(part.astype(np.float32), value)


def soft_tissue(canvas: Canvas, patient: Patient) -> None:
    """Skin, subcutaneous fat and the muscles of the chest wall."""
    p, noise = canvas.block.points, patient.noise
    distance, depth = canvas.block.surface(patient.chest.body(p))
    inner = canvas.block.inner
    body = share(distance, depth)
    streaks = np.zeros(canvas.block.shape, np.float32)
    inside = distance < 2.0
    q = inner.at(inside)
    wobble = noise(q, 22.0, 5.0)
    grain = noise(q, 6.0, 9.0)
    streaks[inside] = FAT + 7.0 * grain + 60.0 * np.clip(np.abs(grain) - 1.7, 0.0, 0.6)
    canvas.blend(body, streaks)
    cavity, cavity_depth = canvas.block.surface(patient.chest.cavity(p))
    limit = _muscle_thickness(patient, inner)
    edge = np.zeros(canvas.block.shape, np.float32)
    edge[inside] = 2.5 * wobble
    muscle = share(cavity - limit + edge, cavity_depth)
    # Not into the subcutaneous fat, of which there is always some.
    muscle *= np.clip((-distance - 0.45 * patient.chest.habitus.fat) / 3.0, 0.0, 1.0)
    planes = np.zeros(canvas.block.shape, np.float32)
    # Fat between the muscles.
    stretched = Points(0.6 * q.x, q.y, 0.4 * q.z)
    planes[inside] = np.clip((noise(stretched, 13.0, 13.0) - 0.75) / 0.5, 0.0, 1.0)
    planes *= np.clip((cavity - 7.0) / 8.0, 0.0, 1.0)
    streaks[inside] = MUSCLE + 6.0 * grain
    canvas.blend(muscle * (1.0 - 0.85 * planes), streaks)
    canvas.blend(body * (1.0 - share(distance, depth, -1.8)), 20.0)
    # Within the rib cage fat, until the organs come; at the neck's root muscle and glands.
    neck = np.clip((inner.z - 112.0) / 10.0, 0.0, 1.0).astype(np.float32)
    streaks[inside] = np.clip(0.5 + 0.8 * wobble, 0.0, 1.0)
    canvas.blend(share(cavity, cavity_depth), FAT + (MUSCLE - FAT) * neck * streaks)


def _muscle_thickness(patient: Patient, p: Points) -> Array:
    """Muscle outside the cavity, mm: thick at the shoulders, breast and back."""
    ax = np.abs(p.x)
    base = patient.muscle(p.z)
    breast = 11.0 * _bell(ax, 62.0, 34.0) * _bell(p.z, 45.0, 45.0) * (p.y < 0)
    flank = 13.0 * _bell(ax, 105.0, 45.0) * _bell(p.z, 55.0, 60.0) * (p.y > 0)
    back = 13.0 * _bell(ax, 34.0, 24.0) * (p.y > 30)
    return (base + breast + flank + back).astype(np.float32)


def _bell(value: Array, middle: float, width: float) -> Array:
    return np.asarray(np.exp(-(((value - middle) / width) ** 2)), dtype=np.float32)
