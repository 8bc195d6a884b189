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
from typing import Annotated

import slicer
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin
from vtk import vtkCommand

MODULE = "CovidLesionSeg"
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
            "segmentation can be corrected in the Segment Editor and measured again. Volumes and "
            "shares of the lungs are shown as a table and a chart and saved as a report. Research "
            "software, not for clinical use."
        )
        self.parent.helpText += (
            '<p><a href="https://github.com/CovidLesionSeg/CovidLesionSeg">'
            "https://github.com/CovidLesionSeg/CovidLesionSeg</a></p>"
        )
        self.parent.acknowledgementText = _(
            "The lesion networks are independent implementations of two published methods, Ref-Net "
            "and the coarse-refine network. Please cite the papers named in the README."
        )
        slicer.app.connect("startupCompleted()", self._onStartupCompleted)

    def _onStartupCompleted(self):
        """Offer the lesions' terms in Slicer's terminology selector, and a CT to try."""
        from CovidLesionSegLib import sampledata

        from CovidLesionSegLogic import mrml

        sampledata.register(_rootFolder() / "Resources" / "Icons" / f"{sampledata.NAME}.png")
        if not mrml.load_terminology():
            logging.warning("CovidLesionSeg: the terminology of the lesions could not be loaded.")


#
# CovidLesionSegParameterNode
#


@parameterNodeWrapper
class CovidLesionSegParameterNode:
    """What the panel has chosen; saved with the scene.

    inputVolume - the chest CT
    regions - lungs or lobes, or none
    outputSegmentation - where the lesions go; none: a new one
    model, device - names; empty: the default
    gate - whether slices without signs of infection are skipped, where the model can tell
    ownThreshold, threshold - whether the threshold, not the model's own, decides
    showLungs, probability, surfaces - what is made besides the lesions
    """

    inputVolume: vtkMRMLScalarVolumeNode
    regions: vtkMRMLSegmentationNode
    outputSegmentation: vtkMRMLSegmentationNode
    model: str = ""
    device: str = "auto"
    gate: bool = True
    ownThreshold: bool = False
    threshold: Annotated[float, WithinRange(0.01, 0.99)] = 0.5
    showLungs: bool = True
    probability: bool = False
    surfaces: bool = False


#
# CovidLesionSegWidget
#


class CovidLesionSegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: choose a CT, press Apply; Apply is Cancel during a run.

    A child process computes, so the window never stands still. There is one run at a time; closing
    the scene, removing its nodes, reloading the module or leaving Slicer ends it.
    """

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._volume = None  # the CT when the choices were last looked at
        self.jobs = None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        self.logic = CovidLesionSegLogic()
        uiWidget = slicer.util.loadUI(str(_rootFolder() / "Resources" / "UI" / f"{MODULE}.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)

        from CovidLesionSegLib.jobs import Jobs
        from CovidLesionSegLib.modelpicker import ModelPicker
        from CovidLesionSegLib.progressview import ProgressView
        from CovidLesionSegLib.resultsview import ResultsView

        self.models = ModelPicker(self.ui, self.logic, self._onPicked)
        self.progress = ProgressView(self.ui)
        self.results = ResultsView(self.ui)
        self.jobs = Jobs(self.logic, self.progress, self.results, self._checkCanApply)
        self.results.connect(self.jobs)

        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.thresholdCheckBox.connect("toggled(bool)", self._checkCanApply)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.NodeRemovedEvent, self._onNodeRemoved)
        slicer.app.connect("aboutToQuit()", self._onQuit)
        self.initializeParameterNode()

    def cleanup(self):
        """The module is reloaded or Slicer ends: nothing of ours stays."""
        self.jobs.abandon()
        self.results.clear()
        self.removeObservers()
        slicer.app.disconnect("aboutToQuit()", self._onQuit)
        self.setParameterNode(None)
        self.logic.close()
        self.logic = None

    def _onQuit(self):
        self.jobs.abandon()
        self.logic.close()

    def enter(self):
        """The module is opened: models may have been installed meanwhile."""
        self.initializeParameterNode()
        self.models.fill()
        self.logic.warmUp(self.models.setDevices)
        self._checkCanApply()

    def exit(self):
        """The module is left; a run goes on."""
        self._unbind()

    def onSceneStartClose(self, caller=None, event=None):
        """Nothing may go on with nodes that are about to go."""
        self.jobs.abandon()
        self.setParameterNode(None)
        self.results.clear()

    def onSceneEndClose(self, caller=None, event=None):
        """Start anew where the panel is open."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def _onNodeRemoved(self, caller=None, event=None):
        self.results.forgetRemoved()
        self._checkCanApply()

    def initializeParameterNode(self):
        """Bind the panel to the scene's choices; the first CT of the scene is proposed."""
        self.setParameterNode(self.logic.getParameterNode())
        if self._parameterNode.inputVolume is None:
            volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            first = [one for one in volumes if not one.IsA("vtkMRMLLabelMapVolumeNode")][:1]
            if first:
                self._parameterNode.inputVolume = first[0]

    def setParameterNode(self, node):
        """Bind the panel to other choices, or to none."""
        self._unbind()
        self._parameterNode = node
        self._volume = None if node is None else node.inputVolume
        if node is not None:
            self._parameterNodeGuiTag = node.connectGui(self.ui)
            self.addObserver(node, vtkCommand.ModifiedEvent, self._onChoices)
            self._onChoices()

    def _unbind(self):
        node = self._parameterNode
        if node is None or not self.hasObserver(node, vtkCommand.ModifiedEvent, self._onChoices):
            return
        node.disconnectGui(self._parameterNodeGuiTag)
        self._parameterNodeGuiTag = None
        self.removeObserver(node, vtkCommand.ModifiedEvent, self._onChoices)

    def _onChoices(self, caller=None, event=None):
        """The choices have changed, by the user, a script or a scene that was loaded."""
        node, before = self._parameterNode, self._volume
        self._volume = node.inputVolume
        if before is not None and self._volume not in (None, before):
            output = node.outputSegmentation
            role = output.GetReferenceImageGeometryReferenceRole() if output else None
            if output and output.GetNodeReference(role) == before:
                node.outputSegmentation = None  # the CT before keeps its result
        self.models.show(self._parameterNode.model, self._parameterNode.device)
        self._checkCanApply()

    def _onPicked(self):
        """Another model or device was chosen."""
        node, model, device = self._parameterNode, self.models.model, self.models.wantedDevice
        if node is not None:
            node.model, node.device = model, device  # read before: the lists follow the node
        self._checkCanApply()

    def _checkCanApply(self, caller=None, event=None):
        """Apply is possible, or says why not; during a run it is Cancel."""
        node, busy = self._parameterNode, self.jobs is not None and self.jobs.busy
        for name in ("inputsButton", "modelButton", "advancedButton"):
            getattr(self.ui, name).enabled = not busy
        self.ui.thresholdSlider.enabled = node is not None and node.ownThreshold
        self.ui.gateCheckBox.enabled = self.models.hasGate
        hint = self._whyNot(node)
        if busy:
            hint = _("Stop the run; the segmentation stays as it was.")
        self.ui.applyButton.text = _("Cancel") if busy else _("Apply")
        self.ui.applyButton.enabled = busy or not hint
        self.ui.applyButton.toolTip = hint or _("Segment the lesions.")
        self.results.setEnabled(not busy)

    def _whyNot(self, node):
        if node is None or node.inputVolume is None:
            return _("Choose a chest CT first.")
        if not self.models.model:
            return _("No lesion model is installed; reinstall the extension.")
        if node.regions is not None and node.regions == node.outputSegmentation:
            return _("The lungs or lobes and the result must be two segmentations.")
        return ""

    def onApplyButton(self, checked=False):
        """Start a run, or cancel the one that goes on."""
        if self.jobs.busy:
            self.jobs.cancel()
        elif self.logic.installPackages():
            node = self._parameterNode
            self.jobs.segment(
                node,
                model=self.models.model,
                device=self.models.device,
                regions=node.regions,
                gate=node.gate if self.models.hasGate else None,
                threshold=node.threshold if node.ownThreshold else None,
                probability=node.probability,
                showLungs=node.showLungs,
                surfaces=node.surfaces,
            )
        else:
            self.progress.fail(_("Not started: Python packages are missing."))


