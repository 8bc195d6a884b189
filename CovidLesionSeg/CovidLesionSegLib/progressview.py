"""How far a run is: bar and line under the Apply button."""

from __future__ import annotations

from slicer.i18n import tr as _

SHARES = {
    "handover": (0, 3),
    "load": (3, 8),
    "lungs": (8, 35),
    "segment": (35, 97),
    "quantify": (97, 100),
}
"""Of the bar, percent: about what the stages take on a processor."""


class ProgressView:
    """The bar, the line below it, and what went wrong."""

    def __init__(self, ui):
        self.ui = ui
        self._left = None
        self.ui.progressBar.maximum = 100

    def begin(self):
        """A run starts."""
        from CovidLesionSegLogic.engine.remaining import TimeLeft

        self._left = TimeLeft()
        self._style("")
        self.ui.progressBar.value = 0
        self.ui.progressBar.visible = True
        self.ui.statusLabel.text = _("Starting...")

    def show(self, stage, done, total):
        """Stage, slices and time left."""
        from CovidLesionSegLogic.engine.remaining import duration_text
        from CovidLesionSegLogic.stages import STAGE_NAMES

        first, last = SHARES.get(stage, (0, 100))
        self.ui.progressBar.value = round(first + (last - first) * done / max(1, total))
        text = _(STAGE_NAMES.get(stage, stage))
        if stage in ("lungs", "segment") and total > 1:
            text = _("{stage}: slice {done} of {total}").format(stage=text, done=done, total=total)
        left = self._left(stage, done, total) if self._left else None
        if left is not None:
            text = _("{text}, about {time} left").format(text=text, time=duration_text(left))
        self.ui.statusLabel.text = text

    def say(self, text):
        """A line, and no bar unless a run goes on."""
        self._style("")
        self.ui.statusLabel.text = text

    def fail(self, text):
        """What went wrong and how to mend it."""
        self.ui.progressBar.visible = False
        self._style(f"color: {self._red()}; font-weight: bold")
        self.ui.statusLabel.text = text

    def finish(self, provenance):
        """The run has ended well."""
        self.ui.progressBar.visible = False
        self._style("")
        self.ui.statusLabel.text = _(
            "Done in {seconds:.0f} s on {device}. Research software, not for clinical use."
        ).format(seconds=sum(provenance["seconds"].values()), device=provenance["device"])

    def rest(self, text=""):
        """No run goes on."""
        self.ui.progressBar.visible = False
        self.say(text)

    def _red(self):
        """A red that can be read in light and dark themes."""
        import qt

        dark = self.ui.statusLabel.palette.color(qt.QPalette.Window).lightness() < 128
        return "#ff8a80" if dark else "#b3261e"

    def _style(self, css):
        self.ui.statusLabel.styleSheet = css
