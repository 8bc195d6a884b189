"""Label arrays -> one vtkMRMLSegmentationNode.

All lesion classes share one layer (one uint8 image of the lesions' bounding box); the lungs, which
overlap the lesions, share a second one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.errors import CovidLesionSegError
from CovidLesionSegLogic.mrml.geometry import allocate, ijk_to_ras, to_vtk_matrix
from CovidLesionSegLogic.mrml.host import get_scene, import_slicer
from CovidLesionSegLogic.mrml.terminology import (
    LEFT_LUNG,
    RIGHT_LUNG,
    Entry,
    entry_for,
    tag_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from CovidLesionSegLogic.ct import CTVolume
    from CovidLesionSegLogic.models import LesionClass

OWN_TAG = "CovidLesionSeg.label"
"""Tag of the segments written here; its value is "lesion <label>" or "lung <label>"."""

CLASS_TAG = "CovidLesionSeg.class"
"""Tag with the lesion class's name, which stays when the user renames the segment."""

PROVENANCE_ATTRIBUTE = "CovidLesionSeg.provenance"


class _Segment(NamedTuple):
    name: str
    label: int
    color: tuple[int, int, int]
    entry: Entry
    tag: str
    class_name: str = ""


_LUNGS = (
    _Segment("Right lung", 1, (202, 164, 140), RIGHT_LUNG, "lung 1"),
    _Segment("Left lung", 2, (202, 164, 140), LEFT_LUNG, "lung 2"),
)


def segment_name(class_name: str) -> str:
    """A class's name as a segment shows it: "ground_glass opacity" -> "Ground glass opacity"."""
    name = class_name.replace("_", " ").strip()
    return name[:1].upper() + name[1:]


def result_to_segmentation(
    result: Any,
    *,
    node: Any = None,
    reference: Any = None,
    scene: Any = None,
    surfaces: bool = False,
    lungs: bool = True,
) -> Any:
    """A SegmentationResult of the pipeline as a segmentation node, with its provenance.

    Options as in :func:`labels_to_segmentation`; ``lungs=False`` leaves the lungs out.
    """
    node = labels_to_segmentation(
        result.labels,
        result.lungs if lungs else None,
        result.ct,
        result.classes,
        node=node,
        reference=reference,
        scene=scene,
        surfaces=surfaces,
    )
    node.SetAttribute(PROVENANCE_ATTRIBUTE, json.dumps(result.provenance, default=str))
    return node


def labels_to_segmentation(
    labels: NDArray[Any],
    lungs: NDArray[Any] | None,
    ct: CTVolume,
    classes: Sequence[LesionClass],
    *,
    node: Any = None,
    reference: Any = None,
    scene: Any = None,
    name: str | None = None,
    surfaces: bool = False,
) -> Any:
    """One segmentation node with a segment per lesion class and, if given, the two lungs.

    Parameters
    ----------
    labels
        Shape (z, y, x), integers: 0 or the ``label`` of one of ``classes``.
    lungs
        Shape (z, y, x): 0, 1 (right), 2 (left); None leaves the lungs out.
    ct
        The grid of both arrays, and the reference geometry of the segmentation.
    classes
        Name, label value, colour and terminology of each segment. A class without a voxel gets an
        empty segment, ready to be edited.
    node
        A vtkMRMLSegmentationNode to write into: segments of an earlier run are replaced, the
        user's own stay. Default: a new node.
    reference
        The CT's volume node where there is one: its geometry, parent transform and place in the
        subject hierarchy are taken over.
    scene
        Where a new node goes; default the host's scene.
    name
        A new node's name; default "<CT's name> lesions".
    surfaces
        Also make the closed surfaces for 3-D views.

    Raises
    ------
    ValueError
        Shapes differ, or a label belongs to no class.
    CovidLesionSegError
        The surfaces could not be made.
    """
    _check(labels, ct, [c.label for c in classes], "labels")
    if lungs is not None:
        _check(lungs, ct, [1, 2], "lungs")
    if node is None:
        # The host first: its Segmentations logic must exist before the node does.
        scene = (scene or get_scene()) if reference is None else reference.GetScene()
        node = scene.AddNewNodeByClass(
            "vtkMRMLSegmentationNode", scene.GenerateUniqueName(name or f"{ct.name} lesions")
        )
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    lesions = [
        _Segment(
            segment_name(c.name),
            c.label,
            c.color,
            entry_for(c.name, c.terminology),
            f"lesion {c.label}",
            c.name,
        )
        for c in classes
    ]
    with _modifying(node):
        _remove_own_segments(node)
        _set_geometry(node, ct, reference)
        _add_layer(node, labels, ct, lesions)
        if lungs is not None:
            for segment_id in _add_layer(node, lungs, ct, _LUNGS):
                _show_as_outline(node, segment_id)
    if surfaces and not node.CreateClosedSurfaceRepresentation():
        raise CovidLesionSegError(
            f"The 3-D surfaces of '{node.GetName()}' could not be made; use the segmentation "
            "without them."
        )
    return node


