"""A user's own data: what can be read, and every way in which it cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import io

from CovidLesionSegLogic.ct import write_image
from CovidLesionSegLogic.ct.cases import Case
from CovidLesionSegLogic.engine import lung_boxes
from CovidLesionSegLogic.errors import InputError, RequestError
from CovidLesionSegLogic.learn.folder import load_folder
from CovidLesionSegLogic.learn.sources import WINDOW
from CovidLesionSegLogic.learn.volumes import load_volumes
from CovidLesionSegLogic.models import InputSpec

SHAPE = (40, 48)
SPEC = InputSpec(64, WINDOW, margin=0.03)


def write(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(exist_ok=True)
    io.imsave(path, array, check_contrast=False)
    return path


def grey(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, SHAPE, dtype=np.uint8)


def lesion(value: int = 255) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[10:25, 10:25] = value
    return mask


@pytest.fixture
def data(tmp_path: Path) -> tuple[Path, Path]:
    """Three good pairs."""
    for i in range(3):
        write(tmp_path / "images" / f"p{i}_1.png", grey(i))
        write(tmp_path / "masks" / f"p{i}_1.png", lesion())
    return tmp_path / "images", tmp_path / "masks"


def refusal(data: tuple[Path, Path], **options) -> str:
    with pytest.raises(InputError) as error:
        load_folder(*data, **options)
    assert error.value.exit_code == 3
    return str(error.value)


def test_pairs_patients_and_masks(data):
    write(data[0] / "q.tif", grey(7))
    write(data[1] / "q.bmp", lesion(1))
    notices: list[str] = []
    slices = load_folder(*data, notice=notices.append)
    assert [s.name for s in slices] == ["p0_1", "p1_1", "p2_1", "q"]
    assert all(s.image.dtype == s.mask.dtype == np.uint8 for s in slices)
    for s in slices:
        np.testing.assert_array_equal(s.mask, lesion(1))
    np.testing.assert_array_equal(slices[3].image, grey(7))
    assert "patient of its own" in notices[0]


def test_patients_by_expression(data):
    assert [s.patient for s in load_folder(*data, patient=r"^(p\d)_")] == ["p0", "p1", "p2"]
    write(data[0] / "x.png", grey())
    write(data[1] / "x.png", lesion())
    assert "x.png: --patient matches nothing" in refusal(data, patient=r"^(p\d)_")
    with pytest.raises(RequestError, match="regular expression"):
        load_folder(*data, patient="(")


def test_an_expression_that_finds_nothing_is_no_patient(data):
    assert "matches nothing in the name" in refusal(data, patient="(x*)")


def test_accents_pair_in_either_unicode_form(data):
    write(data[0] / "M\u00fcller.png", grey(8))
    write(data[1] / "Mu\u0308ller.png", lesion())
    assert "M\u00fcller" in {s.patient for s in load_folder(*data)}


def test_jpeg_masks_lose_their_noise(data):
    noisy = np.clip(lesion().astype(int) + np.random.default_rng(0).integers(-9, 10, SHAPE), 0, 255)
    write(data[1] / "p0_1.png", noisy.astype(np.uint8))
    np.testing.assert_array_equal(load_folder(*data)[0].mask, lesion(1))


def test_a_black_mask_is_told_but_used(data):
    write(data[1] / "p1_1.png", lesion(0))
    notices: list[str] = []
    slices = load_folder(*data, notice=notices.append)
    assert [s.source for s in slices] == ["own", "own_free", "own"]
    assert "1 of 3 masks are black" in notices[0]
    assert "p1_1" in notices[0]


def test_missing_partners_are_named_up_to_five(data):
    for i in range(7):
        write(data[0] / f"lone{i}.png", grey())
    write(data[1] / "widow.png", lesion())
    said = refusal(data)
    assert "7 of 10 files have no mask of the same name" in said
    assert "lone4.png and 2 more" in said
    assert "1 of 4 files have no image" in said
    assert "widow.png" in said


def make_bad(data: tuple[Path, Path], case: str) -> tuple[str, str]:
    """Spoil the pair p1_1; the file and what must be said of it."""
    image, mask = data[0] / "p1_1.png", data[1] / "p1_1.png"
    if case == "size":
        write(mask, lesion()[:-4])
        return "p1_1.png", "has 48 x 36 pixels but its image 48 x 40: give a mask"
    if case == "16 bits":
        write(image, grey().astype(np.uint16) * 100)
        return "images/p1_1.png", "more than 8 bits.*convert it to 8 bits with a lung window"
    if case == "cut off":
        image.write_bytes(image.read_bytes()[:300])
        return "images/p1_1.png", "cannot be read.*export it again"
    if case == "no picture":
        mask.write_text("not a picture")
        return "masks/p1_1.png", "cannot be read"
    if case == "empty file":
        image.write_bytes(b"")
        return "images/p1_1.png", "cannot be read"
    if case == "colour":
        write(image, np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), dtype=np.uint8))
        return "images/p1_1.png", "in colour: use a grey image"
    if case == "colour mask":
        write(mask, np.stack([lesion(), lesion(0), lesion(0)], -1))
        return "masks/p1_1.png", "in colour: save the mask as grey"
    if case == "exchanged":
        write(mask, grey(5))
        return "masks/p1_1.png", "looks like an image.*--images and --masks exchanged"
    if case == "tiny":
        write(image, grey()[:8, :8])
        write(mask, lesion()[:8, :8])
        return "images/p1_1.png", "smaller than 32 pixels"
    raise ValueError(case)


CASES = (
    *("size", "16 bits", "cut off", "no picture", "empty file"),
    *("colour", "colour mask", "exchanged", "tiny"),
)


@pytest.mark.parametrize("case", CASES)
def test_bad_files_are_named_with_the_way_to_mend_them(data, case):
    import re

    name, said = make_bad(data, case)
    message = refusal(data)
    assert name in message
    assert re.search(said, message)
    assert "\n" not in message  # one sentence for one problem


def test_grey_stored_as_colour_is_read(data):
    write(data[0] / "p1_1.png", np.stack([grey(3)] * 3, -1))
    np.testing.assert_array_equal(load_folder(*data)[1].image, grey(3))


def test_all_problems_are_told_at_once(data):
    write(data[0] / "p0_1.png", grey().astype(np.uint16))
    write(data[0] / "p2_1.png", grey().astype(np.uint16))
    write(data[1] / "p1_1.png", lesion()[:-4])
    write(data[0] / "lone.png", grey())
    said = refusal(data)
    assert "for 3 reasons" in said
    assert "images/p0_1.png, images/p2_1.png: it has more than 8 bits" in said
    assert "lone.png" in said
    assert "48 x 36" in said


def test_masks_all_black(data):
    for path in data[1].iterdir():
        write(path, lesion(0))
    assert "every mask in" in refusal(data)


def test_empty_and_missing_folders(data, tmp_path):
    (tmp_path / "none").mkdir()
    assert "holds no picture" in refusal((tmp_path / "none", data[1]))
    with pytest.raises(RequestError, match="is not a folder"):
        load_folder(tmp_path / "nowhere", data[1])


def test_two_files_of_one_stem(data):
    write(data[0] / "p1_1.bmp", grey())
    assert "same name without suffix" in refusal(data)


@pytest.fixture
def volumes(phantom, tmp_path) -> list[Case]:
    """The phantom twice, once turned over, with lungs."""
    cases = []
    for name in ("a", "b"):
        files = {
            "ct": phantom.ct.array,
            "lesion": phantom.lesions,
            "lung": phantom.lungs,
        }
        paths = {
            kind: write_image(array, phantom.ct, tmp_path / f"{name}_{kind}.nii.gz")
            for kind, array in files.items()
        }
        cases.append(Case(paths["ct"], paths["lesion"], paths["lung"]))
    return cases


def test_volumes_become_cropped_slices(phantom, volumes):
    slices = load_volumes(volumes, device=torch.device("cpu"), spec=SPEC, patient=r"([ab])_ct")
    assert {s.patient for s in slices} == {"a", "b"}
    assert {s.source for s in slices} == {"own", "own_free"}
    one = [s for s in slices if s.patient == "a"]
    assert sum(int(s.mask.sum()) for s in one) == int((phantom.lesions > 0).sum())
    assert all(s.image.shape < phantom.ct.shape[1:] for s in one)
    # Lesion is denser than aerated lung, the darkest quarter of the box.
    s = max(one, key=lambda s: int(s.mask.sum()))
    assert s.image[s.mask > 0].mean() > 2 * np.percentile(s.image, 25)


@pytest.mark.parametrize("change", [{"smallest": 0.9}, {"scope": "volume"}, {"crop": "none"}])
def test_volumes_are_cropped_as_the_model_will_see_them(phantom, volumes, change):
    spec = replace(SPEC, **change)
    slices = load_volumes(volumes[:1], device=torch.device("cpu"), spec=spec)
    wanted = lung_boxes(phantom.lungs, spec)
    sizes = {s.name.rsplit("_", 1)[1]: s.image.shape for s in slices}
    assert len(sizes) > 3
    assert sizes == {k: wanted[int(k)].size for k in sizes}
    plain = lung_boxes(phantom.lungs, SPEC)
    assert any(sizes[k] != plain[int(k)].size for k in sizes)


def test_volume_problems_are_told_at_once(phantom, volumes, tmp_path):
    shorter = replace(phantom.ct, array=phantom.ct.array[:-3])
    cut = write_image(phantom.lesions[:-3], shorter, tmp_path / "cut.nii.gz")
    (tmp_path / "broken.nii.gz").write_bytes(b"nothing")
    cases = [
        Case(volumes[0].ct, cut, volumes[0].lung),
        Case(tmp_path / "broken.nii.gz", volumes[1].lesion),
        volumes[1],
    ]
    with pytest.raises(InputError, match="for 2 reasons") as error:
        load_volumes(cases, device=torch.device("cpu"), spec=SPEC)
    assert "cut.nii.gz" in str(error.value)
    assert "broken.nii.gz" in str(error.value)
