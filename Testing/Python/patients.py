"""Made-up patients out of the ordinary: phantoms whose voxels were changed, with their known lungs.

Every function takes and gives a :class:`Patient` whose axes are canonical (z to the head, y to the
back, x to the left) and leaves its input as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CovidLesionSegLogic.ct import CTVolume
from CovidLesionSegLogic.phantom import make_phantom

RIGHT, LEFT = 1, 2
AIR, FAT, FLUID, TISSUE, BONE, METAL = -1000, -100, 15, 45, 700, 3071
Shape = tuple[int, int, int]
Vector = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Patient:
    """A CT and its lungs: (z, y, x) uint8, 1 right, 2 left, as far as they hold air."""

    ct: CTVolume
    lungs: NDArray[np.uint8]

    @property
    def volumes(self) -> tuple[float, float]:
        """Of the right and the left lung, mL."""
        right, left = (np.count_nonzero(self.lungs == side) for side in (RIGHT, LEFT))
        return right * self.ct.voxel_volume_ml, left * self.ct.voxel_volume_ml

    def changed(self, hu: NDArray[np.int16], lungs: NDArray[np.uint8] | None = None) -> Patient:
        """With other voxels, and other lungs where given."""
        ct = replace(self.ct, array=np.ascontiguousarray(hu))
        return Patient(ct, self.lungs if lungs is None else np.ascontiguousarray(lungs))


def adult(shape: Shape, spacing: Vector | None = None, severity: str = "none") -> Patient:
    """An ordinary patient."""
    phantom = make_phantom(shape, spacing, severity=severity)
    return Patient(phantom.ct, phantom.lungs)


def scaled(patient: Patient, factor: float) -> Patient:
    """The same patient of another size: a child, for the network that sees voxels only."""
    spacing = tuple(factor * s for s in patient.ct.spacing)
    return Patient(replace(patient.ct, spacing=spacing), patient.lungs)


def slab(patient: Patient, first: int, last: int) -> Patient:
    """Some of the slices."""
    return patient.changed(patient.ct.array[first:last], patient.lungs[first:last])


def every(patient: Patient, step: int) -> Patient:
    """Every so manieth slice: slices far apart."""
    x, y, z = patient.ct.spacing
    few = patient.changed(patient.ct.array[::step], patient.lungs[::step])
    return Patient(replace(few.ct, spacing=(x, y, step * z)), few.lungs)


def framed(patient: Patient, margin: int) -> Patient:
    """With so many pixels of air around, or, below 0, so many cut off at all four sides."""
    hu, lungs = patient.ct.array, patient.lungs
    if margin < 0:
        inside = (slice(None), slice(-margin, margin), slice(-margin, margin))
        return patient.changed(hu[inside], lungs[inside])
    around = ((0, 0), (margin, margin), (margin, margin))
    return patient.changed(np.pad(hu, around, constant_values=AIR), np.pad(lungs, around))


def zoomed(patient: Patient, rows: int, columns: int) -> Patient:
    """Each pixel repeated in the plane: a finer matrix, not square where the two differ."""
    x, y, z = patient.ct.spacing
    big = patient.changed(
        patient.ct.array.repeat(rows, 1).repeat(columns, 2),
        patient.lungs.repeat(rows, 1).repeat(columns, 2),
    )
    return Patient(replace(big.ct, spacing=(x / columns, y / rows, z)), big.lungs)


def between_lungs(patient: Patient) -> NDArray[np.bool_]:
    """Heart, great vessels and all else that lies between the lungs in a row of a slice."""
    right, left = patient.lungs == RIGHT, patient.lungs == LEFT
    after = np.maximum.accumulate(right, axis=2)
    before = np.maximum.accumulate(left[:, :, ::-1], axis=2)[:, :, ::-1]
    return after & before & (patient.lungs == 0)


def with_contrast(patient: Patient, hu: int) -> Patient:
    """Blood of ``hu`` HU in the heart, the great vessels, and the vessels of the lungs."""
    array = patient.ct.array.copy()
    blood = between_lungs(patient) & (array > 0) & (array < 100)
    array[blood] += np.int16(hu - 40)
    vessels = (patient.lungs != 0) & (array > -150)
    array[vessels] = hu
    return patient.changed(array)


def streaks(patient: Patient, at: tuple[float, float], hu: int, rays: int = 9) -> NDArray[np.int16]:
    """Rays of ``hu`` HU, bright and dark, from a point (mm from the middle, back and left)."""
    _, rows, columns = patient.ct.shape
    y = (np.arange(rows) - (rows - 1) / 2) * patient.ct.spacing[1] - at[0]
    x = (np.arange(columns) - (columns - 1) / 2) * patient.ct.spacing[0] - at[1]
    angle, distance = np.arctan2(y[:, None], x[None, :]), np.hypot(y[:, None], x[None, :])
    wave = np.sign(np.cos(rays * angle)) * np.abs(np.cos(rays * angle)) ** 3
    return np.rint(hu * wave * np.exp(-distance / 150)).astype(np.int16)


def with_metal(
    patient: Patient,
    at: tuple[float, float],
    slices: slice,
    *,
    radius: float = 10.0,
    hu: int = METAL,
    streak: int = 500,
) -> Patient:
    """A rod of metal across slices, with streaks."""
    array = patient.ct.array.astype(np.int32)
    _, rows, columns = patient.ct.shape
    y = (np.arange(rows) - (rows - 1) / 2) * patient.ct.spacing[1] - at[0]
    x = (np.arange(columns) - (columns - 1) / 2) * patient.ct.spacing[0] - at[1]
    rod = np.hypot(y[:, None], x[None, :]) <= radius
    for plane in array[slices]:
        plane += streaks(patient, at, streak)
        plane[rod] = hu
    return patient.changed(np.clip(array, -1024, 32767).astype(np.int16))


def with_leads(patient: Patient, side: int) -> Patient:
    """A wire of metal from front to back through the middle of a lung, in every slice it has."""
    array = patient.ct.array.copy()
    for plane, lungs in zip(array, patient.lungs, strict=True):
        rows, columns = np.nonzero(lungs == side)
        if rows.size:
            at = (
                (rows.mean() - (plane.shape[0] - 1) / 2) * patient.ct.spacing[1],
                (columns.mean() - (plane.shape[1] - 1) / 2) * patient.ct.spacing[0],
            )
            plane += streaks(patient, at, 300)
            column = round(columns.mean())
            plane[rows.min() : round(rows.mean()), column : column + 2] = METAL
    return patient.changed(np.clip(array, -1024, METAL))


def filled(patient: Patient, sides: tuple[int, ...], hu: int = FLUID) -> Patient:
    """Lungs full of fluid, or white as a whole; only those that hold air are left as known.

    The border, half air in thick slices, and bowel gas next to it, are filled too.
    """
    gone = np.isin(patient.lungs, sides)
    near = ndimage.binary_dilation(gone, np.ones((3, 3, 3)), iterations=2)
    gone |= near & (patient.lungs == 0) & (patient.ct.array < -150)
    noise = np.random.default_rng(0).normal(0.0, 12.0, patient.ct.shape)
    array = np.where(gone, np.rint(hu + noise), patient.ct.array).astype(np.int16)
    return patient.changed(
        array, np.where(np.isin(patient.lungs, sides), 0, patient.lungs).astype(np.uint8)
    )


def with_pneumothorax(patient: Patient, side: int) -> Patient:
    """Gas in the front half of a side; the lung, denser, lies behind it."""
    array = patient.ct.array.copy()
    for plane, lungs in zip(array, patient.lungs, strict=True):
        rows = np.flatnonzero((lungs == side).any(axis=1))
        if rows.size:
            front = (np.arange(plane.shape[0]) < rows.mean())[:, None] & (lungs == side)
            plane[front] = AIR
            behind = (lungs == side) & ~front
            plane[behind] = np.minimum(plane[behind] + 250, 60)
    return patient.changed(array)


def on_foam(patient: Patient) -> Patient:
    """On a bed with a block of foam as wide as the chest, and another before the chest."""
    array = patient.ct.array.copy()
    rng = np.random.default_rng(0)
    rows, columns = array.shape[1:]
    air = array < -900
    for block in (slice(int(0.86 * rows), int(0.97 * rows)), slice(0, int(0.08 * rows))):
        inside = np.zeros_like(air)
        inside[:, block, columns // 8 : -columns // 8] = True
        foam = inside & air
        array[foam] = rng.normal(-900, 25, np.count_nonzero(foam)).astype(np.int16)
    return patient.changed(array)


def padded_circle(patient: Patient, value: int) -> Patient:
    """With ``value`` outside the circle that the scanner reconstructs."""
    _, rows, columns = patient.ct.shape
    y = (np.arange(rows) + 0.5) / rows * 2 - 1
    x = (np.arange(columns) + 0.5) / columns * 2 - 1
    outside = np.hypot(y[:, None], x[None, :]) > 1
    return patient.changed(np.where(outside, np.int16(value), patient.ct.array))


def cylinder(shape: Shape, spacing: Vector, hu: int, semi_axes: tuple[float, float]) -> CTVolume:
    """A bottle of water: an elliptic cylinder (semi-axes in mm, y and x) of ``hu`` HU in air."""
    _, rows, columns = shape
    y = (np.arange(rows) - (rows - 1) / 2) * spacing[1] / semi_axes[0]
    x = (np.arange(columns) - (columns - 1) / 2) * spacing[0] / semi_axes[1]
    noise = np.random.default_rng(0).normal(0.0, 12.0, shape)
    plane = np.where(np.hypot(y[:, None], x[None, :]) <= 1, hu, AIR)
    return CTVolume(np.rint(plane + noise).astype(np.int16), spacing=spacing, name="cylinder")


def balls(
    ct: CTVolume, hu: int, centres: list[Vector], radii: Vector, *, within: int | None = None
) -> CTVolume:
    """Ellipsoids (centres and radii in mm, z, y, x, from the middle of the volume) of ``hu`` HU."""
    array = ct.array.copy()
    steps = ct.spacing[::-1]
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(array.shape, steps, strict=True)]
    for centre in centres:
        z, y, x = ((a - c) / r for a, c, r in zip(axes, centre, radii, strict=True))
        inside = z[:, None, None] ** 2 + y[None, :, None] ** 2 + x[None, None, :] ** 2 <= 1
        if within is not None:
            inside &= array > within
        array[inside] = hu
    return replace(ct, array=array)


def abdomen(shape: Shape, spacing: Vector) -> CTVolume:
    """A belly: fat around soft tissue, a spine, and much gas in the bowel."""
    ct = cylinder(shape, spacing, FAT, (110.0, 150.0))
    inner = cylinder(shape, spacing, TISSUE, (90.0, 130.0)).array
    array = np.where(inner > -500, inner, ct.array)
    ct = replace(ct, array=array, name="abdomen")
    ct = balls(ct, 250, [(0.0, 60.0, 0.0)], (1e4, 20.0, 22.0))
    length = shape[0] * spacing[2]
    low = [(-0.3 * length, -50.0, x) for x in (-70.0, 0.0, 70.0)]
    high = [(0.2 * length, -45.0, x) for x in (-60.0, 50.0)]
    return balls(ct, -980, low + high, (0.12 * length, 28.0, 32.0))


def head(shape: Shape, spacing: Vector) -> CTVolume:
    """A head: brain within bone, with sinuses and a throat full of air."""
    ct = cylinder(shape, spacing, TISSUE, (95.0, 78.0))
    ct = replace(ct, name="head")
    middle = cylinder(shape, spacing, BONE, (90.0, 73.0)).array
    brain = cylinder(shape, spacing, 35, (83.0, 66.0)).array
    array = np.where(middle > 300, middle, ct.array)
    ct = replace(ct, array=np.where(brain > -300, brain, array))
    ct = balls(ct, -990, [(-30.0, -55.0, -25.0), (-30.0, -55.0, 25.0)], (25.0, 18.0, 18.0))
    return balls(ct, -990, [(-60.0, 0.0, 0.0)], (60.0, 12.0, 12.0))


def legs(shape: Shape, spacing: Vector) -> CTVolume:
    """Two legs: muscle, and a bone in each."""
    ct = replace(cylinder(shape, spacing, AIR, (1.0, 1.0)), name="legs")
    both = [(0.0, 0.0, -80.0), (0.0, 0.0, 80.0)]
    return balls(balls(ct, TISSUE, both, (1e4, 65.0, 65.0)), BONE, both, (1e4, 15.0, 15.0))


def whole_body(patient: Patient) -> Patient:
    """From the feet to the head, 1.5 m, with the patient's chest in its place."""
    _, rows, columns = patient.ct.shape
    spacing = patient.ct.spacing

    def part(make, mm: float) -> NDArray[np.int16]:
        return make((round(mm / spacing[2]), rows, columns), spacing).array

    below = np.concatenate([part(legs, 600.0), part(abdomen, 350.0)])
    above = part(head, 240.0)
    array = np.concatenate([below, patient.ct.array, above])
    lungs = np.pad(patient.lungs, ((len(below), len(above)), (0, 0), (0, 0)))
    return patient.changed(array, lungs)
