"""Organs of the upper belly and the mediastinum, and the bones."""

from __future__ import annotations

import numpy as np

from CovidLesionSegLogic.phantom.canvas import BLOOD, MUSCLE, Canvas
from CovidLesionSegLogic.phantom.central import great_vessels
from CovidLesionSegLogic.phantom.fields import ellipsoid, polyline, smooth_max
from CovidLesionSegLogic.phantom.grid import Array, share
from CovidLesionSegLogic.phantom.patient import Patient
from CovidLesionSegLogic.phantom.skeleton import (
    breastbone,
    disc_share,
    neural_arch,
    vertebral_body,
)


def abdomen(canvas: Canvas, patient: Patient) -> None:
    """Diaphragm, liver, stomach, spleen, bowel gas and fat below the lungs."""
    found = canvas.box((-150, -110, -400), (150, 100, -40))
    if found is None:
        return
    p, window = found
    block, chest, noise = canvas.block, patient.chest, patient.noise
    below = -chest.diaphragm(p) * 0.6
    wall = chest.cavity(p) + 3.0
    room = smooth_max(below + 2.5, wall, 4.0)
    muscle = block.surface(smooth_max(below, wall - 3.0, 4.0))
    inner = block.surface(room)
    canvas.blend(np.clip(share(*muscle) - share(*inner), 0.0, 1.0), MUSCLE, window)
    p_in = block.inner[window]
    texture = noise(p_in, 9.0, 21.0) * 5.0
    liver = ellipsoid(p, (-52.0, -8.0, -122.0), (112.0, 92.0, 86.0))
    left = np.asarray(0.75 * (p.x - 38.0 + 0.35 * (p.y + 40.0)), dtype=np.float32)
    liver = smooth_max(liver, left, 20.0)
    spine = np.asarray(22.0 - np.hypot(p.x - 6.0, p.y - 34.0), dtype=np.float32)
    liver = smooth_max(liver, spine, 8.0)
    canvas.organ(smooth_max(liver, room, 2.0), 58.0 + texture, window)
    stomach = ellipsoid(p, (64.0, -14.0, -116.0), (44.0, 52.0, 54.0))
    stomach = smooth_max(stomach, room + 0.5, 4.0)
    food = 24.0 + 9.0 * noise(p_in, 7.0, 33.0)
    canvas.organ(stomach, food, window)
    level = np.broadcast_to(patient.gas_level - p.y, stomach.shape).astype(np.float32)
    gas = smooth_max(stomach + 5.0, -level, 2.0)
    canvas.organ(gas, -960.0, window)
    spleen = ellipsoid(p, (98.0, 40.0, -112.0), (30.0, 40.0, 42.0))
    spleen = smooth_max(spleen, -(stomach - 3.0), 3.0)
    canvas.organ(smooth_max(spleen, room, 2.0), 48.0 + texture, window)
    colon = ellipsoid(p, (96.0, -46.0, -128.0), (20.0, 18.0, 24.0))
    colon = smooth_max(smooth_max(colon, -(stomach - 3.0), 3.0), room + 2.0, 3.0)
    canvas.organ(colon, 30.0 + 3.0 * texture, window)
    canvas.organ(colon + 4.0, -700.0 + 30.0 * texture, window)
    for side in (-1.0, 1.0):
        crus = ellipsoid(p, (side * 14.0, 24.0, -120.0), (6.0, 20.0, 60.0))
        canvas.organ(crus, MUSCLE, window)


def mediastinum(canvas: Canvas, patient: Patient) -> Array:
    """Heart, great vessels and oesophagus; returns the mediastinum's field with margin."""
    chest, noise = patient.chest, patient.noise
    full = canvas.block.points
    field = np.full(full.shape, 50.0, np.float32)
    low, high = (-90.0, -400.0, -400.0), (105.0, 400.0, 400.0)
    wide = canvas.block.window(low, high, margin=1)
    if wide is not None:
        field[wide] = chest.mediastinum(full[wide])
    found = canvas.box((-80, -100, -95), (95, 40, 45))
    if found is not None:
        p, window = found
        heart = chest.heart(p)
        texture = 4.0 * noise(canvas.block.inner[window], 14.0, 41.0)
        canvas.organ(smooth_max(heart, 0.6 * chest.diaphragm(p), 4.0), BLOOD + texture, window)
    for name, (path, radii) in great_vessels().items():
        margin = float(radii.max()) + 4.0
        found = canvas.box(path.min(axis=0) - margin, path.max(axis=0) + margin)
        if found is None:
            continue
        p, window = found
        tube = polyline(p, path, radii)
        canvas.organ(tube, 34.0 if name == "oesophagus" else BLOOD, window)
        if name == "oesophagus":
            canvas.organ(tube + 4.8, -350.0, window)
    return field


def bones(canvas: Canvas, patient: Patient) -> None:
    """Ribs with their cartilage, shoulder girdle, breastbone and spine."""
    skeleton, block, noise = patient.skeleton, canvas.block, patient.noise
    canvas.blend(skeleton.cartilage.cover(block), 95.0)
    canvas.blend(skeleton.bones.cover(block), 640.0)
    canvas.blend(skeleton.bones.resized(add=-1.5).cover(block), 190.0)
    found = canvas.box((-40, -120, -80), (40, 20, 105))
    if found is not None:
        p, window = found
        bone = breastbone(patient.chest, p)
        canvas.organ(bone, 480.0, window)
        canvas.organ(bone + 1.6, 130.0, window)
    found = canvas.box((-34, -10, -400), (34, 110, 400))
    if found is not None:
        p, window = found
        inner = canvas.block.inner[window]
        grain = noise(inner, 4.0, 51.0)
        arch, canal = neural_arch(patient.chest, p)
        canvas.organ(arch, 420.0 + 60.0 * grain, window)
        disc, plate = disc_share(inner)
        body = vertebral_body(patient.chest, p)
        canvas.organ(body, 480.0 - 380.0 * disc, window)
        marrow = 185.0 + 35.0 * grain + 260.0 * plate
        canvas.organ(body + 1.5, marrow + disc * (85.0 - marrow), window)
        canvas.organ(canal, 25.0, window)
