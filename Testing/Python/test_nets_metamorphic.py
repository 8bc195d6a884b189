"""What must not change a result, or only a little: the released networks on a phantom.

The bounds are about twice the change that was measured.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from CovidLesionSegLogic.ct import CTVolume
from CovidLesionSegLogic.pipeline import SegmentationResult, SegmentOptions, segment_ct

AIR = -1000
Change = Callable[[CTVolume], CTVolume]


@pytest.fixture(scope="module")
def chest(phantom) -> CTVolume:
    """Eight slices of a chest with lesions."""
    return replace(phantom.ct, array=np.ascontiguousarray(phantom.ct.array[20:28]))


@pytest.fixture(scope="module")
def segmented(chest, lesion_cards) -> Callable[..., SegmentationResult]:
    """Run a released model on the chest, or on what a change makes of it, once."""
    names = {card.name for card in lesion_cards}

    @functools.cache
    def run(model: str, change: Change | None = None) -> SegmentationResult:
        if model not in names:
            pytest.skip(f"the model {model} is not in Resources/Models")
        ct = chest if change is None else change(chest)
        return segment_ct(ct, SegmentOptions(model=model, device="cpu", engine="torch"))

    return run


def mirrored(ct: CTVolume) -> CTVolume:
    return replace(ct, array=np.ascontiguousarray(ct.array[:, :, ::-1]))


def brighter(ct: CTVolume) -> CTVolume:
    return replace(ct, array=ct.array + np.int16(5))


def noisy(ct: CTVolume) -> CTVolume:
    noise = np.random.default_rng(0).normal(0.0, 10.0, ct.shape)
    return replace(ct, array=(ct.array + noise).round().astype(np.int16))


def cropped(ct: CTVolume) -> CTVolume:
    return replace(ct, array=np.ascontiguousarray(ct.array[:, 6:-6, 4:-4]))


def widened(ct: CTVolume) -> CTVolume:
    return replace(ct, array=np.pad(ct.array, ((0, 0), (10, 10), (10, 10)), constant_values=AIR))


def resampled(ct: CTVolume) -> CTVolume:
    """The same chest in pixels of four fifths the size."""
    image = sitk.GetImageFromArray(ct.array)
    image.SetSpacing(ct.spacing)
    spacing = (0.8 * ct.spacing[0], 0.8 * ct.spacing[1], ct.spacing[2])
    size = [round(image.GetSize()[0] / 0.8), round(image.GetSize()[1] / 0.8), len(ct.array)]
    image = sitk.Resample(
        image,
        size,
        sitk.Transform(),
        sitk.sitkLinear,
        image.GetOrigin(),
        spacing,
        image.GetDirection(),
        float(AIR),
    )
    return replace(ct, array=sitk.GetArrayFromImage(image), spacing=spacing)


def longer(ct: CTVolume) -> CTVolume:
    """With three slices of air below and above."""
    return replace(ct, array=np.pad(ct.array, ((3, 3), (0, 0), (0, 0)), constant_values=AIR))


def in_floats(ct: CTVolume) -> CTVolume:
    return replace(ct, array=ct.array.astype(np.float32))


def elsewhere(ct: CTVolume) -> CTVolume:
    """The table moved."""
    x, y, z = ct.origin
    return replace(ct, origin=(x + 3.3, y - 50.0, z + 1000.0))


@pytest.mark.parametrize(
    ("model", "change", "lesions", "lungs"),
    [
        ("coarse-refine", mirrored, 10.0, 0.5),
        ("coarse-refine", brighter, 2.0, 0.5),
        ("coarse-refine", noisy, 2.0, 0.5),
        ("coarse-refine", cropped, 2.0, 0.5),
        ("coarse-refine", widened, 2.0, 0.5),
        ("coarse-refine", resampled, 2.0, 0.7),
        ("refnet", mirrored, 1.0, 0.5),
        ("refnet", brighter, 2.0, 0.5),
        ("refnet", noisy, 6.0, 0.5),
        ("refnet", resampled, 25.0, 0.7),
    ],
)
def test_volumes_change_by_no_more_percent(segmented, model, change, lesions, lungs):
    before, after = (r.quantification for r in (segmented(model), segmented(model, change)))
    assert before.total.volume_ml > 50
    assert 100 * abs(after.total.volume_ml / before.total.volume_ml - 1) <= lesions
    assert 100 * abs(after.lungs.volume_ml / before.lungs.volume_ml - 1) <= lungs


@pytest.mark.parametrize("model", ["coarse-refine", "refnet"])
def test_a_mirrored_patient_has_the_sides_exchanged(segmented, model):
    before, after = segmented(model), segmented(model, mirrored)
    for side, other in ((1, 2), (2, 1)):
        ours = before.lungs == side
        theirs = after.lungs[:, :, ::-1] == other
        assert 2 * (ours & theirs).sum() > 0.99 * (ours.sum() + theirs.sum())


@pytest.mark.parametrize("change", [in_floats, elsewhere])
def test_not_one_voxel_changes(segmented, change):
    before, after = segmented("coarse-refine"), segmented("coarse-refine", change)
    np.testing.assert_array_equal(before.labels, after.labels)
    np.testing.assert_array_equal(before.lungs, after.lungs)


def test_air_below_and_above_changes_nothing(segmented):
    before, after = segmented("coarse-refine"), segmented("coarse-refine", longer)
    np.testing.assert_array_equal(before.labels, after.labels[3:-3])
    assert not after.labels[:3].any()
    assert not after.labels[-3:].any()
