"""3D Slicer module CovidLesionSeg: COVID-19 lesions of a chest CT.

Nothing is computed here. The work is done by the Python package ``CovidLesionSegLogic``, which
shares its name with this module's logic class because Slicer prescribes that class's name; the
package is therefore imported inside methods only. It lies beside this file in an installed
extension and one folder up in the source tree.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

_PACKAGE = "CovidLesionSegLogic"


def _rootFolder() -> Path:
    """The folder that holds the package and Resources."""
    here = Path(__file__).resolve().parent
    for folder in (here, here.parent):
        if (folder / _PACKAGE / "__init__.py").is_file():
            return folder
    raise ImportError(
        f"The folder {_PACKAGE} was found neither in {here} nor in {here.parent}; "
        "reinstall the extension CovidLesionSeg."
    )


def _findPackage() -> None:
    """Let Python find the package that belongs to this file, before any other copy."""
    folder = str(_rootFolder())
    if folder not in sys.path:
        sys.path.insert(0, folder)


#
# CovidLesionSeg
#


class CovidLesionSeg(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        _findPackage()
        self.parent.title = _("COVID-19 Lesion Segmentation")
        self.parent.categories = ["Segmentation"]
        self.parent.dependencies = ["Volumes", "Segmentations", "Terminologies"]
        self.parent.contributors = ["CovidLesionSeg contributors (CovidLesionSeg)"]
        self.parent.helpText = _(
            "Segments the lesions of COVID-19 on a chest CT and measures them: volumes, share of "
            "the lungs, change over time. Choose a CT and press Apply. The segmentation can be "
            "corrected in the Segment Editor. Research software, not for clinical use."
        )
        self.parent.helpText += (
            '<p><a href="https://github.com/CovidLesionSeg/CovidLesionSeg">'
            "https://github.com/CovidLesionSeg/CovidLesionSeg</a></p>"
        )
        self.parent.acknowledgementText = _(
            "The networks are independent implementations of published methods: Ref-Net and a "
            "coarse-to-refined network. Please cite the papers named in the extension's README."
        )
        slicer.app.connect("startupCompleted()", self._onStartupCompleted)

    def _onStartupCompleted(self):
        """Offer the lesions' terms in Slicer's terminology selector."""
        from CovidLesionSegLogic import mrml

        if not mrml.load_terminology():
            logging.warning("CovidLesionSeg: the terminology of the lesions could not be loaded.")


#
# CovidLesionSegWidget
#


class CovidLesionSegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: choose a CT and a segmentation, press Apply."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None

    def setup(self):
        import ctk
        import qt

        ScriptedLoadableModuleWidget.setup(self)
        self.logic = CovidLesionSegLogic()

        box = ctk.ctkCollapsibleButton()
        box.text = _("Segmentation")
        self.layout.addWidget(box)
        form = qt.QFormLayout(box)

        self.inputSelector = self._nodeSelector("vtkMRMLScalarVolumeNode")
        self.inputSelector.setToolTip(_("Chest CT in Hounsfield units."))
        form.addRow(_("Chest CT:"), self.inputSelector)
        self.outputSelector = self._nodeSelector("vtkMRMLSegmentationNode")
        self.outputSelector.addEnabled = True
        self.outputSelector.renameEnabled = True
        self.outputSelector.removeEnabled = True
        self.outputSelector.noneEnabled = True
        self.outputSelector.noneDisplay = _("(Create new segmentation)")
        self.outputSelector.setToolTip(_("Segments of an earlier run in it are replaced."))
        form.addRow(_("Segmentation:"), self.outputSelector)

        self.applyButton = qt.QPushButton(_("Apply"))
        form.addRow(self.applyButton)
        self.statusLabel = qt.QLabel(_("Research software, not for clinical use."))
        self.statusLabel.wordWrap = True
        form.addRow(self.statusLabel)
        self.layout.addStretch(1)

        self.inputSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._checkCanApply)
        self.applyButton.connect("clicked(bool)", self.onApplyButton)
        self._checkCanApply()

    def cleanup(self):
        self.removeObservers()

    def _nodeSelector(self, nodeClass):
        selector = slicer.qMRMLNodeComboBox()
        selector.nodeTypes = [nodeClass]
        selector.addEnabled = False
        selector.removeEnabled = False
        selector.noneEnabled = False
        selector.showChildNodeTypes = False
        selector.setMRMLScene(slicer.mrmlScene)
        return selector

    def _checkCanApply(self, node=None):
        self.applyButton.enabled = self.inputSelector.currentNode() is not None
        self.applyButton.toolTip = (
            _("Segment the lesions.") if self.applyButton.enabled else _("Choose a chest CT first.")
        )

    def onApplyButton(self, checked=False):
        with slicer.util.tryWithErrorDisplay(_("The segmentation failed."), waitCursor=True):
            volume = self.inputSelector.currentNode()
            segmentation = self.outputSelector.currentNode()
            if segmentation is None:
                segmentation = self.logic.createSegmentation(volume)
                self.outputSelector.setCurrentNode(segmentation)
            result = self.logic.process(volume, segmentation, progressCallback=self._showProgress)
            self.statusLabel.text = "\n".join((_("Done."), *result.warnings))

    def _showProgress(self, stage, done, total):
        self.statusLabel.text = _("{stage}: {done} of {total}").format(
            stage=stage, done=done, total=total
        )
        slicer.app.processEvents()


#
# CovidLesionSegLogic
#


class CovidLesionSegLogic(ScriptedLoadableModuleLogic):
    """The computation for the Slicer console, scripts and the panel; no widgets.

    >>> logic = CovidLesionSegLogic()
    >>> segmentation = logic.createSegmentation(volumeNode)
    >>> result = logic.process(volumeNode, segmentation, model="refnet")
    >>> result.quantification.to_dict()
    """

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        _findPackage()

    def createSegmentation(self, inputVolume):
        """A new, empty segmentation node named after the volume."""
        from CovidLesionSegLogic import mrml

        scene = mrml.get_scene()
        name = _("{volume} lesions").format(volume=inputVolume.GetName())
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(name))
        node.CreateDefaultDisplayNodes()
        return node

    def process(
        self,
        inputVolume,
        outputSegmentation,
        *,
        model="refnet",
        device="auto",
        lungs=None,
        regions=None,
        threshold=None,
        gate=None,
        batchSize=None,
        showLungs=True,
        surfaces=False,
        progressCallback=None,
        cancel=None,
    ):
        """Segment the lesions of a chest CT into a segmentation node.

        It returns when the work is done; the panel and scripts share this one call.

        :param inputVolume: vtkMRMLScalarVolumeNode in Hounsfield units, any orientation.
        :param outputSegmentation: vtkMRMLSegmentationNode; segments of an earlier run are replaced,
          the user's own are kept.
        :param model: name of an installed model, e.g. "refnet" or "coarse-refine".
        :param device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        :param lungs: path of a lung mask file to be used instead of finding the lungs.
        :param regions: path of a label map file (lobes, ...) to be measured separately.
        :param threshold: probability from which a voxel is lesion; None: the model's own.
        :param gate: whether the model's slice classifier chooses the slices; None: the model's own.
        :param batchSize: slices at a time; None: by device.
        :param showLungs: also write the right and left lung as segments.
        :param surfaces: also make the surfaces for 3-D views.
        :param progressCallback: called with (stage, done, total).
        :param cancel: CovidLesionSegLogic.engine.Cancel, to stop from another thread.
        :return: CovidLesionSegLogic.pipeline.SegmentationResult with labels, numbers, provenance
          and warnings.
        :raises: CovidLesionSegLogic.errors.CovidLesionSegError; the message says how to mend it.
        """
        from CovidLesionSegLogic import mrml, pipeline
        from CovidLesionSegLogic.errors import RequestError

        if outputSegmentation is None or not outputSegmentation.IsA("vtkMRMLSegmentationNode"):
            raise RequestError("The output is not a segmentation; choose or create one.")
        options = pipeline.SegmentOptions(
            model=model,
            device=device,
            lungs=lungs,
            regions=regions,
            threshold=threshold,
            gate=gate,
            batch_size=batchSize,
        )
        ct = mrml.node_to_volume(inputVolume)
        result = pipeline.segment_ct(ct, options, progress=progressCallback, cancel=cancel)
        mrml.result_to_segmentation(
            result,
            node=outputSegmentation,
            reference=inputVolume,
            lungs=showLungs,
            surfaces=surfaces,
        )
        seconds = sum(result.provenance["seconds"].values())
        logging.info("CovidLesionSeg: segmented '%s' in %.1f s", ct.name, seconds)
        return result

    def measure(self, inputVolume, segmentation):
        """Measure a segmentation made here again, after corrections.

        :return: CovidLesionSegLogic.quantify.Quantification.
        :raises: CovidLesionSegLogic.errors.InputError when the segmentation has no lungs or was
          not made by this module.
        """
        from CovidLesionSegLogic import mrml
        from CovidLesionSegLogic.quantify import quantify

        ct = mrml.node_to_volume(inputVolume)
        classes = mrml.segmentation_classes(segmentation)
        labels, lungs = mrml.segmentation_to_labels(segmentation, ct)
        return quantify(ct, labels, lungs, classes)


#
# CovidLesionSegTest
#


class CovidLesionSegTest(ScriptedLoadableModuleTest):
    """Self-test on a made-up CT; needs PyTorch and the installed models, no data and no network."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_segmentPhantom()

    def test_segmentPhantom(self):
        _findPackage()
        from CovidLesionSegLogic import mrml
        from CovidLesionSegLogic.phantom import make_phantom

        self.delayDisplay("Making a CT with known lesions")
        phantom = make_phantom((32, 128, 128), (2.8, 2.8, 9.0))
        volume = mrml.volume_to_node(phantom.ct, name="Phantom")
        logic = CovidLesionSegLogic()
        segmentation = logic.createSegmentation(volume)

        self.delayDisplay("Segmenting it")
        result = logic.process(volume, segmentation, device="cpu")

        segments = segmentation.GetSegmentation()
        assert segments.GetNumberOfSegments() == len(result.classes) + 2
        assert segments.GetNumberOfLayers("Binary labelmap") == 2
        labels, lungs = mrml.segmentation_to_labels(segmentation, phantom.ct)
        assert (labels == result.labels).all()
        # The lungs of the phantom are easy: both must be found, on their own side.
        for side in (1, 2):
            found, true = lungs == side, phantom.lungs == side
            overlap = 2 * (found & true).sum() / (found.sum() + true.sum())
            assert overlap > 0.8
        self.delayDisplay("Test passed")