def _check(array: NDArray[Any], ct: CTVolume, known: Sequence[int], what: str) -> None:
    if array.shape != ct.shape:
        raise ValueError(f"{what} have shape {array.shape}, the CT {ct.shape}")
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{what} must be integers, not {array.dtype}")
    present: set[int] = set()
    for plane in array:  # slice by slice: numpy's counting needs many times the array's memory
        if plane.any():
            present.update(np.unique(plane).tolist())
    unknown = sorted(present - {0, *known})
    if unknown:
        raise ValueError(f"{what} hold {unknown}, known are {sorted(known)}")


@contextmanager
def _modifying(node: Any) -> Iterator[None]:
    """One modified event for all changes of the node."""
    was_modifying = node.StartModify()
    try:
        yield
    finally:
        node.EndModify(was_modifying)


def _remove_own_segments(node: Any) -> None:
    segmentation = node.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(i) for i in range(segmentation.GetNumberOfSegments())]
    for segment_id in ids:
        if segmentation.GetSegment(segment_id).HasTag(OWN_TAG):
            segmentation.RemoveSegment(segment_id)


def _set_geometry(node: Any, ct: CTVolume, reference: Any) -> None:
    converter = import_slicer().vtkSegmentationConverter
    if reference is not None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
        node.SetAndObserveTransformNodeID(reference.GetTransformNodeID())
        _file_under_study(node, reference)
        return
    z, y, x = ct.shape
    geometry = converter.SerializeImageGeometry(
        to_vtk_matrix(ijk_to_ras(ct)), [0, x - 1, 0, y - 1, 0, z - 1]
    )
    node.GetSegmentation().SetConversionParameter(
        converter.GetReferenceImageGeometryParameterName(), geometry
    )


def _file_under_study(node: Any, reference: Any) -> None:
    """Put the segmentation beside its CT; DICOM export takes patient and study from there."""
    hierarchies = import_slicer().vtkMRMLSubjectHierarchyNode
    hierarchy = hierarchies.GetSubjectHierarchyNode(node.GetScene())
    if hierarchy is None:
        return
    own, other = hierarchy.GetItemByDataNode(node), hierarchy.GetItemByDataNode(reference)
    if own and other:
        hierarchy.SetItemParent(own, hierarchy.GetItemParent(other))


def _add_layer(
    node: Any, array: NDArray[Any], ct: CTVolume, segments: Sequence[_Segment]
) -> list[str]:
    """Add segments that share one label image; returns their ids."""
    slicer = import_slicer()
    image = _oriented_image(array, ct)
    segmentation = node.GetSegmentation()
    ids = []
    for item in segments:
        segment = slicer.vtkSegment()
        segment.SetName(item.name)
        segment.SetColor(*(value / 255.0 for value in item.color))
        segment.SetNameAutoGenerated(False)
        segment.SetColorAutoGenerated(False)
        segment.SetLabelValue(item.label)
        segment.SetTag(segment.GetTerminologyEntryTagName(), str(item.entry))
        segment.SetTag(OWN_TAG, item.tag)
        if item.class_name:
            segment.SetTag(CLASS_TAG, tag_text(item.class_name))
        segment.AddRepresentation(
            slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName(), image
        )
        segment_id = segmentation.GenerateUniqueSegmentID(_identifier(item.name))
        if not segmentation.AddSegment(segment, segment_id):
            raise CovidLesionSegError(
                f"The segment '{item.name}' could not be added to '{node.GetName()}'; "
                "choose another output segmentation."
            )
        ids.append(segment_id)
    return ids


def _identifier(name: str) -> str:
    return re.sub(r"[^0-9A-Za-z]+", "-", name).strip("-").lower() or "segment"


def _oriented_image(array: NDArray[Any], ct: CTVolume) -> Any:
    """uint8 vtkOrientedImageData of the labels' bounding box, on the CT's lattice.

    Memory is that of the box, not of the volume. Without any label the box is one voxel.
    """
    image = import_slicer().vtkOrientedImageData()
    image.SetGeometryFromImageToWorldMatrix(to_vtk_matrix(ijk_to_ras(ct)))
    box = tuple(_span(np.any(array, axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    (z0, z1), (y0, y1), (x0, x1) = box
    image.SetExtent(x0, x1 - 1, y0, y1 - 1, z0, z1 - 1)
    allocate(image, np.dtype(np.uint8))[...] = array[z0:z1, y0:y1, x0:x1]
    return image


def _span(occupied: Any) -> tuple[int, int]:
    """First and last + 1 of the true elements of a 1-D array; (0, 1) without any."""
    indices = np.flatnonzero(occupied)
    return (int(indices[0]), int(indices[-1]) + 1) if indices.size else (0, 1)


def _show_as_outline(node: Any, segment_id: str) -> None:
    """Lungs as an outline in slices and as glass in 3-D, so that they hide no lesion."""
    display = node.GetDisplayNode()
    if display is not None:
        display.SetSegmentOpacity2DFill(segment_id, 0.0)
        display.SetSegmentOpacity3D(segment_id, 0.15)
