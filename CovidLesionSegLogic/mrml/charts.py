"""Numbers as Slicer's table and plot nodes, filed under the segmentation they belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from CovidLesionSegLogic.mrml.host import import_slicer
from CovidLesionSegLogic.mrml.segments import segment_name
from CovidLesionSegLogic.quantify import COLUMNS, summary_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from CovidLesionSegLogic.quantify import Quantification

TABLE_ROLE = "CovidLesionSeg.table"
AREAS_ROLE = "CovidLesionSeg.areas"
CHART_ROLE = "CovidLesionSeg.chart"
POSITION = "S (mm)"
"""Column of the areas' table: the slice's position towards the head, mm (the same in LPS, RAS)."""


def numbers_to_table(quantification: Quantification, segmentation: Any) -> Any:
    """The summary as the segmentation's vtkMRMLTableNode, which is made or written again."""
    node = _own_node(segmentation, TABLE_ROLE, "vtkMRMLTableNode", "volumes")
    rows = summary_rows(quantification)
    names: list[str] = [segment_name(row.name) for row in rows]
    numbers = {column: [row.values[index] for row in rows] for index, column in enumerate(COLUMNS)}
    _fill(node, {"": names, **numbers})
    return node


def areas_to_chart(
    quantification: Quantification,
    segmentation: Any,
    colors: Mapping[str, tuple[float, float, float]],
) -> Any:
    """The lesion area of every slice as the segmentation's vtkMRMLPlotChartNode.

    A series for each class (mm2), over :data:`POSITION`; their table is the node of
    :data:`AREAS_ROLE`.

    Parameters
    ----------
    colors
        Red, green, blue, 0...1, by class; others keep the plot's own.
    """
    slicer = import_slicer()
    table = _own_node(segmentation, AREAS_ROLE, "vtkMRMLTableNode", "lesion area by slice")
    slices = sorted(quantification.slices, key=lambda s: s.z_mm)
    names = [c.name for c in quantification.classes]
    columns: dict[str, Sequence[float | None]] = {POSITION: [s.z_mm for s in slices]}
    for name in names:
        columns[segment_name(name)] = [s.lesion_area_mm2[name] for s in slices]
    _fill(table, columns)
    chart = _own_node(segmentation, CHART_ROLE, "vtkMRMLPlotChartNode", "lesion area by slice")
    chart.SetTitle("Lesion area by slice")
    chart.SetXAxisTitle("Position towards the head (mm)")
    chart.SetYAxisTitle("Area (mm2)")
    scene = segmentation.GetScene()
    _remove_series(chart)
    for name in names:
        series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", segment_name(name))
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetXColumnName(POSITION)
        series.SetYColumnName(segment_name(name))
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
        series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle)
        if name in colors:
            series.SetColor(*colors[name])
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    return chart


def slice_position(chart: Any, index: int) -> float | None:
    """S in mm of the point ``index`` of a chart made here; None where there is none."""
    if chart is None or chart.GetNumberOfPlotSeriesNodes() < 1:
        return None
    table = chart.GetNthPlotSeriesNode(0).GetTableNode()
    if table is None or not 0 <= index < table.GetNumberOfRows():
        return None
    return float(table.GetTable().GetColumnByName(POSITION).GetValue(index))


def jump_to_slice(segmentation: Any, position_mm: float) -> None:
    """Move all slice views to a slice's height; a parent transform is heeded."""
    slicer = import_slicer()
    bounds = [0.0] * 6
    segmentation.GetRASBounds(bounds)
    if bounds[0] > bounds[1]:  # nothing is segmented: there is no other place to show
        bounds = [0.0] * 6
    point = [(bounds[0] + bounds[1]) / 2, (bounds[2] + bounds[3]) / 2, position_mm]
    if segmentation.GetParentTransformNode() is not None:
        own = [0.0, 0.0, 0.0]
        segmentation.TransformPointFromWorld(point, own)
        own[2] = position_mm
        segmentation.TransformPointToWorld(own, point)
    slicer.vtkMRMLSliceNode.JumpAllSlices(segmentation.GetScene(), *point)


def _own_node(segmentation: Any, role: str, kind: str, what: str) -> Any:
    """The node that the segmentation refers to by ``role``, made where it is missing."""
    node = segmentation.GetNodeReference(role)
    if node is None:
        scene = segmentation.GetScene()
        name = scene.GenerateUniqueName(f"{segmentation.GetName()} {what}")
        node = scene.AddNewNodeByClass(kind, name)
        segmentation.SetNodeReferenceID(role, node.GetID())
    return node


def _remove_series(chart: Any) -> None:
    series = [chart.GetNthPlotSeriesNode(i) for i in range(chart.GetNumberOfPlotSeriesNodes())]
    chart.RemoveAllPlotSeriesNodeIDs()
    for one in series:
        if one is not None and one.GetScene() is not None:
            one.GetScene().RemoveNode(one)


def _fill(node: Any, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write columns of text or numbers; a missing number is NaN, which tables show empty."""
    import vtk

    was_modifying = node.StartModify()
    try:
        node.RemoveAllColumns()
        for name, values in columns.items():
            text = any(isinstance(v, str) for v in values)
            column = vtk.vtkStringArray() if text else vtk.vtkDoubleArray()
            column.SetName(name)
            for value in values:
                column.InsertNextValue(float("nan") if value is None else value)
            node.AddColumn(column)
    finally:
        node.EndModify(was_modifying)
