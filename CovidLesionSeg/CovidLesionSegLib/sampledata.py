"""An entry in Slicer's Sample Data module: a CT to try the module on, made and not downloaded."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

NAME = "CovidLesionSegPhantom"
SHAPE, SPACING = (40, 160, 160), (2.25, 2.25, 7.5)  # slices, rows, columns; mm in x, y, z


def register(thumbnail):
    """Add the entry; Slicer's own samples stand beside it.

    :param thumbnail: picture file.
    """
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="COVID-19",
        sampleName=NAME,
        uris="",
        fileNames="",
        nodeNames=NAME,
        thumbnailFileName=str(thumbnail),
        customDownloader=load,
    )


def load(source=None):
    """A synthetic chest CT with lesions as a volume node; takes some seconds.

    :param source: Slicer's description of the entry, not needed.
    :return: vtkMRMLScalarVolumeNode.
    """
    from CovidLesionSegLogic import mrml
    from CovidLesionSegLogic.phantom import make_phantom

    slicer.util.showStatusMessage(_("Making a synthetic chest CT..."), 3000)
    slicer.app.processEvents()
    return mrml.volume_to_node(make_phantom(SHAPE, SPACING).ct, name=_("Synthetic chest CT"))
