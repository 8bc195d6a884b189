"""Canonical axes, window, atomic files, names, masks on the CT's grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from CovidLesionSegLogic.ct import (
    CTVolume,
    atomic_path,
    read_labels,
    to_canonical,
    window,
    write_image,
)
from CovidLesionSegLogic.ct.formats import study_name
from CovidLesionSegLogic.errors import InputError, RequestError

finite = st.floats(-1.0, 1.0)


@st.composite
def volumes(draw: st.DrawFn) -> CTVolume:
    """Any rotation or reflection, any small shape."""
    axis = np.array([draw(finite), draw(finite), draw(finite)])
    axis = axis / np.linalg.norm(axis) if np.linalg.norm(axis) > 1e-3 else np.array([0, 0, 1.0])
    angle = draw(st.floats(-3.14, 3.14))
    rotation = np.array(sitk.VersorTransform(axis.tolist(), angle).GetMatrix()).reshape(3, 3)
    rotation = rotation[:, draw(st.permutations([0, 1, 2]))] * [
        draw(st.sampled_from([1, -1])),
        1,
        1,
    ]
    shape = draw(st.tuples(*[st.integers(1, 5)] * 3))
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    spacing = draw(st.tuples(*[st.floats(0.3, 6.0)] * 3))
    return CTVolume(array, (10.0, -20.0, 30.0), spacing, rotation)


@given(volumes())
@settings(max_examples=60, deadline=None)
def test_canonical_axes_and_back_voxel_for_voxel(ct: CTVolume) -> None:
    canonical, reorientation = to_canonical(ct)
    assert np.shares_memory(canonical.array, ct.array)
    np.testing.assert_array_equal(reorientation.restore(canonical.array), ct.array)
    np.testing.assert_array_equal(reorientation.apply(ct.array), canonical.array)
    # each voxel (a unique number) stays where it is in the patient
    for k, j, i in np.ndindex(canonical.shape):
        z, y, x = np.argwhere(ct.array == canonical.array[k, j, i])[0]
        np.testing.assert_allclose(
            canonical.affine @ [i, j, k, 1], ct.affine @ [x, y, z, 1], atol=1e-6
        )
    # the assignment is the best of all: no other permutation has a larger sum of cosines
    best = np.trace(canonical.direction)
    for other in ([0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]):
        assert np.abs(np.diag(canonical.direction[:, other])).sum() <= best + 1e-9
    assert (np.diag(canonical.direction) >= 0).all()
    # a canonical volume is left alone
    again, identity = to_canonical(canonical)
    assert (identity.axes, identity.flips) == ((0, 1, 2), (False, False, False))
    assert again.array.strides == canonical.array.strides
    # leading axes (classes) travel along
    maps = np.stack([canonical.array, -canonical.array])
    np.testing.assert_array_equal(reorientation.restore(maps), np.stack([ct.array, -ct.array]))


@pytest.mark.parametrize(("degrees", "warned"), [(0, 0), (19, 0), (21, 1)])
def test_oblique_volumes_are_said(degrees: float, warned: int) -> None:
    matrix = sitk.VersorTransform((1.0, 0.0, 0.0), np.radians(degrees)).GetMatrix()
    ct = CTVolume(np.zeros((2, 3, 4), np.int16), direction=np.array(matrix).reshape(3, 3))
    assert len(to_canonical(ct)[0].warnings) == warned


def test_itk_agrees_on_canonical_axes() -> None:
    matrix = sitk.VersorTransform((0.0, 0.3, 1.0), 0.2).GetMatrix()
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    ct = CTVolume(array, (1.0, 2.0, 3.0), (0.7, 0.8, 2.0), np.array(matrix).reshape(3, 3))
    image = sitk.GetImageFromArray(ct.array)
    image.SetOrigin(ct.origin)
    image.SetSpacing(ct.spacing)
    image.SetDirection(ct.direction.ravel().tolist())
    turned = sitk.DICOMOrient(image, "PIR")
    odd = CTVolume(
        sitk.GetArrayFromImage(turned),
        turned.GetOrigin(),
        turned.GetSpacing(),
        np.array(turned.GetDirection()).reshape(3, 3),
    )
    canonical, _ = to_canonical(odd)
    expected, _ = to_canonical(ct)
    np.testing.assert_array_equal(canonical.array, expected.array)
    np.testing.assert_allclose(canonical.affine, expected.affine, atol=1e-9)


def test_window() -> None:
    hu = np.array([[-2000, -1350, -600, 150, 3000]], np.int16)
    result = window(hu, -1350, 150)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, [[0, 0, 0.5, 1, 1]], atol=1e-6)
    out = np.empty(hu.shape, np.float32)
    assert window(hu, -1350, 150, out=out) is out
    np.testing.assert_array_equal(out, result)
    with pytest.raises(ValueError, match="low < high"):
        window(hu, 100, 100)
    with pytest.raises(ValueError, match="float32"):
        window(hu, 0, 1, out=np.empty((1, 5)))


def test_atomic_path_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.nii.gz"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.name.endswith(".nii.gz")
        temporary.write_text("one")
        assert not target.exists()
    assert target.read_text() == "one"

    def fail() -> None:
        with atomic_path(target) as half:
            half.write_text("two")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert target.read_text() == "one"
    with pytest.raises(FileNotFoundError), atomic_path(target):
        pass
    assert [file.name for file in target.parent.iterdir()] == ["a.nii.gz"]


def test_atomic_path_refuses_what_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="cannot be created"), atomic_path(tmp_path / "file/a"):
        pass
    with pytest.raises(RequestError, match="is a folder"), atomic_path(tmp_path):
        pass
    with pytest.raises(RequestError, match="free some space"), atomic_path(tmp_path / "a"):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("ct.nii.gz", "ct"), ("P001.NRRD", "P001"), ("a b/../Müller, A (1).mha", "Müller_A_1"),
        ("v1.2", "v1.2"), ("...", "ct"), ("con.nii", "con_ct"), ("x" * 200 + ".nii", "x" * 80),
        (".nii", "nii"), ("a/b.dcm", "b"),
    ],
)  # fmt: skip
def test_study_names(tmp_path: Path, file: str, name: str) -> None:
    assert study_name(tmp_path / file) == name


LIKE = CTVolume(np.zeros((6, 8, 10), np.int16), (-5.0, 3.0, 100.0), (0.7, 0.8, 2.0))
MASK = np.zeros(LIKE.shape, np.uint8)
MASK[1:4, 2:6, 3:7] = 2


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".seg.nrrd"])
def test_labels_on_the_same_grid(tmp_path: Path, suffix: str) -> None:
    path = write_image(MASK, LIKE, tmp_path / f"mask{suffix}")
    notes: list[str] = []
    labels = read_labels(path, LIKE, notes=notes)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, MASK)
    assert notes == []


def test_labels_on_other_axes_are_resampled(tmp_path: Path) -> None:
    turned = sitk.DICOMOrient(
        sitk.ReadImage(str(write_image(MASK, LIKE, tmp_path / "m.nrrd"))), "PIR"
    )
    sitk.WriteImage(sitk.Cast(turned, sitk.sitkFloat64), str(tmp_path / "turned.nii"))
    notes: list[str] = []
    np.testing.assert_array_equal(read_labels(tmp_path / "turned.nii", LIKE, notes=notes), MASK)
    assert len(notes) == 1
    assert "another grid" in notes[0]


def test_cropped_labels_are_put_back(tmp_path: Path) -> None:
    origin = (LIKE.affine @ [2, 1, 1, 1])[:3]
    part = CTVolume(np.zeros((4, 6, 7), np.int16), tuple(origin), LIKE.spacing)
    write_image(MASK[1:5, 1:7, 2:9], part, tmp_path / "part.nrrd")
    np.testing.assert_array_equal(read_labels(tmp_path / "part.nrrd", LIKE), MASK)


def test_labels_of_another_patient_are_refused(tmp_path: Path) -> None:
    far = CTVolume(LIKE.array, (900.0, 0.0, 0.0), LIKE.spacing)
    write_image(MASK, far, tmp_path / "far.nrrd")
    with pytest.raises(InputError, match="overlap"):
        read_labels(tmp_path / "far.nrrd", LIKE)


@pytest.mark.parametrize("value", [-1.0, 300.0, 0.5, np.nan])
def test_what_is_no_label_map_is_refused(tmp_path: Path, value: float) -> None:
    array = np.zeros(LIKE.shape, np.float32)
    array[0, 0, 0] = value
    write_image(array, LIKE, tmp_path / "x.nrrd")
    with pytest.raises(InputError, match="not labels"):
        read_labels(tmp_path / "x.nrrd", LIKE)
    with pytest.raises(InputError, match="is DICOM"):
        read_labels(tmp_path, LIKE)
