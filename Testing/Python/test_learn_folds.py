"""Tables of images, folds, census and the published augmentation."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import io

from CovidLesionSegLogic.errors import InputError
from CovidLesionSegLogic.learn.census import (
    CensusRow,
    Counted,
    census_by_label,
    census_by_part,
    census_by_severity,
    count_lesions,
    count_records,
)
from CovidLesionSegLogic.learn.folds import (
    FOLDS,
    FoldManifest,
    Patient,
    make_folds,
    patients_of,
    select_fold,
)
from CovidLesionSegLogic.learn.image_table import (
    COVID,
    ImageRecord,
    read_image_table,
    read_slice,
    segmentation_slices,
)
from CovidLesionSegLogic.learn.published_augmentation import (
    FivefoldBatches,
    FivefoldOrder,
    apply_variant,
)
from CovidLesionSegLogic.learn.sources import Slice

STRATA = st.one_of(
    st.tuples(st.just(COVID), st.sampled_from(["mild", "moderate", "severe", None]), st.booleans()),
    st.tuples(st.sampled_from(["healthy", "bacterial pneumonia"]), st.none(), st.booleans()),
)
PATIENTS = st.lists(STRATA, min_size=FOLDS, max_size=80).map(
    lambda strata: [Patient(f"p{i}", *stratum) for i, stratum in enumerate(strata)]
)


@settings(max_examples=60, deadline=None)
@given(PATIENTS, st.integers(0, 2**31), st.randoms())
def test_folds_are_whole_disjoint_stratified_and_know_no_order(patients, seed, random):
    shuffled = list(patients)
    random.shuffle(shuffled)
    manifest = make_folds(shuffled, seed=seed)
    assert manifest == make_folds(patients, seed=seed)
    everyone = sorted(p.name for p in patients)
    assert sorted(name for fold in manifest.folds for name in fold.test) == everyone
    groups = {"all": everyone}
    for p in patients:
        for key in (p.label, (p.label, p.outlined), (p.label, p.outlined, p.severity)):
            groups.setdefault(key, []).append(p.name)
    for fold in manifest.folds:
        assert sorted(name for part in fold for name in part) == everyone
        assert all(fold)
        for members in groups.values():
            tested = len(set(members) & set(fold.test))
            validating = len(set(members) & set(fold.validation))
            assert abs(tested - len(members) / 5) < 1
            assert abs(validating - len(members) / 10) < 1


def test_the_papers_own_numbers_give_its_table_3():
    """226 patients: 158 / 22 / 46 in the paper, by 70/10/20 to within one patient here."""
    grades = {"mild": 51, "moderate": 75, "severe": 100}
    patients = [Patient(f"{g}{i}", COVID, g, True) for g, n in grades.items() for i in range(n)]
    for fold in make_folds(patients).folds:
        assert len(fold.test) in (45, 46)
        assert len(fold.validation) in (22, 23)


def test_seeds_deal_differently():
    patients = [Patient(f"p{i}", COVID) for i in range(30)]
    assert make_folds(patients, seed=0) != make_folds(patients, seed=1)


def test_too_few_patients_are_told():
    patients = [Patient(f"p{i}", COVID) for i in range(4)]
    with pytest.raises(InputError, match=r"too few patients for 5 folds \(4\)"):
        make_folds(patients)
    with pytest.raises(ValueError, match="'p0' is named twice"):
        make_folds([*patients, patients[0]])


def test_folds_written_are_the_folds_read(tmp_path: Path):
    manifest = make_folds([Patient(f"ä{i}", COVID) for i in range(7)], seed=3)
    manifest.to_json(tmp_path / "one.json")
    make_folds([Patient(f"ä{i}", COVID) for i in range(7)], seed=3).to_json(tmp_path / "two.json")
    assert FoldManifest.from_json(tmp_path / "one.json") == manifest
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    assert manifest.fold(4) == manifest.folds[4]
    with pytest.raises(ValueError, match="0 to 4"):
        manifest.fold(5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.pop("folds"), "no list 'folds'"),
        (lambda d: d["folds"].pop(), "4 folds and not 5"),
        (lambda d: d["folds"][1].pop("test"), "'test' of fold 2 is no list"),
        (lambda d: d["folds"][1]["validation"].clear(), "'validation' of fold 2 names no patient"),
        (lambda d: d["folds"][0]["training"].append(d["folds"][0]["test"][0]), "twice in fold 1"),
        (lambda d: d["folds"][0]["training"].pop(), "is not in fold 1"),
        (lambda d: d["folds"].__setitem__(1, d["folds"][0]), "twice in the test parts"),
    ],
)
def test_wrong_folds_are_told(tmp_path: Path, change, said: str):
    data = make_folds([Patient(f"p{i}", COVID) for i in range(9)]).to_dict()
    change(data)
    (tmp_path / "folds.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match=said) as error:
        FoldManifest.from_json(tmp_path / "folds.json")
    assert "folds.json" in str(error.value)


def test_no_item_of_one_patient_is_on_two_sides():
    patients = [Patient(f"p{i}", COVID) for i in range(10)]
    items = [Counted(f"p{i % 10}", COVID) for i in range(40)]
    fold = make_folds(patients).fold(2)
    parts = select_fold(items, fold)
    assert [len(part) for part in parts] == [28, 4, 8]
    assert [tuple(sorted({i.patient for i in part})) for part in parts] == list(fold)
    with pytest.raises(InputError, match="do not name the patients stranger"):
        select_fold([*items, Counted("stranger", COVID)], fold)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two patients with outlines (one by classes, one by files), one without, one healthy."""
    rng = np.random.default_rng(0)
    for name in "abcd":
        io.imsave(
            tmp_path / f"{name}.png",
            rng.integers(0, 256, (40, 48), dtype=np.uint8),
            check_contrast=False,
        )
    classes = np.zeros((40, 48), np.uint8)
    classes[2:6, 2:6], classes[6:9, 6:9], classes[20:24, 20:24] = 1, 1, 2
    classes[30:32, 30:32] = 255
    binary = np.zeros((40, 48), np.uint8)
    binary[10:20, 10:20] = 255
    for name, mask in (("a_mask", classes), ("b_2", binary)):
        io.imsave(tmp_path / f"{name}.png", mask, check_contrast=False)
    (tmp_path / "table.csv").write_text(
        "image;patient;label;severity;mask;mask_2\n"
        "a.png;p1;COVID-19;mild;a_mask.png;\n"
        "b.png;p2;COVID-19;severe;;b_2.png\n"
        "\n"
        "c.png;p3;COVID-19;;;\n"
        "d.png;p4;healthy;;;\n",
        encoding="utf-8-sig",
    )
    return tmp_path / "table.csv"


