"""The panel's third part: numbers, chart, display and files of a segmentation."""

from __future__ import annotations

from pathlib import Path

import slicer
from slicer.i18n import tr as _

from CovidLesionSegLib import dicomexport
from CovidLesionSegLib.resultstable import ResultsTable

POINT_SELECTED = "dataSelected(vtkStringArray*,vtkCollection*)"


class ResultsView:
    """Shows one segmentation's numbers; ``ui`` has the widgets of the .ui file."""

    def __init__(self, ui):
        self.ui = ui
        self._jobs = None
        self._observed = []  # (vtkSegmentation, tag of an observer) while changes are looked for
        self._changed = False  # the segmentation, since what is shown or on its way was computed
        self._filling = False
        self._plots = []  # Slicer's plot views whose clicks are heeded
        self.segmentation = self.volume = self.quantification = None
        self._table = ResultsTable(ui.resultsTable)
        for name, slot in {
            "copyButton": self.copy,
            "csvButton": self.saveCsv,
            "chartButton": self.showChart,
            "editButton": self.edit,
            "measureButton": self.measureAgain,
            "reportButton": self.saveFiles,
            "dicomButton": self.exportDicom,
        }.items():
            getattr(ui, name).connect("clicked(bool)", slot)
        ui.show3dCheckBox.connect("toggled(bool)", self.show3d)
        ui.opacitySlider.connect("valueChanged(double)", self.setOpacity)
        self.clear()

    def connect(self, jobs):
        """``jobs`` measures and saves: :class:`~.jobs.Jobs`."""
        self._jobs = jobs

    def expect(self):
        """New numbers are on their way, of the segmentation as it is now."""
        self._changed = False

    def clear(self):
        """Nothing is shown: there are no numbers, or they are another scene's."""
        self._observe(None)
        self._leavePlots()
        self.segmentation = self.volume = self.quantification = None
        self._table.clear()
        self.ui.resultsButton.text = _("3. Results")
        self.ui.resultsLabel.text = ""
        self.setEnabled(False)

    def forgetRemoved(self):
        """Show nothing of a segmentation or CT that has left the scene."""
        if None in [node.GetScene() for node in (self.segmentation, self.volume) if node]:
            self.clear()

    def setEnabled(self, enabled):
        """Whether the buttons can be pressed."""
        for name in (
            "copyButton",
            "csvButton",
            "chartButton",
            "show3dCheckBox",
            "opacitySlider",
            "editButton",
            "measureButton",
            "reportButton",
        ):
            getattr(self.ui, name).enabled = enabled and self.quantification is not None
        reason = dicomexport.whyNot(self.volume)
        self.ui.dicomButton.enabled = enabled and self.quantification is not None and not reason
        self.ui.dicomButton.toolTip = reason or _("Write the segments as a DICOM segmentation.")

    def show(self, quantification, segmentation, volume, note=""):
        """Fill the table; numbers and chart also become nodes of the scene."""
        from CovidLesionSegLogic import mrml

        self._changed = self._changed and segmentation == self.segmentation
        self.quantification, self.segmentation, self.volume = quantification, segmentation, volume
        mrml.numbers_to_table(quantification, segmentation)
        mrml.areas_to_chart(quantification, segmentation, self._colors())
        self._showDisplay()
        self._table.show(quantification, segmentation)
        self.ui.resultsButton.text = _("3. Results: {name}").format(name=segmentation.GetName())
        self.ui.resultsLabel.text = _stale() if self._changed else note
        self.ui.resultsButton.collapsed = False
        self._observe(segmentation)
        self.setEnabled(True)

    def _observe(self, segmentation):
        """Look for corrections of this segmentation, and of no other any more."""
        for content, tag in self._observed:
            content.RemoveObserver(tag)
        self._observed = []
        if segmentation is not None:
            content = segmentation.GetSegmentation()
            for event in (content.SourceRepresentationModified, content.SegmentRemoved):
                self._observed.append((content, content.AddObserver(event, self._onCorrected)))

    def _onCorrected(self, caller=None, event=None):
        if not self._jobs.segmenting:
            self._changed = True
            self.ui.resultsLabel.text = _stale()

    def measureAgain(self, checked=False):
        """Numbers of the segmentation as it is now."""
        self._jobs.measureAgain()

    def _colors(self):
        return {
            name: self.segmentation.GetSegmentation().GetSegment(segmentId).GetColor()
            for name, segmentId in self._segmentIds().items()
        }

    def _segmentIds(self):
        """Segment id by lesion class, of the segments that are still there."""
        from CovidLesionSegLogic import mrml

        return mrml.class_segments(self.segmentation)

    def _display(self):
        if self.segmentation.GetDisplayNode() is None:
            self.segmentation.CreateDefaultDisplayNodes()
        return self.segmentation.GetDisplayNode()

    def _showDisplay(self):
        """The boxes for 3-D and opacity say what is seen of this segmentation."""
        display, content = self._display(), self.segmentation.GetSegmentation()
        self._filling = True
        self.ui.show3dCheckBox.checked = bool(
            content.ContainsRepresentation("Closed surface") and display.GetVisibility3D()
        )
        self.ui.opacitySlider.value = display.GetOpacity()
        self._filling = False

    def copy(self, checked=False):
        """The table as tab-separated text, as spreadsheets take it."""
        import qt

        qt.QApplication.clipboard().setText(self._table.asText())

    def saveCsv(self, checked=False):
        """All numbers into a file of the user's choice."""
        import qt

        from CovidLesionSegLogic.quantify import write_csv

        path = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), _("Save the numbers"), "", _("Table (*.csv)")
        )
        path = path[0] if isinstance(path, tuple) else path
        if path:
            with slicer.util.tryWithErrorDisplay(_("The table could not be saved.")):
                path = path if path.lower().endswith(".csv") else f"{path}.csv"
                write_csv(self.quantification.rows(), Path(path))

    def saveFiles(self, checked=False):
        """Report, label maps and numbers into a folder of the user's choice."""
        import qt

        folder = qt.QFileDialog.getExistingDirectory(
            slicer.util.mainWindow(), _("Folder for report and files")
        )
        if folder:
            self._jobs.saveFiles(folder)

    def exportDicom(self, checked=False):
        """The segments as DICOM SEG into a folder of the user's choice."""
        import qt

        folder = qt.QFileDialog.getExistingDirectory(
            slicer.util.mainWindow(), _("Folder for the DICOM segmentation")
        )
        if folder:
            with slicer.util.tryWithErrorDisplay(
                _("The DICOM segmentation could not be written."), waitCursor=True
            ):
                dicomexport.export(self.segmentation, self.volume, folder)
                self.ui.statusLabel.text = _("Saved: {paths}").format(paths=folder)

    def showChart(self, checked=False):
        """The lesion areas in Slicer's plot view; a click on a point moves the slice views."""
        from CovidLesionSegLogic import mrml

        chart = mrml.areas_to_chart(self.quantification, self.segmentation, self._colors())
        slicer.modules.plots.logic().ShowChartInLayout(chart)
        manager = slicer.app.layoutManager()
        self._leavePlots()
        for index in range(manager.plotViewCount):
            view = manager.plotWidget(index).plotView()
            view.connect(POINT_SELECTED, self._onPointSelected)
            self._plots.append(view)

    def _leavePlots(self):
        """Heed no clicks into plots any more."""
        for view in self._plots:
            view.disconnect(POINT_SELECTED, self._onPointSelected)
        self._plots = []

    def _onPointSelected(self, seriesIds, selections):
        """Of the chart of these results; the view may show another one."""
        from CovidLesionSegLogic import mrml

        chart = self.segmentation and self.segmentation.GetNodeReference(mrml.CHART_ROLE)
        count = min(selections.GetNumberOfItems(), seriesIds.GetNumberOfValues())
        for index in range(count if chart else 0):
            points = selections.GetItemAsObject(index)
            if not chart.HasPlotSeriesNodeID(seriesIds.GetValue(index)):
                continue
            if points is not None and points.GetNumberOfValues():
                position = mrml.slice_position(chart, int(points.GetValue(0)))
                if position is not None:
                    mrml.jump_to_slice(self.segmentation, position)
                return

    def show3d(self, shown):
        """Surfaces in 3-D views, made where they are missing."""
        if self.segmentation is None or self._filling:
            return
        if shown:
            with slicer.util.tryWithErrorDisplay(
                _("The surfaces could not be made."), waitCursor=True
            ):
                self.segmentation.CreateClosedSurfaceRepresentation()
        self._display().SetVisibility3D(shown)

    def setOpacity(self, value):
        """Of all segments, in slices and in 3-D."""
        if self.segmentation is not None and not self._filling:
            self._display().SetOpacity(value)

    def edit(self, checked=False):
        """The segmentation in the Segment Editor, over its CT."""
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
        editor.setSegmentationNode(self.segmentation)
        editor.setSourceVolumeNode(self.volume)


def _stale():
    return _(
        "The segmentation was changed after these numbers were measured: press 'Measure again'."
    )
