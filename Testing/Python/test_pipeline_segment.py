"""The one path, with a tiny exactly known model: grid, lungs, thresholds, provenance."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import tiny_model
from scipy import ndimage

from CovidLesionSegLogic.ct import CTVolume, to_canonical, window, write_image
from CovidLesionSegLogic.engine import Cancel
from CovidLesionSegLogic.engine.parts import has_onnx
from CovidLesionSegLogic.errors import CancelledError, InputError, RequestError
from CovidLesionSegLogic.pipeline import KeptLungs, SegmentOptions, segment_ct

TWO = [
    {"name": "ground-glass opacity", "label": 3, "threshold": 0.5, "color": [255, 0, 0]},
    {"name": "consolidation", "label": 7, "threshold": 0.5, "color": [0, 255, 0]},
]


@pytest.fixture
def card(tmp_path, monkeypatch):
    return tiny_model.install(tmp_path, monkeypatch)


@pytest.fixture
def lung_file(phantom, tmp_path):
    return write_image(phantom.lungs, phantom.ct, tmp_path / "lungs.nii.gz")


def expected_labels(ct, lungs):
    """Grey over the limit, at most 3 mm in the plane from lung, on slices with lung."""
    grey = window(ct.array, *tiny_model.WINDOW)
    near = np.zeros(lungs.shape, bool)
    for k in np.flatnonzero(lungs.any((1, 2))):
        near[k] = ndimage.distance_transform_edt(lungs[k] == 0, sampling=ct.spacing[1::-1]) <= 3.0
    limit = (tiny_model.LIMIT_HU - tiny_model.WINDOW[0]) / 1000
    return (grey > limit) & near


def run(phantom, lung_file, **options):
    return segment_ct(phantom.ct, SegmentOptions(model="tiny", lungs=lung_file, **options))


def test_labels_are_exactly_the_known_ones(phantom, card, lung_file):
    result = run(phantom, lung_file)
    assert result.labels.dtype == np.uint8
    # On the limit itself rounding decides.
    on_limit = np.abs(phantom.ct.array - tiny_model.LIMIT_HU) < 1
    expected = expected_labels(phantom.ct, phantom.lungs)
    assert expected.sum() > 1000
    assert np.array_equal((result.labels != 0)[~on_limit], expected[~on_limit])
    assert np.array_equal(result.lungs, phantom.lungs)
    assert result.probability is None
    total = result.quantification.total.volume_ml
    assert total == pytest.approx(np.count_nonzero(result.labels) * phantom.ct.voxel_volume_ml)


def test_nothing_far_from_the_lungs(phantom, card, lung_file):
    labels = run(phantom, lung_file).labels
    reach = ndimage.distance_transform_edt(phantom.lungs == 0, sampling=phantom.ct.spacing[::-1])
    assert (reach[labels != 0] <= 3.0).all()
    assert (reach[labels != 0] > 0).any()
    assert not labels[~phantom.lungs.any((1, 2))].any()


ORIENTATIONS = {
    "feet last": np.diag([1.0, 1.0, -1.0]),
    "prone": np.diag([-1.0, -1.0, 1.0]),
    "coronal": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "sagittal, flipped": np.array([[0, 0, -1.0], [1, 0, 0], [0, -1, 0]]),
}


def reoriented(ct: CTVolume, direction: np.ndarray) -> CTVolume:
    """The same patient, stored along the axes of ``direction`` (a signed permutation)."""
    axes = [int(np.abs(direction[:, c]).argmax()) for c in range(3)]  # patient axis of i, j, k
    signs = [direction[axes[c], c] for c in range(3)]
    array = ct.array.transpose([2 - axes[c] for c in (2, 1, 0)])
    array = array[tuple(slice(None, None, int(signs[c])) for c in (2, 1, 0))]
    last = np.array(ct.shape[::-1]) - 1
    start = [last[axes[c]] if signs[c] < 0 else 0 for c in range(3)]
    index = np.zeros(3)
    for c in range(3):
        index[axes[c]] = start[c]
    origin = np.array(ct.origin) + np.array(ct.spacing) * index
    return CTVolume(
        np.ascontiguousarray(array),
        tuple(origin),
        tuple(ct.spacing[a] for a in axes),
        direction,
        ct.name,
    )


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_same_lesions_whatever_the_orientation(phantom, card, lung_file, name):
    reference = run(phantom, lung_file)
    turned = reoriented(phantom.ct, ORIENTATIONS[name])
    np.testing.assert_array_equal(to_canonical(turned)[0].array, phantom.ct.array)
    result = segment_ct(turned, SegmentOptions(model="tiny", lungs=lung_file))
    assert result.labels.shape == turned.shape
    assert result.labels.flags.c_contiguous
    back = to_canonical(turned.with_array(result.labels.astype(np.int16)))[0].array
    np.testing.assert_array_equal(back, reference.labels)
    assert result.quantification.total.volume_ml == pytest.approx(
        reference.quantification.total.volume_ml
    )


def test_same_result_twice_and_input_untouched(phantom, card, lung_file):
    before = phantom.ct.array.copy()
    one, two = run(phantom, lung_file), run(phantom, lung_file)
    np.testing.assert_array_equal(one.labels, two.labels)
    np.testing.assert_array_equal(phantom.ct.array, before)


def test_higher_threshold_marks_a_subset(phantom, card, lung_file):
    low = run(phantom, lung_file, threshold=0.2).labels != 0
    high = run(phantom, lung_file, threshold=0.9).labels != 0
    assert high.sum() < low.sum()
    assert not (high & ~low).any()


def test_probability_on_request_agrees_with_the_labels(phantom, card, lung_file):
    result = run(phantom, lung_file, probability=True)
    assert result.probability.shape == (1, *phantom.ct.shape)
    assert result.probability.dtype == np.float16
    assert 0 <= result.probability.min() <= result.probability.max() <= 1
    assert (result.probability[0][result.labels != 0] >= 0.4995).all()
    assert not result.probability[0][~phantom.lungs.any((1, 2))].any()


def test_several_classes_take_the_most_probable(phantom, tmp_path, monkeypatch, lung_file):
    card = tiny_model.install(tmp_path, monkeypatch, classes=TWO)
    result = run(phantom, lung_file, probability=True)
    assert set(np.unique(result.labels)) == {0, 3, 7}
    p = result.probability.astype(np.float32)
    clear = np.abs(p[0] - p[1]) > 0.01
    assert (p[1] > p[0])[(result.labels == 7) & clear].all()
    assert (p[0] > p[1])[(result.labels == 3) & clear].all()
    assert [c.name for c in result.quantification.classes] == [c.name for c in card.classes]


def test_small_specks_go_only_if_the_card_says_so(phantom, tmp_path, monkeypatch, lung_file):
    tiny_model.install(tmp_path, monkeypatch)
    everything = run(phantom, lung_file).labels != 0
    tiny_model.install(tmp_path, monkeypatch, postprocess={"min_volume_ml": 1.0})
    cleaned = run(phantom, lung_file).labels != 0
    parts, count = ndimage.label(everything, np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel())[1:] * phantom.ct.voxel_volume_ml
    assert (sizes < 1.0).any()
    keep = np.isin(parts, 1 + np.flatnonzero(sizes >= 1.0))
    np.testing.assert_array_equal(cleaned, keep)
    assert count > ndimage.label(cleaned, np.ones((3, 3, 3)))[1] > 0


def test_lung_mask_of_one_label_is_split(phantom, card, tmp_path):
    path = write_image((phantom.lungs > 0).astype(np.uint8), phantom.ct, tmp_path / "one.nii.gz")
    result = run(phantom, path)
    np.testing.assert_array_equal(result.lungs > 0, phantom.lungs > 0)
    assert (result.lungs == phantom.lungs)[phantom.lungs > 0].mean() > 0.97
    assert any("one.nii.gz" in w for w in result.warnings)


def test_lung_mask_with_sides_exchanged_is_corrected(phantom, card, tmp_path):
    swapped = np.array([0, 2, 1], np.uint8)[phantom.lungs]
    result = run(phantom, write_image(swapped, phantom.ct, tmp_path / "swapped.nii.gz"))
    np.testing.assert_array_equal(result.lungs, phantom.lungs)
    assert any("other sides" in w for w in result.warnings)


def test_no_lungs_is_refused_with_a_way_to_mend_it(phantom, card, tmp_path):
    path = write_image(phantom.lungs * 0, phantom.ct, tmp_path / "none.nii.gz")
    with pytest.raises(
        InputError, match=r"^The lung mask .*none\.nii\.gz marks no voxel .*--lungs"
    ):
        run(phantom, path)


def test_lungs_by_the_network_on_every_slice(phantom, card, tmp_path, monkeypatch):
    lung_card = tiny_model.install_lungs(tmp_path, monkeypatch)
    steps = []
    result = segment_ct(
        phantom.ct, SegmentOptions(model="tiny"), progress=lambda *step: steps.append(step)
    )
    number = len(phantom.ct.array)
    assert ("lungs", number, number) in steps
    assert result.provenance["lungs"]["method"] == "network"
    assert result.provenance["lungs"]["model"]["sha256"] == lung_card.weights.sha256
    aerated = (phantom.lungs > 0) & (phantom.ct.array > -940) & (phantom.ct.array < -410)
    assert (result.lungs == phantom.lungs)[aerated].mean() > 0.97


def test_lungs_of_the_same_ct_are_found_once(phantom, card, tmp_path, monkeypatch):
    tiny_model.install_lungs(tmp_path, monkeypatch)
    kept = KeptLungs()
    steps: list[tuple[str, int, int]] = []

    def run_once(ct, engine="auto"):
        steps.clear()
        result = segment_ct(
            ct,
            SegmentOptions(model=card.name, device="cpu", engine=engine),
            progress=lambda *step: steps.append(step),
            kept_lungs=kept,
        )
        return result, [step for step in steps if step[0] == "lungs"]

    first, slices = run_once(phantom.ct)
    assert slices[-1] == ("lungs", phantom.ct.shape[0], phantom.ct.shape[0])
    second, slices = run_once(phantom.ct)
    assert slices == [("lungs", 0, 1), ("lungs", 1, 1)]
    np.testing.assert_array_equal(first.lungs, second.lungs)
    np.testing.assert_array_equal(first.labels, second.labels)
    _, slices = run_once(phantom.ct, engine="torch")
    assert (len(slices) > 2) == has_onnx()
    changed = phantom.ct.array.copy()
    changed[3, 10, 10] += 1
    _, slices = run_once(replace(phantom.ct, array=changed))
    assert len(slices) > 2


def test_lungs_by_density_without_the_network(phantom, card):
    result = segment_ct(phantom.ct, SegmentOptions(model="tiny"))
    assert result.provenance["lungs"] == {"method": "classical", "model": None}
    both = (result.lungs == phantom.lungs) & (phantom.lungs > 0)
    assert 2 * both.sum() / ((result.lungs > 0).sum() + (phantom.lungs > 0).sum()) > 0.85
    assert any("density" in w for w in result.warnings)


def test_a_damaged_lung_network_is_not_passed_over(phantom, card, tmp_path, monkeypatch):
    tiny_model.install_lungs(tmp_path, monkeypatch).weights_path.write_bytes(b"x")
    with pytest.raises(InputError, match=r"lungs\.safetensors"):
        segment_ct(phantom.ct, SegmentOptions(model="tiny"))


def test_regions_are_measured(phantom, card, lung_file):
    result = run(phantom, lung_file, regions=lung_file)
    assert [r.label for r in result.quantification.regions] == [1, 2]


def test_provenance_tells_how_the_result_came_about(phantom, card, lung_file):
    result = run(phantom, lung_file, threshold=0.25, batch_size=3)
    p = json.loads(json.dumps(result.provenance))
    assert p["model"] == {"name": "tiny", "version": "1.0", "sha256": card.weights.sha256}
    assert p["software"]["version"]
    assert p["lungs"] == {"method": "given", "model": None}
    assert p["options"]["threshold"] == 0.25
    assert p["thresholds"] == {"infection": 0.25}
    assert p["device"].startswith("cpu")
    assert list(p["seconds"]) == ["load", "lungs", "segment", "quantify"]
    assert p["peak_memory_mb"] > 50
    assert p["input"]["shape_zyx"] == list(phantom.ct.shape)


def test_warnings_of_the_input_come_along_once(phantom, card, lung_file):
    ct = phantom.ct.with_warnings("Slices were sorted.", "Slices were sorted.")
    warnings = segment_ct(ct, SegmentOptions(model="tiny", lungs=lung_file)).warnings
    assert warnings.count("Slices were sorted.") == 1


def test_values_not_finite_are_air_and_said(phantom, card, lung_file):
    array = phantom.ct.array.astype(np.float32)
    array[20, 60:70] = np.nan
    ct = replace(phantom.ct, array=array)
    result = segment_ct(ct, SegmentOptions(model="tiny", lungs=lung_file))
    assert any("finite" in w for w in result.warnings)
    assert not result.labels[20, 60:70].any()


def test_progress_runs_through_the_stages_in_order(phantom, card, lung_file):
    steps = []
    segment_ct(
        phantom.ct,
        SegmentOptions(model="tiny", lungs=lung_file),
        progress=lambda *step: steps.append(step),
    )
    stages = list(dict.fromkeys(s for s, _, _ in steps))
    assert stages == ["load", "lungs", "segment", "quantify"]
    for stage in stages:
        done = [d for s, d, _ in steps if s == stage]
        assert done == sorted(done)
    lung_slices = int(phantom.lungs.any((1, 2)).sum())
    assert ("segment", lung_slices, lung_slices) in steps


@pytest.mark.parametrize("stage", ["load", "segment", "quantify"])
def test_cancel_is_heeded_in_every_stage(phantom, card, lung_file, stage):
    cancel = Cancel()

    def stop(now, done, total):
        if now == stage:
            cancel.cancel()

    with pytest.raises(CancelledError):
        segment_ct(
            phantom.ct,
            SegmentOptions(model="tiny", lungs=lung_file),
            progress=stop,
            cancel=cancel,
        )


def test_gate_is_refused_for_a_model_without_one(phantom, card, lung_file):
    with pytest.raises(RequestError, match="no gate"):
        run(phantom, lung_file, gate=True)
    assert run(phantom, lung_file, gate=False).labels.any()


def test_masks_that_cannot_be_looked_up_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"lungs file .* cannot be reached"):
        SegmentOptions(lungs=tmp_path / ("x" * 300))


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"threshold": 0.0}, RequestError),
        ({"threshold": float("nan")}, RequestError),
        ({"batch_size": 0}, RequestError),
        ({"lungs": "/does/not/exist.nii"}, InputError),
    ],
)
def test_wrong_options_are_refused(values, error):
    with pytest.raises(error):
        SegmentOptions(**values)