def test_a_table_is_read(table: Path):
    records = read_image_table(table)
    assert [r.patient for r in records] == ["p1", "p2", "p3", "p4"]
    assert records[0].masks == {0: table.parent / "a_mask.png"}
    assert [r.severity for r in records] == ["mild", "severe", None, None]
    assert [(r.positive, r.segments) for r in records] == [
        (True, True),
        (True, True),
        (True, False),
        (False, True),
    ]
    assert patients_of(records)[0] == Patient("p1", COVID, "mild", True)
    slices = segmentation_slices(records, 2)
    assert [s.patient for s in slices] == ["p1", "p2", "p4"]
    assert Counter(slices[0].mask.ravel().tolist()) == {0: 40 * 48 - 45, 1: 25, 2: 16, 255: 4}
    assert set(np.unique(slices[1].mask)) == {0, 2}
    assert not slices[2].mask.any()


def test_one_class_takes_every_value_for_lesion(table: Path):
    one = read_slice(read_image_table(table)[0], 1)
    assert np.unique(one.mask).tolist() == [0, 1]
    assert one.mask.sum() == 45


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a.png,p1,,mild,", r"Row 3 of .*: its label is empty"),
        ("e.png,p1,COVID-19,mild,", r"Row 3 .*e\.png is no file"),
        ("b.png,p1,COVID-19,mild,e.png", r"e\.png is no file"),
        ("b.png,p2,COVID-19,bad,", "its severity is 'bad': write mild, moderate, severe"),
        ("b.png,p2,healthy,mild,", "its label is not 'COVID-19'"),
        ("b.png,p2,covid,,", "its label is 'covid': write 'COVID-19'"),
        ("b.png,p1,healthy,,", "another label in row 2"),
        ("b.png,p1,COVID-19,severe,", "another severity in row 2"),
        ("a.png,p1,COVID-19,mild,", "row 2 names the same image"),
        ("b.png,p1", "Row 3 of .* has 2 values for 5 columns"),
    ],
)
def test_a_wrong_row_is_told(table: Path, row: str, said: str):
    path = table.with_name("other.csv")
    path.write_text(f"image,patient,label,severity,mask\na.png,p1,COVID-19,mild,\n{row}\n")
    with pytest.raises(InputError, match=said) as error:
        read_image_table(path)
    assert str(error.value).count(". ") == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no column 'image'"),
        ("image,patient\n", "names no column 'label'"),
        ("image,patient,label,severty\n", "unknown column 'severty'"),
        ("image,patient,label,label\n", "'label' twice"),
        ("image,patient,label\n", "names no image"),
        ("image,patient,label,mask,mask_1\na.png,p,x,a.png,a.png\n", "both a mask of all classes"),
    ],
)
def test_a_wrong_table_is_told(table: Path, text: str, said: str):
    path = table.with_name("other.csv")
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_image_table(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_image_table(table.with_name("none.csv"))


def test_wrong_pictures_are_told(table: Path):
    records = read_image_table(table)
    with pytest.raises(InputError, match=r"b_2\.png cannot be used: it is of class 2"):
        read_slice(
            ImageRecord(records[1].image, "p2", COVID, {2: records[1].masks[2], 3: Path("x")}), 1
        )
    three = np.zeros((40, 48), np.uint8)
    three[:9, :9] = 3
    io.imsave(table.with_name("three.png"), three, check_contrast=False)
    record = ImageRecord(records[0].image, "p", COVID, {0: table.with_name("three.png")})
    with pytest.raises(InputError, match=r"three\.png cannot be used: it marks the class 3"):
        read_slice(record, 2)
    io.imsave(table.with_name("small.png"), three[:20], check_contrast=False)
    record = ImageRecord(records[0].image, "p", COVID, {0: table.with_name("small.png")})
    with pytest.raises(InputError, match=r"48 x 20 pixels but its image 48 x 40"):
        read_slice(record, 3)


def test_lesions_are_components_of_a_class():
    mask = np.zeros((12, 12), np.uint8)
    mask[1, 1] = mask[2, 2] = 1  # touch at a corner
    mask[5, 5], mask[5, 6] = 1, 2
    mask[9, 9] = 255
    assert count_lesions(mask, 2) == (2, 1, 1)
    assert count_lesions(mask, 3) == (2, 1, 0, 1)


def test_the_census_counts_patients_slices_and_lesions(table: Path):
    counted = count_records(read_image_table(table), 2)
    assert [c.lesions for c in counted] == [(1, 1, 1), (0, 1, 0), None, None]
    assert census_by_severity(counted) == [
        CensusRow("mild", 1, 1, (1, 1, 1)),
        CensusRow("moderate", 0, 0, None),
        CensusRow("severe", 1, 1, (0, 1, 0)),
        CensusRow("total", 2, 2, (1, 2, 1)),
    ]
    assert [(r.name, r.patients) for r in census_by_label(counted)] == [
        (COVID, 3),
        ("healthy", 1),
        ("total", 4),
    ]


def test_the_census_of_a_fold_adds_up():
    images = [Counted(f"p{i % 20}", COVID, None, (i % 3, 1, 0)) for i in range(60)]
    images += [Counted(f"h{i}", "healthy") for i in range(10)]
    patients = [Patient(p, label) for p, label in {(i.patient, i.label) for i in images}]
    rows = census_by_part(images, make_folds(patients).fold(0))
    assert [(r.name, r.patients, r.slices) for r in rows] == [
        ("training", 14, 42),
        ("validation", 2, 6),
        ("test", 4, 12),
        ("total", 20, 60),
    ]
    assert rows[3].lesions == (60, 60, 0)
    assert tuple(map(sum, zip(*(r.lesions for r in rows[:3]), strict=True))) == rows[3].lesions
    assert [r.name for r in census_by_severity(images)][-2:] == ["not stated", "total"]


def test_the_variants_are_rotations_and_a_horizontal_flip():
    image = np.array([[1, 2, 3], [4, 5, 6]])
    assert apply_variant(image, 0).tolist() == image.tolist()
    assert apply_variant(image, 1).tolist() == [[3, 6], [2, 5], [1, 4]]
    assert apply_variant(image, 2).tolist() == [[6, 5, 4], [3, 2, 1]]
    assert apply_variant(image, 3).tolist() == [[4, 1], [5, 2], [6, 3]]
    assert apply_variant(image, 4).tolist() == [[3, 2, 1], [6, 5, 4]]
    with pytest.raises(ValueError, match="0 to 4"):
        apply_variant(image, 5)


def test_an_epoch_sees_all_five_of_every_slice_once():
    order = FivefoldOrder(3012, 8)
    assert order.total == 15060  # as in the paper
    small = FivefoldOrder(4, 3, seed=1)
    assert small.steps_per_epoch == 7
    epochs = [[pair for step in range(7 * e, 7 * e + 7) for pair in small(step)] for e in range(2)]
    for epoch in epochs:
        assert set(epoch) == {(i, v) for i in range(4) for v in range(5)}
        assert epoch[:1] == epoch[20:]  # filled up from its beginning
    assert epochs[0] != epochs[1]
    assert small(9) == FivefoldOrder(4, 3, seed=1)(9)
    assert small(9) != FivefoldOrder(4, 3, seed=2)(9)


def test_fivefold_batches_turn_masks_with_their_images():
    image = np.zeros((32, 32), np.uint8)
    image[2:10, 18:30] = 255
    classes = np.zeros_like(image)
    classes[image > 0] = 2
    unnamed = np.where(image > 0, np.uint8(255), 0).astype(np.uint8)
    slices = [Slice(image, m, n, "own", n) for n, m in (("a", classes), ("b", unnamed))]
    batches = FivefoldBatches(slices, 3, batch_size=10, size=32)
    batch = batches(0)
    assert batch.images.shape == (10, 3, 32, 32)
    assert batch.masks.shape == (10, 3, 32, 32)
    assert batch.known.tolist() == [index == 0 for index, _ in batches.order(0)]
    lesion = batch.images[:, 0] > batch.images.mean()
    for i, known in enumerate(batch.known):
        assert torch.equal(batch.masks[i, 1] > 0, lesion[i])
        assert float(batch.masks[i, 0].sum()) == (0 if known else float(lesion[i].sum()))
    assert len({tuple(m.flatten().tolist()) for m in lesion}) == 5
    assert torch.equal(batch.masks, FivefoldBatches(slices, 3, batch_size=10, size=32)(0).masks)
