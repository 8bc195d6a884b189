"""CT volumes as MRML nodes and back."""

from __future__ import annotations

import builtins
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from CovidLesionSegLogic.ct import CTVolume
from CovidLesionSegLogic.errors import InputError, RequestError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
mrml = pytest.importorskip("CovidLesionSegLogic.mrml")


def rotation(x: float, y: float, z: float) -> np.ndarray:
    """Rotation by x, y, z radians about the axes."""
    cx, sx, cy, sy, cz, sz = np.cos(x), np.sin(x), np.cos(y), np.sin(y), np.cos(z), np.sin(z)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def oblique_ct(dtype: type = np.int16) -> CTVolume:
    """A small CT with oblique, left-handed axes."""
    array = np.random.default_rng(3).integers(-1000, 400, (5, 6, 7)).astype(dtype)
    direction = rotation(0.1, -0.23, 1.9) @ np.diag([1.0, -1.0, 1.0])
    return CTVolume(array, (-101.3, 57.25, 1e3 / 7), (0.7, 0.71, 2.5), direction, "study 7")


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_round_trip_keeps_voxels_and_oblique_geometry_exactly(dtype: type) -> None:
    ct = oblique_ct(dtype)
    back = mrml.node_to_volume(mrml.volume_to_node(ct))
    assert back.array.dtype == dtype
    np.testing.assert_array_equal(back.array, ct.array)
    assert back.origin == ct.origin
    assert back.spacing == ct.spacing
    np.testing.assert_array_equal(back.direction, ct.direction)


def test_ras_of_a_voxel_is_its_lps_with_two_signs_changed() -> None:
    ct = oblique_ct()
    node = mrml.volume_to_node(ct)
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    ras = np.array(matrix.MultiplyPoint((3.0, 4.0, 2.0, 1.0))[:3])
    lps = (ct.affine @ [3, 4, 2, 1])[:3]
    np.testing.assert_allclose(ras, lps * [-1, -1, 1], rtol=0, atol=1e-12)
    # Slicer's own array access sees voxel (i, j, k) = (3, 4, 2) at [2, 4, 3].
    assert slicer.util.arrayFromVolume(node)[2, 4, 3] == ct.array[2, 4, 3]


def test_node_copies_the_array_and_volume_is_a_read_only_view_of_the_node() -> None:
    ct = oblique_ct()
    node = mrml.volume_to_node(ct)
    voxels = slicer.util.arrayFromVolume(node)
    voxels[0, 0, 0] += 1
    assert ct.array[0, 0, 0] != voxels[0, 0, 0]
    back = mrml.node_to_volume(node)
    assert np.shares_memory(back.array, voxels)
    with pytest.raises(ValueError, match="read-only"):
        back.array[0, 0, 0] = 0


def node_of(array: np.ndarray, name: str = "study 7") -> object:
    """A volume node with these voxels, whatever their type, on the oblique CT's grid."""
    import vtk

    from CovidLesionSegLogic.mrml.geometry import allocate

    node = mrml.volume_to_node(oblique_ct(), name=name)
    image = vtk.vtkImageData()
    image.SetDimensions(*array.shape[::-1])
    allocate(image, array.dtype)[...] = array
    node.SetAndObserveImageData(image)
    return node


@pytest.mark.parametrize(
    ("dtype", "offset", "expected"),
    [
        (np.int32, 0, np.int16),
        (np.float64, 0, np.int16),
        (np.float64, 0.25, np.float32),
        (np.int64, 0, np.int16),
    ],
)
def test_other_voxel_types_are_converted(dtype: type, offset: float, expected: type) -> None:
    voxels = (oblique_ct().array + offset).astype(dtype)
    array = mrml.node_to_volume(node_of(voxels)).array
    assert array.dtype == expected
    np.testing.assert_array_equal(array, voxels.astype(expected))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda hu: hu - hu.min(), "offset"),
        (lambda hu: (hu + 1024).astype(np.uint16), "1024"),
        (lambda hu: ((hu + 1000) / 6).astype(np.uint8), "8-bit"),
        (lambda hu: np.clip(hu, -160, 240), "lung air"),
        (lambda hu: hu[:1], "1 slice"),
        (lambda hu: hu[:2], "2 slice"),
        (lambda hu: np.where(hu == hu[2, 3, 3], np.nan, hu), "NaN or infinity"),
        (lambda hu: np.where(hu == hu[2, 3, 3], np.inf, hu), "NaN or infinity"),
    ],
)
def test_volumes_that_are_no_chest_ct_are_refused_by_name(
    change: Callable[[np.ndarray], np.ndarray], words: str
) -> None:
    node = node_of(change(oblique_ct().array), name=f"series {words}")
    with pytest.raises(InputError, match=words) as caught:
        mrml.node_to_volume(node)
    message = str(caught.value)
    assert message.startswith(f"The volume '{node.GetName()}'")
    assert ": " in message


