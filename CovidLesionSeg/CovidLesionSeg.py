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
    """Let Python find the packages that belong to this file, before any other copy."""
    for folder in (str(Path(__file__).resolve().parent), str(_rootFolder())):
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
            "Segments the lesions of COVID-19 on a chest CT. Choose a CT and press Apply; the "
            "segmentation can be corrected in the Segment Editor. Volumes and the share of the "
            "lungs are returned by the logic's methods process and measure, to be called from the "
            "Python console. Research software, not for clinical use."
        )
        self.parent.helpText += (
            '<p><a href="https://github.com/CovidLesionSeg/CovidLesionSeg">'
            "https://github.com/CovidLesionSeg/CovidLesionSeg</a></p>"
        )
        self.parent.acknowledgementText = _(
            "The lesion network is an independent implementation of a published method, Ref-Net. "
            "Please cite the papers named in the extension's README."
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
    """The panel: choose a CT and a segmentation, press Apply; Apply is Cancel during a run.

    The run is on the main thread. Events are processed between its steps, so that Cancel works;
    whatever they do, there is one run at a time, and closing the scene or Slicer cancels it.
    """

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._cancel = None  # stops the run; None: no run

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
        self.modelSelector = qt.QComboBox()
        form.addRow(_("Model:"), self.modelSelector)

        self.applyButton = qt.QPushButton()
        form.addRow(self.applyButton)
        self.statusLabel = qt.QLabel(_("Research software, not for clinical use."))
        self.statusLabel.wordWrap = True
        form.addRow(self.statusLabel)
        self.layout.addStretch(1)

        self.inputSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._checkCanApply)
        self.applyButton.connect("clicked(bool)", self.onApplyButton)
        self._connect()
        self.enter()

    def _connect(self):
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        # Qt says the first when the windows close, the second only after the run has returned.
        slicer.app.connect("lastWindowClosed()", self._cancelRun)
        slicer.app.connect("aboutToQuit()", self._cancelRun)

    def enter(self):
        if self.modelSelector.count == 0:
            with slicer.util.tryWithErrorDisplay(_("The models could not be listed.")):
                for name, title in self.logic.installedModels():
                    self.modelSelector.addItem(title, name)
        self._checkCanApply()

    def cleanup(self):
        self._cancelRun()
        self.removeObservers()
        if self.logic is not None:
            slicer.app.disconnect("lastWindowClosed()", self._cancelRun)
            slicer.app.disconnect("aboutToQuit()", self._cancelRun)
        self.logic = None  # from here on the widgets may be gone

    def onSceneStartClose(self, caller=None, event=None):
        self._cancelRun()

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
        busy = self._cancel is not None
        for selector in (self.inputSelector, self.outputSelector, self.modelSelector):
            selector.enabled = not busy
        hasInput = self.inputSelector.currentNode() is not None
        hasModel = self.modelSelector.currentData is not None
        if busy:
            hint = _("Stop the run; the segmentation stays as it was.")
        elif not hasModel:
            hint = _("No lesion model is installed; reinstall the extension.")
        elif not hasInput:
            hint = _("Choose a chest CT first.")
        else:
            hint = _("Segment the lesions.")
        self.applyButton.text = _("Cancel") if busy else _("Apply")
        self.applyButton.enabled = busy or (hasInput and hasModel)
        self.applyButton.toolTip = hint

    def onApplyButton(self, checked=False):
        if self._cancel is not None:
            self._cancelRun()
            return
        from CovidLesionSegLogic.engine import Cancel
        from CovidLesionSegLogic.errors import CancelledError

        self._cancel = Cancel()
        self._checkCanApply()
        message = _("Failed.")
        try:
            with slicer.util.tryWithErrorDisplay(_("The segmentation failed.")):
                try:
                    message = self._run(self._cancel)
                except CancelledError:
                    message = _("Cancelled.")
        finally:
            self._cancel = None
            if self.logic is not None:
                self.statusLabel.text = message
                self._checkCanApply()

    def _run(self, cancel):
        """One run from the panel's choices; what to tell the user at its end."""
        if not self._installPackages():
            return _("Not started: Python packages are missing.")
        cancel.check()
        volume = self.inputSelector.currentNode()
        chosen = self.outputSelector.currentNode()
        segmentation = chosen or self.logic.createSegmentation(volume)
        done = False
        try:
            result = self.logic.process(
                volume,
                segmentation,
                model=self.modelSelector.currentData,
                progressCallback=self._showProgress,
                cancel=cancel,
            )
            done = True
        finally:
            if not (chosen or done) and slicer.mrmlScene.IsNodePresent(segmentation):
                slicer.mrmlScene.RemoveNode(segmentation)
        self.outputSelector.setCurrentNode(segmentation)
        return "\n".join((_("Done."), *result.warnings))

    def _installPackages(self):
        """Whether all packages are there, after having offered to install the missing ones."""
        from CovidLesionSegLib import packages

        names = packages.missing()
        if not names:
            return True
        question = _(
            "The segmentation needs Python packages that Slicer lacks: {names}.\n\n"
            "Install them into Slicer now? It needs the internet and can take some minutes."
        ).format(names=", ".join(names))
        if not slicer.util.confirmOkCancelDisplay(question, _("Install Python packages")):
            return False
        packages.install(names)
        return True

    def _cancelRun(self):
        if self._cancel is not None:
            self._cancel.cancel()
            self.statusLabel.text = _("Cancelling...")

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

    def installedModels(self):
        """Names and titles of the installed lesion models, the default one first."""
        from CovidLesionSegLogic import models

        cards = models.list_models("lesion")
        cards.sort(key=lambda card: card.name != models.DEFAULT_MODEL)
        return [(card.name, card.title) for card in cards]

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
        regionNames=None,
        threshold=None,
        gate=None,
        batchSize=None,
        showLungs=True,
        surfaces=False,
        progressCallback=None,
        cancel=None,
    ):
        """Segment the lesions of a chest CT into a segmentation node.

        The call blocks: it computes in this thread and returns when the work is done. The panel
        and scripts share it. It installs nothing and opens no window.

        :param inputVolume: vtkMRMLScalarVolumeNode in Hounsfield units, any orientation.
        :param outputSegmentation: vtkMRMLSegmentationNode; segments of an earlier run are replaced,
          the user's own are kept.
        :param model: name of an installed lesion model (:meth:`installedModels`).
        :param device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        :param lungs: path of a lung mask file to be used instead of finding the lungs.
        :param regions: path of a label map file (lobes, ...) to be measured separately.
        :param regionNames: label to name of the regions, where their file has none.
        :param threshold: probability from which a voxel is lesion; None: the model's own.
        :param gate: whether the model's slice classifier chooses the slices; None: the model's own.
        :param batchSize: slices at a time; None: by device.
        :param showLungs: also write the right and left lung as segments.
        :param surfaces: also make the surfaces for 3-D views.
        :param progressCallback: called with (stage, done, total).
        :param cancel: CovidLesionSegLogic.engine.Cancel, to stop from the progress callback or
          another thread.
        :return: CovidLesionSegLogic.pipeline.SegmentationResult with labels, numbers, provenance
          and warnings.
        :raises: CovidLesionSegLogic.errors.CovidLesionSegError; the message says how to mend it,
          and which Python packages are missing if some are. CancelledError when cancelled; the
          segmentation is then as it was.
        """
        from CovidLesionSegLib import packages

        packages.check()
        from CovidLesionSegLogic import mrml, pipeline
        from CovidLesionSegLogic.errors import InputError, RequestError

        if outputSegmentation is None or not outputSegmentation.IsA("vtkMRMLSegmentationNode"):
            raise RequestError("The output is not a segmentation; choose or create one.")
        options = pipeline.SegmentOptions(
            model=model,
            device=device,
            lungs=lungs,
            regions=regions,
            region_names=regionNames,
            threshold=threshold,
            gate=gate,
            batch_size=batchSize,
        )
        ct = mrml.node_to_volume(inputVolume)
        nodes = (inputVolume, outputSegmentation)
        scenes = [node.GetScene() for node in nodes]
        result = pipeline.segment_ct(ct, options, progress=progressCallback, cancel=cancel)
        # The callback may process events, in which the user can cancel, close or edit the scene.
        if cancel is not None:
            cancel.check()
        if [node.GetScene() for node in nodes] != scenes:
            raise InputError(
                "The CT or the segmentation was removed from the scene during the run; "
                "choose them again and repeat it."
            )
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
