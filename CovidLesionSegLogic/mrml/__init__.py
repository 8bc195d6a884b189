"""CT volumes and results as 3D Slicer (MRML) nodes: the only room that imports slicer or vtk.

The same functions serve the running Slicer application and plain Python with the ``slicer-core``
wheel (:mod:`.host`). Geometry is LPS in :class:`~CovidLesionSegLogic.ct.CTVolume` and RAS in the
nodes; the change of sign happens here and nowhere else. Importing this package loads neither
slicer nor vtk.
"""

from CovidLesionSegLogic.mrml.host import Host, get_host, get_scene
from CovidLesionSegLogic.mrml.labels import segmentation_classes, segmentation_to_labels
from CovidLesionSegLogic.mrml.segments import labels_to_segmentation, result_to_segmentation
from CovidLesionSegLogic.mrml.storage import read_segmentation, write_result, write_segmentation
from CovidLesionSegLogic.mrml.terminology import load_terminology
from CovidLesionSegLogic.mrml.volumes import node_to_volume, volume_to_node

__all__ = [
    "Host",
    "get_host",
    "get_scene",
    "labels_to_segmentation",
    "load_terminology",
    "node_to_volume",
    "read_segmentation",
    "result_to_segmentation",
    "segmentation_classes",
    "segmentation_to_labels",
    "volume_to_node",
    "write_result",
    "write_segmentation",
]
