"""Probability maps as volume nodes beside their CT."""

from __future__ import annotations

from typing import Any

import numpy as np

from CovidLesionSegLogic.ct.box import Placed
from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.mrml.segments import segment_name
from CovidLesionSegLogic.mrml.volumes import volume_to_node

ROLE = "CovidLesionSeg.probability"


def probability_to_nodes(result: Any, segmentation: Any, reference: Any) -> list[Any]:
    """A vtkMRMLScalarVolumeNode per class, 0 to 1, of the part of the CT where it is not 0.

    Those of an earlier run of the same segmentation are replaced.

    Parameters
    ----------
    result
        With ``ct`` (its grid), ``classes`` and ``probability`` (a box per class).
    reference
        The CT's node: its parent transform is taken over.
    """
    scene = segmentation.GetScene()
    count = segmentation.GetNumberOfNodeReferences(ROLE)
    # All at once: a node that leaves the scene takes its reference with it.
    for earlier in [segmentation.GetNthNodeReference(ROLE, index) for index in range(count)]:
        if earlier is not None:
            scene.RemoveNode(earlier)
    segmentation.RemoveNodeReferenceIDs(ROLE)
    nodes = []
    for one, placed in zip(result.classes, result.probability, strict=True):
        name = f"{reference.GetName()} probability of {segment_name(one.name).lower()}"
        node = volume_to_node(_part(placed, result.ct), scene, name)
        node.SetAndObserveTransformNodeID(reference.GetTransformNodeID())
        node.GetDisplayNode().SetAutoWindowLevel(False)
        node.GetDisplayNode().SetWindowLevel(1.0, 0.5)
        segmentation.AddNodeReferenceID(ROLE, node.GetID())
        nodes.append(node)
    return nodes


def _part(placed: Placed, grid: CTVolume) -> CTVolume:
    """The box as a volume of its own: only its origin is another than the grid's."""
    k, j, i = placed.box.start
    origin = grid.affine @ np.array([i, j, k, 1.0])
    return CTVolume(
        np.asarray(placed.array, np.float32),
        (float(origin[0]), float(origin[1]), float(origin[2])),
        grid.spacing,
        grid.direction,
        grid.name,
    )