def test_a_nan_background_becomes_air_and_is_said() -> None:
    array = oblique_ct(np.float32).array
    array[:, :, 0] = np.nan
    back = mrml.node_to_volume(node_of(array))
    assert (back.array[:, :, 0] == -1024).all()
    np.testing.assert_array_equal(back.array[:, :, 1:], array[:, :, 1:])
    assert any("NaN" in text for text in back.warnings)


def test_values_below_air_are_set_to_air_in_a_copy_only() -> None:
    array = oblique_ct().array
    array[0, 0, 0] = -3024
    node = node_of(array)
    voxels = slicer.util.arrayFromVolume(node)
    back = mrml.node_to_volume(node)
    assert back.array[0, 0, 0] == -1024
    assert voxels[0, 0, 0] == -3024
    assert not np.shares_memory(back.array, voxels)


def test_a_sheared_or_absurdly_sized_volume_is_refused_by_name() -> None:
    node = mrml.volume_to_node(oblique_ct(), name="tilted")
    node.SetIJKToRASDirections([[1, 0, 0], [0, 1, 0.5], [0, 0, 0.866]])
    with pytest.raises(InputError, match=r"'tilted.*sheared.*Resample Scalar Volume"):
        mrml.node_to_volume(node)
    node.SetIJKToRASDirections([[1, 0, 0], [0, 1, 1e-3], [0, 0, 1]])
    slight = mrml.node_to_volume(node)
    np.testing.assert_allclose(slight.direction.T @ slight.direction, np.eye(3), atol=1e-12)
    assert slight.warnings == ()
    node.SetSpacing(0.7, 0.7, 90.0)
    with pytest.raises(InputError, match=r"'tilted.*voxel size"):
        mrml.node_to_volume(node)


def test_names_are_kept_unique_and_source_names_the_node() -> None:
    ct = oblique_ct()
    first, second = mrml.volume_to_node(ct, name="same"), mrml.volume_to_node(ct, name="same")
    assert first.GetName() == "same"
    assert second.GetName() != "same"
    assert mrml.node_to_volume(first).source["node"] == first.GetID()
    assert mrml.node_to_volume(first).name == "same"


def test_a_transformed_volume_is_read_in_its_own_coordinates_with_a_warning() -> None:
    ct = oblique_ct()
    node = mrml.volume_to_node(ct)
    transform = mrml.get_scene().AddNewNodeByClass("vtkMRMLLinearTransformNode")
    import vtk

    shift = vtk.vtkTransform()
    shift.Translate(10, 20, 30)
    transform.SetMatrixTransformToParent(shift.GetMatrix())
    node.SetAndObserveTransformNodeID(transform.GetID())
    back = mrml.node_to_volume(node)
    assert back.origin == ct.origin
    assert any("transform" in warning for warning in back.warnings)


def test_what_is_not_a_ct_is_refused() -> None:
    scene = mrml.get_scene()
    with pytest.raises(InputError, match="not a volume"):
        mrml.node_to_volume(None)
    with pytest.raises(InputError, match="not a volume"):
        mrml.node_to_volume(scene.AddNewNodeByClass("vtkMRMLSegmentationNode"))
    with pytest.raises(InputError, match="holds no image"):
        mrml.node_to_volume(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"))
    with pytest.raises(InputError, match="label map"):
        mrml.node_to_volume(scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels"))
    import vtk

    color = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photograph")
    image = vtk.vtkImageData()
    image.SetDimensions(2, 2, 2)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    color.SetAndObserveImageData(image)
    with pytest.raises(InputError, match="3 values per voxel"):
        mrml.node_to_volume(color)


def test_missing_slicer_core_says_how_to_mend_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_slicer(name: str, *args: object, **kwargs: object) -> object:
        if name == "slicer":
            raise ImportError("No module named 'slicer'")
        return real(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_slicer)
    with pytest.raises(RequestError, match=r"pip install \"covid-lesion-seg\[slicer\]\".*nii\.gz"):
        mrml.get_host()


def test_importing_the_room_loads_neither_slicer_nor_vtk(repository: Path) -> None:
    code = (
        "import sys, CovidLesionSegLogic.mrml;"
        "sys.exit([m for m in ('slicer', 'vtk', 'torch') if m in sys.modules] or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_application_is_used_where_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    standalone = mrml.get_host()
    assert not standalone.is_application
    assert slicer.mrmlScene is standalone.scene
    application = SimpleNamespace(applicationLogic=lambda: standalone.logics["application"])
    monkeypatch.setattr(slicer, "app", application, raising=False)
    host = mrml.get_host()
    assert host.is_application
    assert host.scene is slicer.mrmlScene
    assert host.logics["segmentations"] is slicer.modules.segmentations.logic()
