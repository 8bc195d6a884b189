"""CTVolume <-> vtkMRMLScalarVolumeNode."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct import CTVolume
from CovidLesionSegLogic.ct.grid import decompose
from CovidLesionSegLogic.ct.raw import RawVolume
from CovidLesionSegLogic.ct.values import check_size_and_spacing
from CovidLesionSegLogic.ct.volume import Vector3
from CovidLesionSegLogic.errors import InputError
from CovidLesionSegLogic.mrml.geometry import LPS_TO_RAS, allocate, image_to_array
from CovidLesionSegLogic.mrml.host import get_scene, import_slicer


def volume_to_node(ct: CTVolume, scene: Any = None, name: str | None = None) -> Any:
    """A new vtkMRMLScalarVolumeNode with the CT's voxels (copied), geometry and name.

    Parameters
    ----------
    ct
        Any orientation; spacing, origin and axes are kept to the last bit.
    scene
        The vtkMRMLScene to add the node to; default the host's.
    name
        The node's name; default the CT's.
    """
    slicer = import_slicer()
    import vtk

    scene = get_scene() if scene is None else scene
    z, y, x = ct.shape
    image = vtk.vtkImageData()
    image.SetExtent(0, x - 1, 0, y - 1, 0, z - 1)
    allocate(image, ct.array.dtype)[...] = ct.array
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName(scene.GenerateUniqueName(name or ct.name))
    node.SetSpacing(*ct.spacing)
    node.SetOrigin(*(LPS_TO_RAS * ct.origin))
    direction = LPS_TO_RAS[:, np.newaxis] * ct.direction
    node.SetIJKToRASDirections([list(row) for row in direction])
    node.SetAndObserveImageData(image)
    node = scene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    if display is not None:
        # The lung window of chest CT reading, not the whole range of values.
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(1500.0, -600.0)
    return node


def node_to_volume(node: Any) -> CTVolume:
    """The CT in a vtkMRMLScalarVolumeNode, in the node's own coordinates.

    The voxels pass the same checks as a file's (:func:`~CovidLesionSegLogic.ct.read_ct`); the array
    is a read-only view of the node's where nothing must change. A parent transform is not applied:
    results belong under the same transform, which :func:`~.segments.labels_to_segmentation` sees
    to.

    Raises
    ------
    InputError
        As of :func:`node_to_raw`, or its values are not Hounsfield units of a chest CT. The
        message names the node.
    """
    return node_to_raw(node).checked()


def node_to_raw(node: Any) -> RawVolume:
    """A read-only view of the voxels in a vtkMRMLScalarVolumeNode, with their grid.

    Takes no time whatever the size of the volume: the values are not looked at.

    Raises
    ------
    InputError
        The node is not a scalar volume, is a label map, has no voxels or several components; it
        has fewer than three slices, a voxel size no CT has, or sheared axes. The message names the
        node.
    """
    if node is None or not node.IsA("vtkMRMLScalarVolumeNode"):
        raise InputError("The input is not a volume; choose a chest CT.")
    name = node.GetName() or "ct"
    image = node.GetImageData()
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError(f"The volume '{name}' is a label map; choose the chest CT itself.")
    if image is None or image.GetPointData().GetScalars() is None or not image.GetNumberOfPoints():
        raise InputError(f"The volume '{name}' holds no image; load the chest CT again.")
    if image.GetNumberOfScalarComponents() != 1:
        raise InputError(
            f"The volume '{name}' has {image.GetNumberOfScalarComponents()} values per voxel; "
            "a CT has one, so choose a scalar volume in Hounsfield units."
        )
    where = f"The volume '{name}'"
    view = image_to_array(image).view()
    view.flags.writeable = False  # the user's CT is never changed
    origin, spacing, direction, notes = _grid(node, view.shape, where)
    check_size_and_spacing(view.shape, spacing, where)
    warnings = [*notes]
    if node.GetParentTransformNode() is not None:
        warnings.append(
            f"The volume '{name}' is under a transform; it was segmented in its own coordinates "
            "and the result was put under the same transform."
        )
    return RawVolume(
        array=view,
        origin=origin,
        spacing=spacing,
        direction=direction,
        name=name,
        where=where,
        source=_source(node),
        warnings=tuple(warnings),
    )


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    first, second, third = (float(v) for v in values)
    return first, second, third


def _grid(
    node: Any, shape: tuple[int, ...], where: str
) -> tuple[Vector3, Vector3, NDArray[np.float64], tuple[str, ...]]:
    """Origin, spacing, direction (LPS, mm) and warnings; straight axes are kept to the last bit."""
    directions = [[0.0] * 3 for _ in range(3)]
    node.GetIJKToRASDirections(directions)
    axes = LPS_TO_RAS[:, np.newaxis] * np.asarray(directions)
    affine = np.eye(4)
    affine[:3, :3] = axes * np.asarray(node.GetSpacing())
    affine[:3, 3] = LPS_TO_RAS * node.GetOrigin()
    origin, spacing, direction, warnings = decompose(affine, shape, where)
    if np.allclose(axes.T @ axes, np.eye(3), rtol=0, atol=1e-9):
        return origin, _triple(np.asarray(node.GetSpacing())), axes, warnings
    return origin, spacing, direction, warnings


def _source(node: Any) -> dict[str, Any]:
    """Identifiers for the provenance: where the node came from."""
    source: dict[str, Any] = {"format": "mrml", "node": node.GetID() or ""}
    storage = node.GetStorageNode()
    if storage is not None and storage.GetFileName():
        source["path"] = storage.GetFileName()
    series = _series_uid(node)
    if series:
        source["series_uid"] = series
    return source


def _series_uid(node: Any) -> str:
    """Series instance UID of a volume Slicer loaded from its DICOM database, or ""."""
    scene = node.GetScene()
    if scene is None:
        return ""
    hierarchy = import_slicer().vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
    return hierarchy.GetItemUID(item, "DICOM") if item else ""
