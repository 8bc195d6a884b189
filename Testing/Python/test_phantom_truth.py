"""Phantoms: what the truth says agrees with the picture, and the picture with anatomy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.phantom import Phantom, make_phantom

SHAPE = (48, 128, 128)


@pytest.fixture(scope="module")
def sick() -> Phantom:
    return make_phantom(SHAPE, seed=3)


@pytest.fixture(scope="module")
def healthy() -> Phantom:
    return make_phantom(SHAPE, seed=3, lesions=False)


def deep(mask: np.ndarray, steps: int = 1) -> np.ndarray:
    return ndimage.binary_erosion(mask, iterations=steps)


def centre(mask: np.ndarray) -> np.ndarray:
    """Mean position (z, y, x) in voxels."""
    return np.array(ndimage.center_of_mass(mask))


def test_types_and_identity(sick: Phantom) -> None:
    assert sick.ct.array.dtype == np.int16
    assert sick.lesions.dtype == sick.lungs.dtype == np.uint8
    assert sick.ct.shape == sick.lesions.shape == sick.lungs.shape == SHAPE
    assert set(np.unique(sick.lesions)) == {0, 1, 2}
    assert set(np.unique(sick.lungs)) == {0, 1, 2}
    assert sick.ct.source["seed"] == 3


def test_default_grid_covers_the_chest(sick: Phantom) -> None:
    assert sick.ct.spacing == pytest.approx((2.8, 2.8, 6.0))
    # No lung reaches the first or last slice, row or column.
    z, y, x = np.nonzero(sick.lungs)
    for index, size in zip((z, y, x), SHAPE, strict=True):
        assert index.min() > 0
        assert index.max() < size - 1


def test_same_seed_same_voxels_other_seed_other_patient(sick: Phantom) -> None:
    again = make_phantom(SHAPE, seed=3)
    assert np.array_equal(again.ct.array, sick.ct.array)
    assert np.array_equal(again.lesions, sick.lesions)
    other = make_phantom(SHAPE, seed=4)
    assert np.mean(other.lungs != sick.lungs) > 0.01


def test_noise_does_not_depend_on_how_the_grid_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    from CovidLesionSegLogic.phantom.grid import Grid

    whole = make_phantom((16, 48, 48), seed=1)
    blocks = Grid.blocks
    monkeypatch.setattr(Grid, "blocks", lambda self: blocks(self, 3 * 48 * 48))
    pieces = make_phantom((16, 48, 48), seed=1)
    assert np.array_equal(whole.lungs, pieces.lungs)
    assert np.abs(whole.ct.array.astype(int) - pieces.ct.array).max() <= 1


def test_lesions_lie_in_the_lungs_on_both_sides(sick: Phantom) -> None:
    assert np.all(sick.lungs[sick.lesions > 0] > 0)
    for side in (1, 2):
        assert (sick.lesions[sick.lungs == side] > 0).sum() > 50


def test_healthy_twin_differs_only_where_opacities_are(sick: Phantom, healthy: Phantom) -> None:
    assert not healthy.lesions.any()
    assert np.array_equal(healthy.lungs, sick.lungs)
    change = sick.ct.array.astype(int) - healthy.ct.array
    far = ~ndimage.binary_dilation(sick.lungs > 0, iterations=3)
    assert np.abs(change[far]).max() <= 1
    assert np.median(change[sick.lesions == 1]) > 100
    assert np.median(change[sick.lesions == 2]) > 600


def test_densities_of_opacities(sick: Phantom) -> None:
    ggo = sick.ct.array[deep(sick.lesions == 1)]
    solid = sick.ct.array[deep(sick.lesions == 2)]
    assert -720 < np.median(ggo) < -400
    assert -120 < np.median(solid) < 45


def test_severity_none_is_healthy_and_order_is_kept() -> None:
    assert not make_phantom((12, 32, 32), severity="none").lesions.any()
    for seed in (0, 1):
        volumes = [
            int((make_phantom((24, 48, 48), seed=seed, severity=s).lesions > 0).sum())
            for s in ("mild", "moderate", "severe")
        ]
        assert 0 < volumes[0] < 0.7 * volumes[1]
        assert volumes[1] < 0.7 * volumes[2]


@pytest.mark.parametrize("seed", range(3))
def test_lungs_are_two_of_normal_size(seed: int) -> None:
    p = make_phantom((36, 72, 72), seed=seed, severity="none")
    right, left = ((p.lungs == side).sum() * p.ct.voxel_volume_ml for side in (1, 2))
    assert 1500 < left < right < 3500
    for side in (1, 2):
        assert ndimage.label(p.lungs == side)[1] == 1


def test_sides_and_ends(healthy: Phantom) -> None:
    """Canonical grid: x grows to the left, y to the back, z to the head."""
    hu, lungs = healthy.ct.array, healthy.lungs
    right, left = centre(lungs == 1), centre(lungs == 2)
    assert right[2] < left[2]
    middle = 0.5 * (right[2] + left[2])
    # The heart: the large water-dense body between the lungs, above the diaphragm.
    k = int(np.nonzero((lungs == 1).any(axis=(1, 2)))[0].mean())
    between = ndimage.binary_opening((hu[k] > 0) & (hu[k] < 90), iterations=4)
    labels, _ = ndimage.label(between)
    heart = labels == labels[int(right[1]) - 6, round(middle) + 4]
    assert labels[int(right[1]) - 6, round(middle) + 4] > 0
    assert centre(heart)[1] > middle + 1
    # Bone of the spine lies behind the heart.
    spine = (hu[k] > 150) & (np.abs(np.arange(hu.shape[2]) - middle) < 12)
    assert centre(spine)[0] > centre(heart)[0]
    # Below the right dome lies liver where at the top there was lung.
    column = (slice(None), int(right[1]), int(right[2]))
    assert np.median(hu[column][2:6]) > 20
    assert lungs[column][SHAPE[0] // 2] == 1
    # The couch is behind the back: in the last rows, not in the first.
    assert (hu[SHAPE[0] // 2, -40:] > -600).any(axis=0).all()
    assert not (hu[SHAPE[0] // 2, :8] > -600).any()


def test_densities_of_normal_tissue(healthy: Phantom) -> None:
    hu = healthy.ct.array
    lung = hu[deep(healthy.lungs > 0, 2)]
    assert -880 < np.median(lung) < -810
    assert np.percentile(lung, 99) > -450  # vessels
    assert 0.02 < np.mean(lung > -700) < 0.15
    body = ndimage.binary_opening(hu > -300, iterations=2)
    inside = hu[body & ~ndimage.binary_dilation(healthy.lungs > 0, iterations=2)]
    fat, soft, bone = inside < -60, (inside > 10) & (inside < 90), inside > 180
    assert np.mean(fat) > 0.1
    assert np.mean(soft) > 0.35
    assert 0.02 < np.mean(bone) < 0.2
    assert -112 < np.median(inside[fat]) < -90
    assert 35 < np.median(inside[soft]) < 62
    assert inside.max() < 1200
    assert -1015 < np.median(hu[:, :6]) < -985


def test_lung_is_denser_at_the_back(healthy: Phantom) -> None:
    inside = deep(healthy.lungs > 0, 2)
    y = np.nonzero(inside)[1]
    values = healthy.ct.array[inside]
    front, back = np.percentile(y, [25, 75])
    assert 15 < np.median(values[y > back]) - np.median(values[y < front]) < 90


def test_opacities_prefer_back_and_base_and_pleura() -> None:
    depth, level, back = [], [], []
    for seed in range(4):
        p = make_phantom((24, 56, 56), seed=seed)
        lung, lesion = p.lungs > 0, p.lesions > 0
        near = ndimage.distance_transform_edt(lung, sampling=p.ct.spacing[::-1])
        depth.append(near[lesion].mean() / near[lung].mean())
        level.append(centre(lung)[0] - centre(lesion)[0])
        back.append(centre(lesion)[1] - centre(lung)[1])
    assert np.mean(depth) < 1.0
    assert np.mean(level) > 0.5
    assert np.mean(back) > 2.0


def test_circle_of_reconstruction() -> None:
    p = make_phantom((4, 64, 64), circle=True, spacing=(5.6, 5.6, 20.0))
    assert np.all(p.ct.array[:, [0, 0, -1, -1], [0, -1, 0, -1]] == -1024)
    assert np.all(p.ct.array[:, 32, 32] > -1024)


def test_noise_level() -> None:
    clean = make_phantom((6, 64, 64), noise_hu=0.0)
    noisy = make_phantom((6, 64, 64), noise_hu=20.0)
    difference = noisy.ct.array.astype(float) - clean.ct.array
    assert difference[clean.ct.array > -900].std() == pytest.approx(20.0, rel=0.1)


@pytest.mark.parametrize(
    ("kwargs", "word"),
    [
        ({"severity": "terrible"}, "severity"),
        ({"shape": (0, 4, 4)}, "shape"),
        ({"spacing": (1.0, -1.0, 1.0)}, "spacing"),
        ({"spacing": (1.0, float("nan"), 1.0)}, "spacing"),
        ({"direction": np.ones((3, 3))}, "direction"),
        ({"origin": (0.0, float("inf"), 0.0)}, "origin"),
        ({"noise_hu": -1.0}, "noise_hu"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_requests_are_named(kwargs: dict, word: str) -> None:
    with pytest.raises(RequestError, match=word):
        make_phantom(**{"shape": (4, 8, 8), **kwargs})