#
# CovidLesionSegLogic
#


class CovidLesionSegLogic(ScriptedLoadableModuleLogic):
    """The computation for the Slicer console, scripts and the panel; no widgets.

    >>> logic = CovidLesionSegLogic()
    >>> segmentation = logic.createSegmentation(volumeNode)
    >>> result = logic.process(volumeNode, segmentation, model="coarse-refine")
    >>> result.quantification.to_dict()
    """

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        _findPackage()
        from CovidLesionSegLib.workers import Workers

        self._workers = Workers(_rootFolder())

    def getParameterNode(self):
        """The scene's choices."""
        return CovidLesionSegParameterNode(ScriptedLoadableModuleLogic.getParameterNode(self))

    def warmUp(self, onDevices=None):
        """Start the worker and import what a run needs, where that is installed.

        :param onDevices: told later what can compute here: dicts of name, title and free_mb.
        """
        from CovidLesionSegLib import packages

        if not packages.missing():
            self._workers.warmUp(onDevices)

    def close(self):
        """End the worker, if one runs, and remove what was handed to it."""
        self._workers.close()

    def installedModels(self):
        """Cards of the installed lesion models, the default one first."""
        from CovidLesionSegLogic import models

        cards = models.list_models("lesion")
        cards.sort(key=lambda card: card.name != models.DEFAULT_MODEL)
        return cards

    def installPackages(self):
        """Whether all Python packages are there, after having offered to install missing ones."""
        from CovidLesionSegLib import packages

        names = packages.missing()
        if not names:
            return True
        if not slicer.util.confirmOkCancelDisplay(
            packages.question(names), _("Install Python packages")
        ):
            return False
        with slicer.util.tryWithErrorDisplay(_("The packages could not be installed.")):
            packages.install(names)
        return not packages.missing()

    def createSegmentation(self, inputVolume):
        """A new, empty segmentation node named after the volume."""
        from CovidLesionSegLogic import mrml

        scene = mrml.get_scene()
        name = _("{volume} lesions").format(volume=inputVolume.GetName())
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(name))
        node.CreateDefaultDisplayNodes()
        return node

    def makeRun(
        self,
        inputVolume,
        outputSegmentation,
        *,
        model="refnet",
        device="auto",
        regions=None,
        threshold=None,
        gate=None,
        batchSize=None,
        probability=False,
        showLungs=True,
        surfaces=False,
        progressCallback=None,
        onEnd=None,
    ):
        """A run in the worker, not started yet (``start()``, then ``cancel()`` or ``wait()``).

        Options as of :meth:`process`; ``onEnd(result, error)`` is called once, by Slicer's event
        loop or within ``wait()``.
        """
        options = {
            "model": model,
            "device": device,
            "threshold": threshold,
            "gate": gate,
            "batch_size": batchSize,
            "probability": probability,
        }
        return self._workers.segment(
            inputVolume,
            outputSegmentation,
            options,
            regions=regions,
            lungs=showLungs,
            surfaces=surfaces,
            onProgress=progressCallback,
            onEnd=onEnd,
        )

    def process(
        self,
        inputVolume,
        outputSegmentation,
        *,
        cancel=None,
        waitForCompletion=True,
        **options,
    ):
        """Segment the lesions of a chest CT into a segmentation node.

        The work is done by a child process that keeps its models from call to call
        (:meth:`close` ends it). The call installs nothing and opens no window.

        :param inputVolume: vtkMRMLScalarVolumeNode in Hounsfield units, any orientation.
        :param outputSegmentation: vtkMRMLSegmentationNode; segments of an earlier run are replaced,
          the user's own are kept.
        :param cancel: CovidLesionSegLogic.engine.Cancel, to stop from the progress callback.
        :param waitForCompletion: block until the segmentation is there; otherwise the call returns
          a run at once, which Slicer's event loop carries on.

        Options, all by name:

        :param model: name of an installed lesion model (:meth:`installedModels`); "refnet".
        :param device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        :param regions: vtkMRMLSegmentationNode with the lungs ("right lung", "left lung"), to be
          used instead of finding them, or with the five lobes, to be measured separately.
        :param threshold: probability from which a voxel is lesion; None: the model's own.
        :param gate: whether the model's slice classifier chooses the slices; None: the model's own.
        :param batchSize: slices at a time; None: by device.
        :param probability: also make a volume node of each class's probability.
        :param showLungs: also write the right and left lung as segments.
        :param surfaces: also make the surfaces for 3-D views.
        :param progressCallback: called with (stage, done, total).
        :return: the result with numbers, provenance and warnings; or the run.
        :raises: CovidLesionSegLogic.errors.CovidLesionSegError; the message says how to mend it,
          and which Python packages are missing if some are. CancelledError when cancelled; the
          segmentation is then as it was.
        """
        from CovidLesionSegLib import packages

        packages.check()
        self._checkOutput(outputSegmentation)
        run = self.makeRun(inputVolume, outputSegmentation, **options)
        run.start()
        return run.wait(cancel) if waitForCompletion else run

    def processHere(self, inputVolume, outputSegmentation, **options):
        """As :meth:`process`, in this process and thread; for scripts without an application.

        :param options: of CovidLesionSegLogic.pipeline.SegmentOptions; showLungs, surfaces,
          progressCallback and cancel as above.
        :return: CovidLesionSegLogic.pipeline.SegmentationResult, with the label arrays.
        """
        from CovidLesionSegLib import packages

        packages.check()
        self._checkOutput(outputSegmentation)
        from CovidLesionSegLib.inprocess import segmentHere

        return segmentHere(inputVolume, outputSegmentation, **options)

    def _checkOutput(self, outputSegmentation):
        from CovidLesionSegLogic.errors import RequestError

        if outputSegmentation is None or not outputSegmentation.IsA("vtkMRMLSegmentationNode"):
            raise RequestError("The output is not a segmentation; choose or create one.")

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

    def makeMeasureRun(self, inputVolume, segmentation, *, progressCallback=None, onEnd=None):
        """As :meth:`measure`, by the worker; the run is not started yet."""
        return self._workers.measure(
            inputVolume, segmentation, onProgress=progressCallback, onEnd=onEnd
        )

    def makeSaveRun(self, inputVolume, segmentation, folder, *, progressCallback=None, onEnd=None):
        """As :meth:`saveFiles`, not started yet."""
        return self._workers.save(
            inputVolume, segmentation, folder, onProgress=progressCallback, onEnd=onEnd
        )

    def saveFiles(self, inputVolume, segmentation, folder):
        """Write report, label maps and numbers of a segmentation as it is now.

        :return: written files by kind.
        :raises: CovidLesionSegLogic.errors.CovidLesionSegError.
        """
        run = self.makeSaveRun(inputVolume, segmentation, folder)
        run.start()
        return run.wait()


#
# CovidLesionSegTest
#


class CovidLesionSegTest(ScriptedLoadableModuleTest):
    """Self-test on a made-up CT; needs PyTorch and the installed models, no data and no network."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        for test in (self.test_segmentPhantom, self.test_worker):
            self.setUp()
            test()

    def test_segmentPhantom(self):
        """In this process: segments, terms and labels in the node are the computed ones."""
        logic = CovidLesionSegLogic()
        from CovidLesionSegLib import selftest

        selftest.segmentHere(logic, self.delayDisplay)

    def test_worker(self):
        """The child process: a run, a cancelled run and a measurement."""
        logic = CovidLesionSegLogic()
        from CovidLesionSegLib import selftest

        selftest.segmentInWorker(logic, self.delayDisplay)
