"""CT volumes and results as 3D Slicer (MRML) nodes: the only room that imports slicer or vtk.

The same functions serve the running Slicer application and plain Python with the ``slicer-core``
wheel (:mod:`.host`). Geometry is LPS in :class:`~CovidLesionSegLogic.ct.CTVolume` and RAS in the
nodes; the change of sign happens here and nowhere else. Importing this package loads neither
slicer nor vtk.
"""

from CovidLesionSegLogic.mrml.charts import (
    CHART_ROLE,
    areas_to_chart,
    jump_to_slice,
    numbers_to_table,
    slice_position,
)
from CovidLesionSegLogic.mrml.given import given_kind, given_labels
from CovidLesionSegLogic.mrml.host import Host, get_host, get_scene, in_application
from CovidLesionSegLogic.mrml.labels import (
    class_segments,
    segmentation_classes,
    segmentation_to_labels,
)
from CovidLesionSegLogic.mrml.probability import probability_to_nodes
from CovidLesionSegLogic.mrml.segments import (
    labels_to_segmentation,
    result_to_segmentation,
    run_record,
)
from CovidLesionSegLogic.mrml.storage import read_segmentation, write_result, write_segmentation
from CovidLesionSegLogic.mrml.terminology import load_terminology
from CovidLesionSegLogic.mrml.volumes import node_to_raw, node_to_volume, volume_to_node

__all__ = [
    "CHART_ROLE",
    "Host",
    "areas_to_chart",
    "class_segments",
    "get_host",
    "get_scene",
    "given_kind",
    "given_labels",
    "in_application",
    "jump_to_slice",
    "labels_to_segmentation",
    "load_terminology",
    "node_to_raw",
    "node_to_volume",
    "numbers_to_table",
    "probability_to_nodes",
    "read_segmentation",
    "result_to_segmentation",
    "run_record",
    "segmentation_classes",
    "segmentation_to_labels",
    "slice_position",
    "volume_to_node",
    "write_result",
    "write_segmentation",
]
