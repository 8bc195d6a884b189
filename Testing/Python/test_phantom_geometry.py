"""Phantoms: one patient, whatever grid it is sampled on."""

from __future__ import annotations

import numpy as np
import pytest

from CovidLesionSegLogic.phantom import Phantom, make_phantom

SEED = 5


def volumes(p: Phantom) -> np.ndarray:
    """mL of right lung, left lung, opacity, consolidation."""
    counts = [
        (p.lungs == 1).sum(),
        (p.lungs == 2).sum(),
        (p.lesions > 0).sum(),
        (p.lesions == 2).sum(),
    ]
    return np.array(counts) * p.ct.voxel_volume_ml


def lesion_centre(p: Phantom) -> np.ndarray:
    """Centre of the opacities, LPS mm."""
    k, j, i = np.nonzero(p.lesions)
    index = np.array([i.mean(), j.mean(), k.mean(), 1.0])
    return (p.ct.affine @ index)[:3]


def rotation(degrees_about_z: float, degrees_about_x: float) -> np.ndarray:
    a, b = np.radians([degrees_about_z, degrees_about_x])
    z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1.0]])
    x = np.array([[1.0, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return z @ x


@pytest.fixture(scope="module")
def reference() -> Phantom:
    return make_phantom((48, 96, 96), seed=SEED)


@pytest.mark.parametrize(
    ("shape", "spacing", "direction"),
    [
        ((64, 80, 100), None, np.eye(3)),
        ((48, 80, 80), None, np.diag([-1.0, -1.0, 1.0])),
        ((48, 80, 80), None, np.diag([1.0, 1.0, -1.0])),
        # Sagittal: i runs to the back, j to the head, k to the left.
        ((80, 48, 80), None, np.array([[0, 0, 1.0], [1, 0, 0], [0, 1, 0]])),
        # Oblique, with a grid wide enough for the turned chest.
        ((60, 90, 90), (4.4, 4.4, 6.0), rotation(25.0, -15.0)),
        ((62, 95, 85), (3.8, 5.0, 5.6), rotation(-8.0, 12.0)),
    ],
)
def test_volumes_and_place_are_the_patients(
    reference: Phantom,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float] | None,
    direction: np.ndarray,
) -> None:
    p = make_phantom(shape, spacing, seed=SEED, direction=direction)
    assert volumes(p) == pytest.approx(volumes(reference), rel=0.04)
    assert lesion_centre(p) == pytest.approx(lesion_centre(reference), abs=1.5)


def test_grids_agree_voxel_for_voxel(reference: Phantom) -> None:
    """A mirrored grid holds the same patient, mirrored back."""
    p = make_phantom((48, 96, 96), seed=SEED, direction=np.diag([-1.0, 1.0, 1.0]), noise_hu=0.0)
    clean = make_phantom((48, 96, 96), seed=SEED, noise_hu=0.0)
    assert np.array_equal(clean.lungs, reference.lungs)
    flipped = p.ct.array[:, :, ::-1].astype(int)
    assert np.mean(np.abs(flipped - clean.ct.array) > 3) < 1e-3
    assert np.mean(p.lungs[:, :, ::-1] != clean.lungs) < 1e-4


def test_origin_moves_the_window_not_the_patient() -> None:
    whole = make_phantom((12, 64, 64), (5.6, 5.6, 24.0), seed=SEED, noise_hu=0.0)
    origin = whole.ct.affine @ np.array([10.0, 20.0, 3.0, 1.0])
    part = make_phantom(
        (4, 30, 40), (5.6, 5.6, 24.0), seed=SEED, noise_hu=0.0, origin=tuple(origin[:3])
    )
    cut = (slice(4, 6), slice(21, 49), slice(11, 49))
    inner = (slice(1, 3), slice(1, 29), slice(1, 39))
    assert np.abs(whole.ct.array[cut].astype(int) - part.ct.array[inner]).max() <= 3
    assert np.array_equal(whole.lungs[cut], part.lungs[inner])


@pytest.mark.parametrize("shape", [(1, 64, 64), (1, 1, 1), (3, 1, 7)])
def test_thin_grids(shape: tuple[int, int, int]) -> None:
    p = make_phantom(shape, (5.0, 5.0, 5.0))
    assert p.ct.shape == p.lungs.shape == shape


def test_grid_outside_the_patient_is_air() -> None:
    p = make_phantom((2, 8, 8), (1.0, 1.0, 1.0), origin=(0.0, -900.0, 0.0))
    assert np.abs(p.ct.array + 1000.0).max() < 120
    assert not p.lungs.any()
