"""A made-up chest CT with known lungs and lesions, on any grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from CovidLesionSegLogic.ct.volume import CTVolume, Vector3
from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.phantom import airspace, chest_wall, organs
from CovidLesionSegLogic.phantom.canvas import Canvas
from CovidLesionSegLogic.phantom.grid import Grid
from CovidLesionSegLogic.phantom.lesions import SEVERITIES
from CovidLesionSegLogic.phantom.patient import draw_patient
from CovidLesionSegLogic.phantom.scanner import reconstruct

FIELD_OF_VIEW = (358.4, 358.4, 288.0)  # mm: left-right, front-back, foot-head


@dataclass(frozen=True, eq=False)
class Phantom:
    """A made-up CT and its truth.

    Parameters
    ----------
    ct
        HU, int16.
    lesions
        (z, y, x) uint8 on the CT's grid: 0 background, 1 ground-glass opacity, 2 consolidation,
        3 fibrosis.
    lungs
        (z, y, x) uint8 on the CT's grid: 0 background, 1 right lung, 2 left lung.
    """

    ct: CTVolume
    lesions: NDArray[np.uint8]
    lungs: NDArray[np.uint8]


def make_phantom(
    shape: tuple[int, int, int] = (96, 256, 256),
    spacing: Vector3 | None = None,
    *,
    seed: int = 0,
    lesions: bool = True,
    severity: str = "moderate",
    fibrosis: bool = False,
    direction: ArrayLike | None = None,
    origin: Vector3 | None = None,
    noise_hu: float = 12.0,
    circle: bool = False,
) -> Phantom:
    """Make a chest CT of a random patient with known lungs and lesions.

    The patient is made in patient coordinates (LPS mm), so the same seed gives the same patient,
    lesions included, on every grid; only the scanner's noise belongs to the grid.

    Parameters
    ----------
    shape
        (z, y, x): slices, rows, columns.
    spacing
        mm along i, j, k. By default the grid covers 358.4 x 358.4 x 288 mm (from the neck to the
        upper belly), which is (1.4, 1.4, 3.0) mm at the default shape.
    seed
        Chooses the patient, the disease and the noise.
    lesions
        False makes the same patient healthy.
    severity
        "none", "mild", "moderate" or "severe": number and size of the opacities.
    fibrosis
        Add the fibrosis that goes with the severity, label 3: always in severe disease, seldom
        in mild or moderate. The opacities are the same, but for what the fibrosis replaces.
    direction
        (3, 3), columns are the unit vectors of i, j, k in LPS; any orthonormal matrix.
    origin
        Centre of voxel (0, 0, 0), LPS mm; by default the grid is centred on the chest.
    noise_hu
        Standard deviation of the scanner's noise, HU.
    circle
        Set what lies outside the circle of reconstruction to -1024, as many scanners do.

    Raises
    ------
    RequestError
        For an unknown severity or a grid that is none.
    """
    if severity not in SEVERITIES:
        raise RequestError(f"unknown severity {severity!r}; choose one of {', '.join(SEVERITIES)}")
    grid = _grid(shape, spacing, direction, origin)
    if not np.isfinite(noise_hu) or noise_hu < 0:
        raise RequestError(f"noise_hu must be 0 or more, not {noise_hu}")
    if int(seed) != seed or seed < 0:
        raise RequestError(f"seed must be a whole number from 0, not {seed}")
    severity = severity if lesions else "none"
    patient = draw_patient(int(seed), severity, fibrosis=fibrosis)
    rng = np.random.default_rng([int(seed), 6])
    array = np.empty(grid.shape, np.int16)
    labels = np.zeros(grid.shape, np.uint8)
    lungs = np.zeros(grid.shape, np.uint8)
    for block in grid.blocks():
        canvas = Canvas(block)
        chest_wall.table(canvas, patient)
        chest_wall.soft_tissue(canvas, patient)
        organs.abdomen(canvas, patient)
        between = organs.mediastinum(canvas, patient)
        organs.bones(canvas, patient)
        cut = slice(block.first, block.last)
        lungs[cut], labels[cut] = airspace.lungs(canvas, patient, between)
        airspace.airways(canvas, patient)
        array[cut] = reconstruct(canvas.hu, block, rng, noise_hu, circle)
    _drop_slivers(lungs, labels, grid)
    ct = CTVolume(
        array,
        origin=tuple(grid.origin),
        spacing=tuple(grid.spacing),
        direction=grid.direction,
        name=f"phantom-{seed}",
        source={"format": "phantom", "seed": seed, "severity": severity}
        | ({"fibrosis": True} if fibrosis else {}),
    )
    return Phantom(ct, labels, lungs)


def _drop_slivers(lungs: NDArray[np.uint8], lesions: NDArray[np.uint8], grid: Grid) -> None:
    """Take the crumbs (under 0.5 mL) that thin recesses leave on coarse voxels out of the masks."""
    smallest = 500.0 / float(np.prod(grid.spacing))
    for side in (1, 2):
        parts, count = ndimage.label(lungs == side)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        if count < 2:
            continue
        crumb = sizes < min(smallest, sizes[1:].max())
        crumb[0] = False
        gone = crumb[parts]
        lungs[gone] = 0
        lesions[gone] = 0


def _grid(
    shape: tuple[int, int, int],
    spacing: Vector3 | None,
    direction: ArrayLike | None,
    origin: Vector3 | None,
) -> Grid:
    if len(shape) != 3 or any(int(n) != n or n < 1 for n in shape):
        raise RequestError(f"shape must be three positive whole numbers (z, y, x), not {shape}")
    counts = np.array(shape[::-1])
    axes = np.eye(3) if direction is None else np.asarray(direction, dtype=np.float64)
    if axes.shape != (3, 3) or not np.allclose(axes.T @ axes, np.eye(3), atol=1e-4):
        raise RequestError("direction must be a 3 x 3 matrix with orthonormal columns")
    if spacing is None:
        # The field of view belongs to the patient: give each grid axis what it looks along.
        extent = np.asarray(FIELD_OF_VIEW)[np.argmax(np.abs(axes), axis=0)]
        steps = extent / counts
    else:
        steps = np.asarray(spacing, dtype=np.float64)
    if steps.shape != (3,) or not np.all(np.isfinite(steps) & (steps > 0)):
        raise RequestError(f"spacing must be three positive numbers (i, j, k), not {spacing}")
    if origin is None:
        start = -axes @ (steps * (counts - 1) / 2.0)
    else:
        start = np.asarray(origin, dtype=np.float64)
        if start.shape != (3,) or not np.all(np.isfinite(start)):
            raise RequestError(f"origin must be three finite numbers, not {origin}")
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), steps, axes, start)
