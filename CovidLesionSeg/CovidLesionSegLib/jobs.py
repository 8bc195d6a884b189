"""What the panel has the worker do, one job at a time, and what it shows when a job has ended."""

from __future__ import annotations

import logging

import slicer
from slicer.i18n import tr as _


class Jobs:
    """Starts runs of the logic and tells progress and results to the panel's parts.

    :param logic: CovidLesionSegLogic.
    :param progress, results: the panel's ProgressView and ResultsView.
    :param onChanged: called when a job begins and when it has ended.
    """

    def __init__(self, logic, progress, results, onChanged):
        self._logic, self._progress, self._results = logic, progress, results
        self._onChanged = onChanged
        self._run = None
        self._created = None  # the segmentation made for the run, removed when nothing comes of it
        self._quiet = False  # nobody looks any more: the scene or the panel is going
        self._segmenting = False

    @property
    def busy(self):
        """Whether a job goes on."""
        return self._run is not None

    @property
    def segmenting(self):
        """Whether the job that goes on, or is just ending, writes the segmentation itself."""
        return self._segmenting

    def segment(self, node, **options):
        """Lesions of the parameter node's CT, into its segmentation or a new one."""
        if node.outputSegmentation is None:
            self._created = self._logic.createSegmentation(node.inputVolume)
            node.outputSegmentation = self._created
        self._results.expect()
        make, self._segmenting = self._logic.makeRun, True
        self._start(make, self._onSegmented, node.inputVolume, node.outputSegmentation, **options)

    def measureAgain(self):
        """Numbers of the segmentation as it is now."""
        shown = self._results
        shown.expect()
        self._start(self._logic.makeMeasureRun, self._onMeasured, shown.volume, shown.segmentation)

    def saveFiles(self, folder):
        """Report, label maps and numbers of the segmentation as it is now."""
        shown = self._results
        self._start(
            self._logic.makeSaveRun, self._onSaved, shown.volume, shown.segmentation, folder
        )

    def cancel(self):
        """Stop the job, if there is one, within a second."""
        if self._run is not None:
            self._progress.say(_("Cancelling..."))
            self._run.cancel()

    def abandon(self):
        """Stop the job and show nothing of it: its scene or the panel is going."""
        self._quiet = self._run is not None
        self.cancel()

    def _start(self, make, onEnd, *args, **options):
        self._quiet = False
        self._progress.begin()
        try:
            self._run = make(*args, progressCallback=self._progress.show, onEnd=onEnd, **options)
            self._onChanged()
            self._run.start()
        except Exception as error:  # noqa: BLE001 - told to the user
            onEnd(None, error)

    def _onSegmented(self, result, error):
        run = self._ended(error)
        if run is None:
            return
        warnings = "\n".join(result.warnings)
        self._results.show(result.quantification, run.outputSegmentation, run.inputVolume, warnings)
        self._progress.finish(result.provenance)

    def _onMeasured(self, found, error):
        run = self._ended(error)
        if run is not None:
            warnings = "\n".join(found.warnings)
            self._results.show(found, run.segmentation, run.inputVolume, warnings)
            self._progress.say(_("Measured."))

    def _onSaved(self, outputs, error):
        if self._ended(error) is not None:
            self._progress.say(_("Saved: {paths}").format(paths=", ".join(outputs.values())))

    def _ended(self, error):
        """The run that has ended well, or None; what went wrong is told."""
        from CovidLesionSegLogic.errors import CancelledError

        run, self._run = self._run, None
        self._segmenting = False
        created, self._created = self._created, None
        if error is not None and created is not None and created.GetScene() is not None:
            slicer.mrmlScene.RemoveNode(created)
        quiet, self._quiet = self._quiet, False
        if quiet:
            self._progress.rest()
        elif isinstance(error, CancelledError):
            self._progress.rest(_("Cancelled; the segmentation is as it was."))
            self._logic.warmUp(lambda devices: None)  # a worker that had to be ended is replaced
        elif error is not None:
            self._progress.fail(str(error))
            logging.error("CovidLesionSeg: %s", error)
        else:
            self._progress.rest()
        self._onChanged()
        return None if quiet or error is not None else run
