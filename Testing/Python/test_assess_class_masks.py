"""True classes of slices read from pictures, and the folders they lie in."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import io

from CovidLesionSegLogic.assess.class_masks import CLASS_MAP_RULE, find_class_masks
from CovidLesionSegLogic.assess.pictures import MASK_RULE, read_grey
from CovidLesionSegLogic.assess.slice_maps import folder_names, write_png
from CovidLesionSegLogic.errors import InputError, RequestError
from CovidLesionSegLogic.models import LesionClass

# Labels that do not follow one another: a place in the list is not a label.
CLASSES = (LesionClass("ground-glass opacity", 2), LesionClass("consolidation", 5))
IMAGE = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40


def save(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    io.imsave(path, np.array(rows, np.uint8), check_contrast=False)


@pytest.fixture
def folder(tmp_path):
    save(tmp_path / "images" / "a.png", IMAGE)
    return tmp_path


def find(folder, classes=CLASSES, masks="masks"):
    return find_class_masks(folder / "images", folder / masks, classes)


def test_a_class_map_has_the_labels_of_the_model(folder):
    save(folder / "masks" / "a.png", [[0, 2, 5], [5, 0, 2]])
    found = find(folder)
    assert found.rule == CLASS_MAP_RULE
    assert (found.classes, found.others) == (CLASSES, ())
    (pair,) = found.pairs
    assert (pair.name, pair.image) == ("a", folder / "images" / "a.png")
    assert pair.masks == (folder / "masks" / "a.png",)
    image, truth = found.read(pair)
    assert image.tolist() == IMAGE.tolist()
    assert truth.any_lesion.tolist() == [[0, 1, 1], [1, 0, 1]]
    opacity, consolidation = truth.classes
    assert opacity.tolist() == [[0, 1, 0], [0, 0, 1]]
    assert consolidation.tolist() == [[0, 0, 1], [1, 0, 0]]


def test_a_class_that_is_absent_is_an_empty_mask(folder):
    save(folder / "masks" / "a.png", [[0, 5, 5], [0, 0, 0]])
    found = find(folder)
    _, truth = found.read(found.pairs[0])
    assert not truth.classes[0].any()
    assert truth.classes[1].sum() == 2
    save(folder / "masks" / "a.png", np.zeros((2, 3)))
    _, truth = found.read(found.pairs[0])
    assert not truth.any_lesion.any()
    assert [mask.any() for mask in truth.classes] == [False, False]


def test_one_pixel_of_unknown_class_leaves_any_lesion(folder):
    save(folder / "masks" / "a.png", [[0, 2, 255], [5, 0, 0]])
    found = find(folder)
    _, truth = found.read(found.pairs[0])
    assert truth.any_lesion.tolist() == [[0, 1, 1], [1, 0, 0]]
    assert truth.classes is None


@pytest.mark.parametrize("value", [1, 3, 254])
def test_a_label_of_no_class_is_refused_by_name(folder, value):
    save(folder / "masks" / "a.png", [[0, 2, value], [5, 0, 255]])
    found = find(folder)
    with pytest.raises(InputError) as refused:
        found.read(found.pairs[0])
    message = str(refused.value)
    for words in ("a.png", f"value {value},", "2 ground-glass opacity, 5 consolidation"):
        assert words in message


def test_of_one_class_the_mask_is_that_class(folder):
    save(folder / "masks" / "a.png", [[0, 127, 128], [255, 0, 0]])  # soft borders
    found = find(folder, CLASSES[1:])
    assert found.rule == MASK_RULE
    _, truth = found.read(found.pairs[0])
    assert truth.any_lesion.tolist() == [[0, 0, 1], [1, 0, 0]]
    (only,) = truth.classes
    assert only.tolist() == truth.any_lesion.tolist()


def test_a_folder_for_each_class(folder):
    save(folder / "masks" / "Consolidation" / "a.png", [[0, 0, 255], [255, 0, 0]])
    save(folder / "masks" / "ground-glass  OPACITY" / "a.png", [[0, 1, 1], [0, 0, 0]])
    others = ("zebra", "effusion", "nodule", "bands", "fibrosis", "halo", "mosaic")
    for other in (*others, ".hidden"):
        (folder / "masks" / other).mkdir()
    (folder / "masks" / "read me.txt").touch()
    found = find(folder)
    assert found.rule == f"one folder of masks per class; in each, {MASK_RULE}"
    assert found.others == tuple(sorted(others))
    (pair,) = found.pairs
    assert [path.parent.name for path in pair.masks] == ["ground-glass  OPACITY", "Consolidation"]
    assert (pair.name, pair.image.name) == ("a", "a.png")
    image, truth = found.read(pair)
    assert image.tolist() == IMAGE.tolist()
    # The two may overlap: a pixel of both belongs to both, and to any lesion once.
    assert truth.classes[0].tolist() == [[0, 1, 1], [0, 0, 0]]
    assert truth.classes[1].tolist() == [[0, 0, 1], [1, 0, 0]]
    assert truth.any_lesion.tolist() == [[0, 1, 1], [1, 0, 0]]


def test_alike_names_have_folders_with_their_labels(folder):
    twins = (LesionClass("Patch", 2), LesionClass("patch", 5))
    save(folder / "masks" / "patch_5" / "a.png", [[0, 0, 255], [0, 0, 0]])
    save(folder / "masks" / "patch_2" / "a.png", [[255, 0, 0], [0, 0, 0]])
    found = find(folder, twins)
    assert [path.parent.name for path in found.pairs[0].masks] == ["patch_2", "patch_5"]
    # The name alone would be that of both: neither may silently take the other's masks.
    save(folder / "one" / "Patch" / "a.png", [[0, 0, 255], [0, 0, 0]])
    with pytest.raises(RequestError, match="2 classes of the model: name the folders Patch_2, "):
        find(folder, twins, "one")
    assert folder_names([*twins, LesionClass("a  b/c", 7)]) == ["Patch_2", "patch_5", "a_b_c"]


def test_a_folder_may_have_the_name_as_it_is(folder):
    odd = (LesionClass("a: b", 2), LesionClass("consolidation", 5))
    assert folder_names(odd) == ["a__b", "consolidation"]
    for name in ("a: b", "consolidation"):
        save(folder / "masks" / name / "a.png", np.zeros((2, 3)))
    assert find(folder, odd).pairs[0].masks[0].parent.name == "a: b"


def test_folders_that_do_not_do(folder):
    with pytest.raises(RequestError, match="masks is not a folder"):
        find(folder)
    save(folder / "masks" / "consolidation" / "a.png", np.zeros((2, 3)))
    with pytest.raises(RequestError, match="but none for 'ground-glass opacity'"):
        find(folder)


def test_a_written_picture_is_read_back(tmp_path):
    write_png(IMAGE, tmp_path / "map.png")
    assert read_grey(tmp_path / "map.png").tolist() == IMAGE.tolist()
