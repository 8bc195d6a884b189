"""The overview picture: right way round, true to scale, whole at every input."""

from __future__ import annotations

import io
import logging
from dataclasses import replace

import numpy as np
import pytest
from shown_result import CLASSES, from_phantom, named, shown

from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.models import LesionClass
from CovidLesionSegLogic.report import overview_png, write_overview
from CovidLesionSegLogic.report.drawing import shade
from CovidLesionSegLogic.report.views import (
    Scene,
    axial,
    best_planes,
    choose_slices,
    coronal,
    sagittal,
)

pytest.importorskip("matplotlib", reason="the overview needs the extra 'report'")


def pixels(png):
    from matplotlib.image import imread

    return imread(io.BytesIO(png))


def marked_case():
    """Canonical grid; a lesion in the right lung, anterior and high, and nothing else."""
    lungs = np.zeros((20, 30, 40), np.uint8)
    lungs[2:18, 5:25, 3:17], lungs[2:18, 5:25, 23:37] = 1, 2
    labels = np.zeros_like(lungs)
    labels[14:17, 7:10, 5:9] = 1
    hu = np.where(lungs > 0, -850, 40).astype(np.int16)
    return CTVolume(hu, spacing=(2.0, 2.0, 4.0), name="marked"), labels, lungs


def stored_otherwise(ct, labels, lungs):
    """The same patient stored sagittally, upside down and back to front."""

    def store(array):
        return np.ascontiguousarray(array.transpose(2, 0, 1)[::-1, ::-1, :])

    size, spacing = ct.shape[::-1], np.array(ct.spacing)
    origin = np.array([(size[0] - 1) * spacing[0], 0.0, (size[2] - 1) * spacing[2]])
    direction = np.array([[0, 0, -1.0], [1, 0, 0], [0, -1, 0]])
    own = CTVolume(store(ct.array), tuple(origin), tuple(spacing[[1, 2, 0]]), direction)
    return own, store(labels), store(lungs)


@pytest.mark.parametrize("store", [lambda *a: a, stored_otherwise])
def test_planes_stand_as_radiologists_expect(store):
    scene = Scene.of(shown(*store(*marked_case())))
    k, (j, i, why) = choose_slices(scene, 10), best_planes(scene)
    assert why == "plane with most lesion"
    best = max(k, key=lambda n: np.count_nonzero(scene.labels[n]))

    def centre(plane):
        rows, columns = np.nonzero(plane.labels)
        height, width = plane.labels.shape
        return rows.mean() / height, columns.mean() / width

    # Right lung: left half of the picture. Anterior: upper (axial), left (sagittal). High: upper.
    row, column = centre(axial(scene, best))
    assert row < 0.5
    assert column < 0.5
    row, column = centre(coronal(scene, j))
    assert row < 0.5
    assert column < 0.5
    row, column = centre(sagittal(scene, i))
    assert row < 0.5
    assert column < 0.5
    assert scene.lungs[best][scene.labels[best] > 0].tolist() == [1] * 12


def test_planes_are_true_to_scale():
    scene = Scene.of(shown(*marked_case()))
    j, i, _ = best_planes(scene)
    (k0, k1), (j0, j1), (i0, i1) = scene.box
    assert axial(scene, k0).size_mm == (2.0 * (j1 - j0), 2.0 * (i1 - i0))
    assert coronal(scene, j).size_mm == (4.0 * (k1 - k0), 2.0 * (i1 - i0))
    assert sagittal(scene, i).size_mm == (4.0 * (k1 - k0), 2.0 * (j1 - j0))


def test_slices_are_spread_and_hold_the_largest_lesion(phantom):
    result = from_phantom(phantom)
    scene = Scene.of(result)
    chosen = choose_slices(scene, 10)
    area = np.count_nonzero(scene.labels, axis=(1, 2))
    used = np.flatnonzero((scene.lungs > 0).any(axis=(1, 2)))
    assert len(chosen) == 10
    assert chosen == sorted(chosen, reverse=True)
    assert max(area[chosen]) == area.max()
    stretch = (used[-1] + 1 - used[0]) / 10
    assert np.diff(sorted(chosen)).max() <= 2 * stretch
    assert area[chosen].sum() >= area[np.linspace(used[0], used[-1], 10).astype(int)].sum()


