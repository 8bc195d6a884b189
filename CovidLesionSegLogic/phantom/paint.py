"""Tissue by tissue: from the patient's shapes to Hounsfield units on one block of slices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from CovidLesionSegLogic.phantom.fields import Noise, ellipsoid, polyline, smooth_max
from CovidLesionSegLogic.phantom.grid import Array, Block, Points, Window, share
from CovidLesionSegLogic.phantom.lesions import opacity
from CovidLesionSegLogic.phantom.patient import Patient
from CovidLesionSegLogic.phantom.skeleton import (
    breastbone,
    disc_share,
    neural_arch,
    vertebral_body,
)
from CovidLesionSegLogic.phantom.tubes import Tubes

AIR, FAT, MUSCLE, BLOOD = -1000.0, -103.0, 52.0, 42.0
EVERYTHING = (slice(None), slice(None), slice(None))


@dataclass(frozen=True, eq=False)
class Painted:
    """One block: HU float32, lesion labels and lung labels uint8, all (slices, rows, columns)."""

    hu: Array
    lesions: NDArray[np.uint8]
    lungs: NDArray[np.uint8]


class Painter:
    """Paints one patient on one block."""

    def __init__(self, patient: Patient, block: Block) -> None:
        self.patient = patient
        self.chest = patient.chest
        self.block = block
        self.hu = np.full(block.shape, AIR, np.float32)

    def paint(self) -> Painted:
        """All tissues, from the outside in."""
        self._table()
        self._soft_tissue()
        self._abdomen()
        medi = self._mediastinum()
        self._bones()
        lungs, labels = self._lungs(medi)
        self._airways()
        return Painted(self.hu, labels, lungs)

    # -- helpers -----------------------------------------------------------------------------

    def _blend(self, part: Array, value: ArrayLike, window: Window = EVERYTHING) -> None:
        view = self.hu[window]
        view += part * (np.asarray(value, dtype=np.float32) - view)

    def _box(self, low: ArrayLike, high: ArrayLike) -> tuple[Points, Block, Window] | None:
        """Positions (with margin) and voxels within an LPS box, or None if it is elsewhere."""
        window = self.block.window(low, high)
        if window is None:
            return None
        wide = tuple(slice(s.start, s.stop + 2) for s in window)
        return self.block.points[wide], self.block, window  # type: ignore[index]

    def _noise(self, noise: Noise, p: Points, scale: float, shift: float) -> Array:
        return noise(p, scale, shift)

    # -- outside and chest wall --------------------------------------------------------------

    def _table(self) -> None:
        """A curved carbon-fibre couch with a foam core."""
        p = self.block.inner
        top = self.patient.table_y - p.x**2 / 1400.0
        depth = np.broadcast_to(p.y - top, self.block.shape)
        if depth.max() < 0.0:
            return
        soft = float(np.linalg.norm(self.block.spacing[:2])) * 0.6
        for middle, half, value in ((1.2, 1.2, -420.0), (13.0, 10.5, -960.0),
                                    (25.0, 1.4, -250.0)):
            part = np.clip(0.5 - (np.abs(depth - middle) - half) / soft, 0.0, 1.0)
            self._blend(part.astype(np.float32), value)

    def _soft_tissue(self) -> None:
        """Skin, subcutaneous fat and the muscles of the chest wall."""
        p, noise = self.block.points, self.patient.noise
        distance, depth = self.block.surface(self.chest.body(p))
        inner = self.block.inner
        body = share(distance, depth)
        streaks = np.zeros(self.block.shape, np.float32)
        inside = distance < 2.0
        q = inner.at(inside)
        wobble = noise(q, 22.0, 5.0)
        grain = noise(q, 6.0, 9.0)
        streaks[inside] = FAT + 7.0 * grain + 60.0 * np.clip(np.abs(grain) - 1.7, 0.0, 0.6)
        self._blend(body, streaks)
        cavity, cavity_depth = self.block.surface(self.chest.cavity(p))
        limit = self._muscle_thickness(inner)
        edge = np.zeros(self.block.shape, np.float32)
        edge[inside] = 2.5 * wobble
        muscle = share(cavity - limit + edge, cavity_depth)
        # Not into the subcutaneous fat, of which there is always some.
        muscle *= np.clip((-distance - 0.45 * self.chest.habitus.fat) / 3.0, 0.0, 1.0)
        planes = np.zeros(self.block.shape, np.float32)
        # Fat between the muscles, along bent planes.
        planes[inside] = np.clip(1.0 - np.abs(noise(q, 30.0, 13.0)) / 0.13, 0.0, 1.0)
        planes *= np.clip((cavity - 12.0) / 6.0, 0.0, 1.0)
        streaks[inside] = MUSCLE + 6.0 * grain
        self._blend(muscle * (1.0 - 0.85 * planes), streaks)
        self._blend(body * (1.0 - share(distance, depth, -1.8)), 20.0)
        self._inside = share(cavity, cavity_depth)
        self._cavity = cavity
        self._blend(self._inside, FAT)

    def _muscle_thickness(self, p: Points) -> Array:
        """Muscle outside the cavity, mm: thick at the shoulders, breast and back."""
        ax = np.abs(p.x)
        base = self.patient.muscle(p.z)
        breast = 11.0 * _bell(ax, 62.0, 34.0) * _bell(p.z, 45.0, 45.0) * (p.y < 0)
        flank = 13.0 * _bell(ax, 105.0, 45.0) * _bell(p.z, 55.0, 60.0) * (p.y > 0)
        back = 13.0 * _bell(ax, 34.0, 24.0) * (p.y > 30)
        return (base + breast + flank + back).astype(np.float32)

    # -- belly -------------------------------------------------------------------------------

    def _abdomen(self) -> None:
        """Diaphragm, liver, stomach, spleen, bowel gas and fat below the lungs."""
        found = self._box((-150, -110, -400), (150, 100, -40))
        if found is None:
            return
        p, block, window = found
        chest, noise = self.chest, self.patient.noise
        below = -chest.diaphragm(p) * 0.6
        wall = chest.cavity(p) + 3.0
        room = smooth_max(below + 2.5, wall, 4.0)
        muscle = block.surface(smooth_max(below, wall - 3.0, 4.0))
        inner = block.surface(room)
        self._blend(np.clip(share(*muscle) - share(*inner), 0.0, 1.0), MUSCLE, window)
        p_in = block.inner[window]
        texture = noise(p_in, 9.0, 21.0) * 5.0
        liver = ellipsoid(p, (-52.0, -8.0, -122.0), (112.0, 92.0, 86.0))
        liver = smooth_max(liver, 0.75 * (p.x - 38.0 + 0.35 * (p.y + 40.0)), 20.0)
        liver = smooth_max(liver, 22.0 - np.hypot(p.x - 6.0, p.y - 34.0), 8.0)
        self._organ(smooth_max(liver, room + 1.0, 4.0), 58.0 + texture, window)
        stomach = ellipsoid(p, (64.0, -14.0, -116.0), (44.0, 52.0, 54.0))
        stomach = smooth_max(stomach, room + 2.0, 5.0)
        food = 24.0 + 9.0 * noise(p_in, 7.0, 33.0)
        self._organ(stomach, food, window)
        level = np.broadcast_to(-32.0 - p.y, stomach.shape).astype(np.float32)
        gas = smooth_max(stomach + 5.0, -level, 2.0)
        self._organ(gas, -960.0, window)
        spleen = ellipsoid(p, (98.0, 40.0, -112.0), (30.0, 40.0, 42.0))
        spleen = smooth_max(spleen, -(stomach - 3.0), 3.0)
        self._organ(smooth_max(spleen, room + 1.0, 4.0), 48.0 + texture, window)
        colon = ellipsoid(p, (96.0, -46.0, -128.0), (20.0, 18.0, 24.0))
        colon = smooth_max(smooth_max(colon, -(stomach - 3.0), 3.0), room + 2.0, 3.0)
        self._organ(colon, 30.0 + 3.0 * texture, window)
        self._organ(colon + 4.0, -700.0 + 30.0 * texture, window)
        for side in (-1.0, 1.0):
            crus = ellipsoid(p, (side * 14.0, 24.0, -120.0), (6.0, 20.0, 60.0))
            self._organ(crus, MUSCLE, window)

    def _organ(self, field: Array, value: ArrayLike, window: Window) -> None:
        self._blend(share(*self.block.surface(field)), value, window)

    # -- mediastinum -------------------------------------------------------------------------

    def _mediastinum(self) -> Array:
        """Heart, great vessels and oesophagus; returns the mediastinum's field with margin."""
        chest, noise = self.chest, self.patient.noise
        full = self.block.points
        field = np.full(full.shape, 50.0, np.float32)
        low, high = (-85.0, -400.0, -400.0), (100.0, 400.0, 400.0)
        wide = self.block.window(low, high, margin=1)
        if wide is not None:
            wide = tuple(  # type: ignore[assignment]
                slice(max(s.start - 1, 0), s.stop + 1) for s in wide)
            field[wide] = chest.mediastinum(full[wide])
        found = self._box((-80, -100, -95), (95, 40, 45))
        if found is not None:
            p, _, window = found
            heart = chest.heart(p)
            texture = 4.0 * noise(self.block.inner[window], 14.0, 41.0)
            self._organ(smooth_max(heart, -0.6 * chest.diaphragm(p) * -1.0, 4.0),
                        BLOOD + texture, window)
        for name, (path, radii) in chest.great_vessels().items():
            margin = float(radii.max()) + 4.0
            found = self._box(path.min(axis=0) - margin, path.max(axis=0) + margin)
            if found is None:
                continue
            p, _, window = found
            tube = polyline(p, path, radii)
            self._organ(tube, 34.0 if name == "oesophagus" else BLOOD, window)
            if name == "oesophagus":
                self._organ(tube + 4.8, -350.0, window)
        return field

    # -- bones -------------------------------------------------------------------------------

    def _bones(self) -> None:
        skeleton, block, noise = self.patient.skeleton, self.block, self.patient.noise
        self._blend(skeleton.cartilage.cover(block), 95.0)
        self._blend(skeleton.bones.cover(block), 640.0)
        self._blend(skeleton.bones.resized(add=-1.5).cover(block), 190.0)
        found = self._box((-40, -120, -80), (40, 20, 105))
        if found is not None:
            p, _, window = found
            bone = breastbone(self.chest, p)
            self._organ(bone, 480.0, window)
            self._organ(bone + 1.6, 130.0, window)
        found = self._box((-34, -10, -400), (34, 110, 400))
        if found is not None:
            p, _, window = found
            inner = self.block.inner[window]
            grain = noise(inner, 4.0, 51.0)
            arch, canal = neural_arch(self.chest, p)
            self._organ(arch, 420.0 + 60.0 * grain, window)
            disc, plate = disc_share(inner)
            body = vertebral_body(self.chest, p)
            self._organ(body, 480.0 - 380.0 * disc, window)
            marrow = 185.0 + 35.0 * grain + 260.0 * plate
            self._organ(body + 1.5, marrow + disc * (85.0 - marrow), window)
            self._organ(canal, 25.0, window)

    # -- lungs -------------------------------------------------------------------------------

    def _lungs(self, mediastinum: Array) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Parenchyma, opacities, fissures and vessels; returns lung and lesion labels."""
        block, chest, patient = self.block, self.chest, self.patient
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
        tissue = self._parenchyma(q)
        o = opacity(patient.lesions, q, patient.noise)
        tissue += o.ggo * np.maximum(o.hu - tissue, 0.0)
        solid = np.clip(12.0 + 22.0 * patient.noise(q, 8.0, 61.0), -95.0, 40.0)
        tissue += o.solid * (solid - tissue)
        fissure = self._fissures(inside)
        tissue += fissure * (1.0 - o.solid) * 260.0
        vessels = patient.trees.vessels.cover(block)[inside]
        tissue += vessels * np.maximum(BLOOD - tissue, 0.0)
        airways = patient.trees.airways
        wall = airways.resized(scale=1.12, add=0.55).cover(block)[inside]
        lumen = airways.cover(block)[inside]
        tissue += 0.8 * wall * np.maximum(-20.0 - tissue, 0.0)
        tissue += lumen * (-985.0 - tissue)
        self.hu[inside] += weight * (tissue - self.hu[inside])
        most = weight > 0.5
        sides[inside] = most * np.where(chest.is_left(q), 2, 1).astype(np.uint8)
        label = np.where(o.solid > 0.5, 2, np.where(o.ggo > 0.5, 1, 0)).astype(np.uint8)
        labels[inside] = label * most
        return sides, labels

    def _parenchyma(self, p: Points) -> Array:
        """Aerated lung: denser towards the back, finely mottled."""
        noise = self.patient.noise
        hu = self.patient.lung_hu + 0.42 * (p.y + 10.0) + 12.0 * noise(p, 35.0, 71.0)
        hu = hu + 16.0 * noise(p, 4.5, 77.0) + 14.0 * noise(p, 2.6, 79.0)
        return np.asarray(hu, dtype=np.float32)

    def _fissures(self, inside: NDArray[np.bool_]) -> Array:
        """Share of each voxel within the 0.8 mm thin fissures."""
        block, chest = self.block, self.chest
        p = block.points
        oblique = np.broadcast_to(chest.oblique_fissure(p), p.shape)
        d, depth = block.surface(oblique)
        d, depth = d[inside], depth[inside]
        q = block.inner.at(inside)
        total = np.clip(1.0 - np.abs(d) / np.maximum(depth, 1.6), 0.0, 1.0) * 0.8 / depth
        right = np.broadcast_to(chest.horizontal_fissure(p), p.shape)
        e, thick = block.surface(right)
        e, thick = e[inside], thick[inside]
        line = np.clip(1.0 - np.abs(e) / np.maximum(thick, 1.6), 0.0, 1.0) * 0.6 / thick
        total += np.where(~chest.is_left(q) & (d < 0), line, 0.0)
        return np.clip(total, 0.0, 0.8).astype(np.float32)

    def _airways(self) -> None:
        """Trachea and main bronchi."""
        for path, radii in self.chest.airways().values():
            margin = float(radii.max()) + 4.0
            found = self._box(path.min(axis=0) - margin, path.max(axis=0) + margin)
            if found is None:
                continue
            p, _, window = found
            tube = polyline(p, path, radii)
            d, depth = self.block.surface(tube)
            view = self.hu[window]
            raise_to = np.maximum(30.0 - view, 0.0) * (view < -130.0)
            view += share(d, depth, 1.3) * np.where(view < -930.0, 0.0, raise_to)
            self._blend(share(d, depth), -992.0, window)


def _bell(value: Array, middle: float, width: float) -> Array:
    return np.asarray(np.exp(-(((value - middle) / width) ** 2)), dtype=np.float32)
