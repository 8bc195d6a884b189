"""Fibrosis in the phantom: off by default, and where it is on, what it is called."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy import ndimage

from CovidLesionSegLogic.phantom import Phantom, make_phantom
from CovidLesionSegLogic.phantom.fibrosis import FIBROSIS, Band, place_scars
from CovidLesionSegLogic.phantom.grid import Block, Grid
from CovidLesionSegLogic.phantom.patient import draw_patient
from CovidLesionSegLogic.phantom.traction import PULL, traction

SHAPE, SEED = (32, 128, 128), 2


@pytest.fixture(scope="module")
def scarred() -> Phantom:
    return make_phantom(SHAPE, seed=SEED, severity="severe", fibrosis=True)


@pytest.fixture(scope="module")
def plain() -> Phantom:
    return make_phantom(SHAPE, seed=SEED, severity="severe")


def test_it_is_off_by_default(plain: Phantom) -> None:
    assert set(np.unique(plain.lesions)) == {0, 1, 2}
    assert "fibrosis" not in plain.ct.source


def test_the_known_truth_without_it_stays_what_it_was() -> None:
    """Lungs and lesions as they were before there was fibrosis (the HU differ between machines)."""
    p = make_phantom((12, 48, 48), seed=SEED, severity="severe")
    digest = hashlib.sha256(p.lesions.tobytes() + p.lungs.tobytes()).hexdigest()
    assert digest.startswith("506eef920bbbe93a")


def test_it_is_a_class_of_its_own_within_the_lungs(scarred: Phantom, plain: Phantom) -> None:
    assert set(np.unique(scarred.lesions)) == {0, 1, 2, 3}
    assert np.all(scarred.lungs[scarred.lesions > 0] > 0)
    assert np.array_equal(scarred.lungs, plain.lungs)
    assert scarred.ct.source["fibrosis"] is True
    volume = np.count_nonzero(scarred.lesions == 3) * scarred.ct.voxel_volume_ml
    assert 20 < volume < 500


def test_the_opacities_are_the_same_but_for_what_it_replaces(
    scarred: Phantom, plain: Phantom
) -> None:
    other = scarred.lesions != 3
    assert np.array_equal(scarred.lesions[other], plain.lesions[other])


def test_density_lies_between_ground_glass_and_consolidation(scarred: Phantom) -> None:
    hu = scarred.ct.array
    ggo, solid, fibrosis = (np.median(hu[scarred.lesions == n]) for n in (1, 2, 3))
    assert ggo + 80 < fibrosis < solid - 200
    # A net: dense lines with less dense tissue between them, unlike either opacity.
    inner = ndimage.binary_erosion(scarred.lesions == 3)
    assert hu[inner].std() > 1.3 * hu[ndimage.binary_erosion(scarred.lesions == 1)].std()


def test_its_border_is_sharper_than_that_of_ground_glass() -> None:
    """HU across the border against lung without any opacity, without the scanner's noise."""
    p = make_phantom(SHAPE, seed=SEED, severity="severe", fibrosis=True, noise_hu=0.0)
    lung = (p.lungs > 0) & (p.lesions == 0)

    def step(label: int) -> float:
        mask = p.lesions == label
        inside = mask & ndimage.binary_dilation(lung)
        outside = lung & ndimage.binary_dilation(mask)
        return float(np.median(p.ct.array[inside]) - np.median(p.ct.array[outside]))

    assert step(3) > 1.5 * step(1)


def test_the_worse_the_disease_the_more_often_there_is_fibrosis() -> None:
    patient = draw_patient(1, "none")
    found = {}
    for severity in FIBROSIS:
        counts = [
            len(place_scars(patient.chest, severity, np.random.default_rng(seed)))
            for seed in range(25)
        ]
        found[severity] = (np.mean([c > 0 for c in counts]), np.mean(counts))
    assert found["none"] == (0, 0)
    assert found["mild"] < found["moderate"] < found["severe"]
    assert found["mild"][0] < 0.3
    assert found["severe"][0] == 1


def test_healthy_patients_have_none() -> None:
    p = make_phantom((8, 48, 48), seed=SEED, severity="severe", lesions=False, fibrosis=True)
    assert not p.lesions.any()


def test_same_patient_on_another_grid(scarred: Phantom) -> None:
    p = make_phantom((36, 120, 110), seed=SEED, severity="severe", fibrosis=True)
    volumes = [np.count_nonzero(q.lesions == 3) * q.ct.voxel_volume_ml for q in (p, scarred)]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.1)


def test_traction_draws_towards_the_middle_and_ends_far_away() -> None:
    patient = draw_patient(SEED, "severe", fibrosis=True)
    scar = patient.scars[0]
    way = scar.axes[1] * 0.6 * scar.size
    points = np.stack([scar.centre, scar.centre + way, scar.centre + 4.0 * scar.size])

    def silent(p, scale, shift):
        return np.zeros(p.shape, np.float32)

    moved, strength = traction([scar], points, silent)
    assert moved[0] == pytest.approx(scar.centre, abs=1e-4)
    assert np.linalg.norm(moved[1] - scar.centre) < np.linalg.norm(way)
    assert np.linalg.norm(moved[1] - points[1]) < PULL * np.linalg.norm(way)
    assert np.array_equal(moved[2], points[2])
    assert strength[0] == pytest.approx(1.0)
    assert strength[2] == 0.0


def test_bronchi_within_fibrosis_are_wider() -> None:
    healthy, ill = draw_patient(SEED, "none"), draw_patient(SEED, "severe", fibrosis=True)
    assert ill.scars
    grown = ill.trees.airways.ra / healthy.trees.airways.ra
    assert grown.min() >= 1.0
    assert grown.max() > 1.2
    assert np.array_equal(ill.trees.vessels.ra, healthy.trees.vessels.ra)


def _flat_block(spacing: float) -> Block:
    grid = Grid((1, 41, 41), np.full(3, spacing), np.eye(3), np.full(3, -20.0 * spacing))
    return grid.block(0, 1)


@pytest.mark.parametrize("spacing", [0.5, 1.0, 4.0])
def test_a_band_keeps_its_amount_of_tissue_on_coarse_voxels(spacing: float) -> None:
    x = np.array([1.0, 0.0, 0.0])
    band = Band(np.zeros(3), x, np.array([0.0, 1.0, 0.0]), 20.0, 20.0, 2.0)
    at = np.arange(-20, 21) * spacing
    line = np.stack([at, np.full(41, -10.0), np.zeros(41)], axis=-1)
    amount = band.share(line, _flat_block(spacing)).sum() * spacing
    assert amount == pytest.approx(2.0, rel=0.02)
