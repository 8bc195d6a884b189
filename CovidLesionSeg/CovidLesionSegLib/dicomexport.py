"""DICOM SEG through Slicer's own exporter, which the extension QuantitativeReporting brings."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

PLUGIN = "DICOMSegmentationPlugin"


def whyNot(volume):
    """Why the segmentation of a CT cannot be exported; "" where it can.

    :param volume: vtkMRMLScalarVolumeNode, or None.
    """
    if PLUGIN not in getattr(slicer.modules, "dicomPlugins", {}):
        return _(
            "DICOM SEG is written by the extension QuantitativeReporting: install it in "
            "View > Extensions Manager and restart Slicer."
        )
    if volume is None or not volume.GetAttribute("DICOM.instanceUIDs"):
        return _("Only the segmentation of a CT loaded by Slicer's DICOM module can be exported.")
    return ""


def export(segmentation, volume, folder):
    """Write the segmentation into a folder, as a series of the CT's study.

    :param segmentation: vtkMRMLSegmentationNode; moved below the CT's study in the data tree.
    :raises: CovidLesionSegLogic.errors.CovidLesionSegError with the exporter's reason.
    """
    from CovidLesionSegLogic.errors import CovidLesionSegError

    reason = whyNot(volume)
    if reason:
        raise CovidLesionSegError(reason)
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = tree.GetItemByDataNode(segmentation)
    tree.SetItemParent(item, tree.GetItemParent(tree.GetItemByDataNode(volume)))
    exporter = slicer.modules.dicomPlugins[PLUGIN]()
    exportables = exporter.examineForExport(item)
    if not exportables:
        raise CovidLesionSegError(
            _("The DICOM files of the CT are no longer in Slicer's DICOM database; import them.")
        )
    for one in exportables:
        one.directory = str(folder)
    reason = exporter.export(exportables)
    if reason:
        raise CovidLesionSegError(_("DICOM SEG was not written: {reason}").format(reason=reason))
