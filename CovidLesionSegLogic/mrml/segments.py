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

from CovidLesionSegLogic.ct.box import Placed
from CovidLesionSegLogic.errors import CovidLesionSegError, InputError
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
RUN_ATTRIBUTE = "CovidLesionSeg.run"
"""Node attributes, JSON: where the result comes from; warnings, gate and volumes of the run."""


LUNG_COLOR = (202, 164, 140)
"""sRGB, 0...255: the colour of both lungs, as in Slicer's own list."""


class _Segment(NamedTuple):
    name: str
    label: int
    color: tuple[int, int, int]
    entry: Entry
    tag: str
    class_name: str = ""


_LUNGS = (
    _Segment("Right lung", 1, LUNG_COLOR, RIGHT_LUNG, "lung 1"),
    _Segment("Left lung", 2, LUNG_COLOR, LEFT_LUNG, "lung 2"),
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
    run = {
        "warnings": list(result.warnings),
        "gate": None if result.gate is None else result.gate.to_dict(),
        "volumes": [m.volume_ml for m in result.quantification.classes],
    }
    node.SetAttribute(RUN_ATTRIBUTE, json.dumps(run))
    return node


def run_record(node: Any) -> dict[str, Any]:
    """What :func:`result_to_segmentation` noted: provenance, warnings, gate, volumes (mL).

    Raises
    ------
    InputError
        The segmentation was not made by a run.
    """
    texts = [node.GetAttribute(name) for name in (PROVENANCE_ATTRIBUTE, RUN_ATTRIBUTE)]
    try:
        provenance, run = (json.loads(text) for text in texts)
        return {"provenance": provenance, **run}
    except (TypeError, ValueError) as error:
        raise InputError(
            f"The segmentation '{node.GetName()}' does not say how it was made: run the module on "
            "the CT again."
        ) from error


def labels_to_segmentation(
    labels: NDArray[Any] | Placed,
    lungs: NDArray[Any] | Placed | None,
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
        Shape (z, y, x), integers: 0 or the ``label`` of one of ``classes``; or the box that holds
        them all.
    lungs
        The same of 0, 1 (right), 2 (left); None leaves the lungs out.
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
    labels = _checked(labels, ct, [c.label for c in classes], "labels")
    if lungs is not None:
        lungs = _checked(lungs, ct, [1, 2], "lungs")
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


def _checked(array: NDArray[Any] | Placed, ct: CTVolume, known: Sequence[int], what: str) -> Placed:
    if array.shape != ct.shape:
        raise ValueError(f"{what} have shape {array.shape}, the CT {ct.shape}")
    placed = array if isinstance(array, Placed) else Placed.of(array)
    if not np.issubdtype(placed.array.dtype, np.integer):
        raise ValueError(f"{what} must be integers, not {placed.array.dtype}")
    allowed = {0, *known}
    # The whole range is known as a rule, and finding its ends is far quicker than every value.
    if not allowed.issuperset(range(int(placed.array.min()), int(placed.array.max()) + 1)):
        present: set[int] = set()
        for plane in placed.array:  # by slice: counting needs many times the memory of its input
            present.update(np.unique(plane).tolist())
        if unknown := sorted(present - allowed):
            raise ValueError(f"{what} hold {unknown}, known are {sorted(known)}")
    return placed


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


def _add_layer(node: Any, placed: Placed, ct: CTVolume, segments: Sequence[_Segment]) -> list[str]:
    """Add segments that share one label image; returns their ids."""
    slicer = import_slicer()
    image = _oriented_image(placed, ct)
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


def _oriented_image(placed: Placed, ct: CTVolume) -> Any:
    """uint8 vtkOrientedImageData of the box, on the CT's lattice: memory is that of the box."""
    image = import_slicer().vtkOrientedImageData()
    image.SetGeometryFromImageToWorldMatrix(to_vtk_matrix(ijk_to_ras(ct)))
    (z0, y0, x0), (z1, y1, x1) = placed.box.start, placed.box.stop
    image.SetExtent(x0, x1 - 1, y0, y1 - 1, z0, z1 - 1)
    allocate(image, np.dtype(np.uint8))[...] = placed.array
    return image


def _show_as_outline(node: Any, segment_id: str) -> None:
    """Lungs as an outline in slices and as glass in 3-D, so that they hide no lesion."""
    display = node.GetDisplayNode()
    if display is not None:
        display.SetSegmentOpacity2DFill(segment_id, 0.0)
        display.SetSegmentOpacity3D(segment_id, 0.15)
