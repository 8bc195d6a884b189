"""vtkMRMLSegmentationNode -> label arrays: a person's corrections on the way back to numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.errors import InputError
from CovidLesionSegLogic.models import LesionClass
from CovidLesionSegLogic.mrml.geometry import (
    from_vtk_matrix,
    ijk_to_ras,
    image_to_array,
    to_vtk_matrix,
)
from CovidLesionSegLogic.mrml.host import import_slicer
from CovidLesionSegLogic.mrml.segments import CLASS_TAG, OWN_TAG

if TYPE_CHECKING:
    from CovidLesionSegLogic.ct import CTVolume


def segmentation_to_labels(
    node: Any, ct: CTVolume
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Lesion and lung labels of a segmentation made here, on the CT's grid, edits included.

    Returns
    -------
    labels
        uint8 (z, y, x): 0 or the label value of the lesion class. Where classes overlap after
        editing, the later segment wins.
    lungs
        uint8 (z, y, x): 1 right, 2 left; None when the segmentation has no lungs.

    Segments the user added are left out; edits outside the CT's grid are cut off.
    """
    labels = np.zeros(ct.shape, np.uint8)
    lungs = np.zeros(ct.shape, np.uint8)
    has_lungs = False
    segmentation = node.GetSegmentation()
    for index in range(segmentation.GetNumberOfSegments()):
        segment_id = segmentation.GetNthSegmentID(index)
        kind, value = own_label(segmentation.GetSegment(segment_id))
        if kind == "lesion":
            paint(labels, node, segment_id, value, ct)
        elif kind == "lung":
            has_lungs = True
            paint(lungs, node, segment_id, value, ct)
    return labels, lungs if has_lungs else None


def segmentation_classes(node: Any) -> tuple[LesionClass, ...]:
    """The lesion classes of a segmentation made here, with their names, labels and colours.

    Raises InputError when it has none.
    """
    classes = []
    segmentation = node.GetSegmentation()
    for index in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(index)
        kind, value = own_label(segment)
        if kind == "lesion":
            red, green, blue = (round(255 * part) for part in segment.GetColor())
            name = _tag(segment, CLASS_TAG) or segment.GetName()
            classes.append(LesionClass(name, value, color=(red, green, blue)))
    if not classes:
        raise InputError(
            f"The segmentation '{node.GetName()}' holds no lesions made by CovidLesionSeg; "
            "choose one that does."
        )
    return tuple(classes)


def own_label(segment: Any) -> tuple[str, int]:
    """("lesion" | "lung", label value) of a segment made here, else ("", 0)."""
    kind, _, value = _tag(segment, OWN_TAG).partition(" ")
    return (kind, int(value)) if value.isdigit() else ("", 0)


def _tag(segment: Any, name: str) -> str:
    """A segment's tag, "" when it has none."""
    import vtk

    value = vtk.reference("")
    return str(value) if segment.GetTag(name, value) else ""


def paint(target: NDArray[np.uint8], node: Any, segment_id: str, value: int, ct: CTVolume) -> None:
    """Set ``target`` to ``value`` where the segment is."""
    slicer = import_slicer()
    segment = node.GetSegmentation().GetSegment(segment_id)
    name = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    image = segment.GetRepresentation(name)
    label = segment.GetLabelValue()
    if image is None or image.GetNumberOfPoints() == 0:
        return
    if not _same_lattice(image, ct):
        image = _resampled(image, ct)
    x0, x1, y0, y1, z0, z1 = image.GetExtent()
    z, y, x = ct.shape
    low = (max(z0, 0), max(y0, 0), max(x0, 0))
    high = (min(z1 + 1, z), min(y1 + 1, y), min(x1 + 1, x))
    if any(a >= b for a, b in zip(low, high, strict=True)):
        return
    inside = tuple(
        slice(a - start, b - start) for a, b, start in zip(low, high, (z0, y0, x0), strict=True)
    )
    part = target[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    part[image_to_array(image)[inside] == label] = value


def _same_lattice(image: Any, ct: CTVolume) -> bool:
    import vtk

    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    # Files round the geometry to about 1e-13 mm; a thousandth of a voxel is the same lattice.
    tolerance = 1e-3 * min(ct.spacing)
    return bool(np.allclose(from_vtk_matrix(matrix), ijk_to_ras(ct), rtol=0, atol=tolerance))


def _resampled(image: Any, ct: CTVolume) -> Any:
    """The label image on the CT's grid, nearest neighbour."""
    slicer = import_slicer()
    reference = slicer.vtkOrientedImageData()
    z, y, x = ct.shape
    reference.SetExtent(0, x - 1, 0, y - 1, 0, z - 1)
    reference.SetGeometryFromImageToWorldMatrix(to_vtk_matrix(ijk_to_ras(ct)))
    result = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        image, reference, result, False
    )
    return result


def class_segments(node: Any) -> dict[str, str]:
    """Segment id by the name of the lesion class, of a segmentation made here."""
    segmentation = node.GetSegmentation()
    found = {}
    for index in range(segmentation.GetNumberOfSegments()):
        segment_id = segmentation.GetNthSegmentID(index)
        segment = segmentation.GetSegment(segment_id)
        if own_label(segment)[0] == "lesion":
            found[_tag(segment, CLASS_TAG) or segment.GetName()] = segment_id
    return found