def test_lesion_colours_lie_over_the_window():
    ct, labels, lungs = marked_case()
    scene = Scene.of(shown(ct, labels, lungs))
    plane = axial(scene, 15)
    picture = shade(plane, CLASSES)
    outside = picture[plane.labels == 0]
    assert np.ptp(outside, axis=1).max() == 0
    lung = (-850 + 1200) / 1400
    expected = 0.7 * lung + 0.3 * np.array(CLASSES[0].color) / 255
    np.testing.assert_allclose(picture[plane.labels == 1][0], expected, atol=1e-5)


def test_picture_is_1600_wide_and_shows_the_lesions(phantom):
    image = pixels(overview_png(from_phantom(phantom)))
    assert image.shape[1] == 1600
    assert 900 <= image.shape[0] <= 1800
    color = np.array(CLASSES[0].color) / 255
    exact = np.abs(image[..., :3] - color).max(axis=2) < 0.01
    # Beyond the swatches of legend and table: outlines and the chart.
    assert exact.sum() > 2000
    empty = replace(phantom, lesions=np.zeros_like(phantom.lesions))
    none = pixels(overview_png(from_phantom(empty)))
    exact = np.abs(none[..., :3] - color).max(axis=2) < 0.01
    assert 300 < exact.sum() < 800


def test_nothing_touches_the_page_border(phantom):
    """No text or picture is cut off, even with long names and many warnings."""
    long = "a very long name " * 40
    classes = (LesionClass(long, 1), LesionClass(f"second {long}", 2), LesionClass("third", 9))
    result = from_phantom(phantom, classes=classes, warnings=[f"{n} {long}" for n in range(9)])
    image = pixels(overview_png(named(result, long)))
    page = image[0, 0]
    for border in (image[:8], image[-8:], image[:, :16].swapaxes(0, 1), image[:, -16:]):
        assert np.abs(border - page).max() < 1e-6


@pytest.mark.parametrize(
    "name", ["$\\frac{1}{0$ 日本語 a\nb\tc \u202eevil <b>&amp;", "", "x" * 5000]
)
def test_any_name_can_be_drawn(name, caplog):
    ct, labels, lungs = marked_case()
    classes = (LesionClass(name or "-", 1),)
    with caplog.at_level(logging.WARNING):
        png = overview_png(named(shown(ct, labels, lungs, classes=classes, warnings=[name]), name))
    assert png.startswith(b"\x89PNG")
    assert not caplog.records


@pytest.mark.parametrize(
    ("shape", "lung", "label"),
    [
        ((1, 1, 1), 0, 0),
        ((1, 40, 40), 1, 2),
        ((3, 40, 40), 0, 2),
        ((40, 1, 40), 1, 0),
        ((60, 8, 8), 1, 2),
    ],
)
def test_any_size_can_be_drawn(shape, lung, label):
    ct = CTVolume(np.full(shape, -700, np.int16), spacing=(0.7, 0.7, 5.0))
    labels = np.full(shape, label, np.uint8)
    result = shown(ct, labels, np.full(shape, lung, np.uint8))
    image = pixels(overview_png(result))
    assert image.shape[1] == 1600
    assert image.shape[0] < 2200


def test_float_volume_with_gaps_can_be_drawn():
    ct, labels, lungs = marked_case()
    hu = ct.array.astype(np.float32)
    hu[15] = np.nan
    assert pixels(overview_png(shown(replace(ct, array=hu), labels, lungs))).shape[1] == 1600


def test_written_whole_or_not_at_all(tmp_path, monkeypatch):
    result = shown(*marked_case())
    write_overview(result, tmp_path / "o.png")
    assert pixels((tmp_path / "o.png").read_bytes()).shape[1] == 1600

    def fails(_):
        raise MemoryError

    monkeypatch.setattr("CovidLesionSegLogic.report.overview.overview_png", fails)
    with pytest.raises(MemoryError):
        write_overview(result, tmp_path / "p.png")
    assert [p.name for p in tmp_path.iterdir()] == ["o.png"]
