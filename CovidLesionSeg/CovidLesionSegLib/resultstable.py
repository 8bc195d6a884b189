"""The table of the panel's third part: a line per lesion class, with a box that shows the class."""

from __future__ import annotations

from slicer.i18n import tr as _

NAME_COLUMN = 0


class ResultsTable:
    """Fills a QTableWidget from a ``Quantification``.

    :param table: the widget.
    """

    def __init__(self, table):
        self._table = table
        self._quantification = self._segmentation = None
        self._filling = False
        table.connect("cellChanged(int,int)", self._onCellChanged)

    def clear(self):
        """No lines."""
        self._quantification = self._segmentation = None
        self._table.setRowCount(0)

    def show(self, quantification, segmentation):
        """The numbers; the boxes concern the classes' segments."""
        import qt

        from CovidLesionSegLogic import mrml
        from CovidLesionSegLogic.quantify import summary_rows

        self._quantification, self._segmentation = quantification, segmentation
        table, rows = self._table, summary_rows(quantification)
        headings = [_("lesion"), _("volume"), _("right lung"), _("left lung"), _("mean HU")]
        segments = mrml.class_segments(segmentation)
        self._filling = True
        table.setColumnCount(len(headings))
        table.setRowCount(len(rows))
        table.setHorizontalHeaderLabels(headings)
        for number, row in enumerate(rows):
            name = qt.QTableWidgetItem(row.name.replace(" ", "\n", 1))  # narrow
            name.setData(qt.Qt.UserRole, row.name)
            if row.kind == "class" and row.name in segments:
                shown = segmentation.GetDisplayNode().GetSegmentVisibility(segments[row.name])
                name.setCheckState(qt.Qt.Checked if shown else qt.Qt.Unchecked)
            table.setItem(number, NAME_COLUMN, name)
            for column, text in enumerate(_cells(row), 1):
                item = qt.QTableWidgetItem(text)
                item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                table.setItem(number, column, item)
        table.resizeColumnsToContents()
        table.resizeRowsToContents()
        table.updateGeometry()
        self._filling = False

    def asText(self):
        """The numbers as tab-separated text, a number a cell, as spreadsheets take it."""
        from CovidLesionSegLogic.quantify import COLUMNS, summary_rows

        lines = [["", *COLUMNS]]
        lines += [[row.name, *_texts(row)] for row in summary_rows(self._quantification)]
        return "\n".join("\t".join(line) for line in lines)

    def _onCellChanged(self, row, column):
        """A box was clicked: show or hide the class."""
        import qt

        from CovidLesionSegLogic import mrml

        if self._filling or column != NAME_COLUMN:
            return
        item = self._table.item(row, column)
        segment = mrml.class_segments(self._segmentation).get(item.data(qt.Qt.UserRole))
        if segment is not None:
            shown = item.checkState() == qt.Qt.Checked
            self._segmentation.GetDisplayNode().SetSegmentVisibility(segment, shown)


def _cells(row):
    """Volume and share in one cell, so that the table fits a narrow panel."""
    total, share, right, rightShare, left, leftShare, hu = _texts(row)
    pairs = ((total, share), (right, rightShare), (left, leftShare))
    volumes = [
        _("{volume} mL").format(volume=volume) + ("" if part == "–" else f"\n{part}")
        for volume, part in pairs
    ]
    return [*volumes, hu]


def _texts(row):
    """The numbers of a summary row as people read them."""
    from CovidLesionSegLogic.report.text import hounsfield, percent, volume

    shown = (volume, percent, volume, percent, volume, percent, hounsfield)
    return [show(value) for show, value in zip(shown, row.values, strict=True)]
