"""Which model, and on what it computes: the panel's second part."""

from __future__ import annotations

from collections import Counter

from slicer.i18n import tr as _


class ModelPicker:
    """Fills the two lists and says in a line what a model finds, how well, and its licence.

    :param onPicked: called after the user has chosen.
    """

    def __init__(self, ui, logic, onPicked):
        self.ui, self._logic, self._onPicked = ui, logic, onPicked
        self._cards = {}
        self._filling = False
        self.wantedDevice = "auto"
        """The scene's choice, kept where the device is not listed (yet)."""
        ui.modelSelector.connect("currentIndexChanged(int)", self._onModel)
        ui.deviceSelector.connect("currentIndexChanged(int)", self._onDevice)
        self.setDevices([])

    @property
    def model(self):
        """Name of the chosen model, "" where there is none."""
        return self.ui.modelSelector.currentData or ""

    @property
    def device(self):
        """Name of the chosen device."""
        return self.ui.deviceSelector.currentData or "auto"

    @property
    def hasGate(self):
        """Whether the chosen model can leave slices out."""
        card = self._cards.get(self.model)
        return card is not None and card.gate is not None

    def fill(self):
        """The installed models, the default one first; the choice stays where it can."""
        chosen = self.model
        self._cards = {card.name: card for card in self._logic.installedModels()}
        finds = {name: _finds(card) for name, card in self._cards.items()}
        several = [text for text, number in Counter(finds.values()).items() if number > 1]
        items = [(f"{t} ({n})" if t in several else t, n) for n, t in finds.items()]
        self._fill(self.ui.modelSelector, items)
        self._choose(self.ui.modelSelector, chosen)
        self._tell()

    def setDevices(self, devices):
        """What can compute here: (name, title, free MB) as the worker says."""
        items = [(_("Automatic"), "auto")]
        for one in devices or [{"name": "cpu", "title": _("CPU"), "free_mb": None}]:
            title = one["title"]
            if one["free_mb"] is not None:
                title = _("{title} ({name}, {free:.1f} GB free)").format(
                    title=title, name=one["name"], free=one["free_mb"] / 1000
                )
            items.append((title, one["name"]))
        self._fill(self.ui.deviceSelector, items)
        self._choose(self.ui.deviceSelector, self.wantedDevice)

    def show(self, model, device):
        """The choices of a parameter node."""
        if not self._cards:
            self.fill()
        self.wantedDevice = device
        self._choose(self.ui.modelSelector, model)
        self._choose(self.ui.deviceSelector, device)
        self._tell()

    def _fill(self, box, items):
        self._filling = True
        box.clear()
        for text, data in items:
            box.addItem(text, data)
        self._filling = False

    def _choose(self, box, data):
        index = box.findData(data)
        self._filling = True
        box.setCurrentIndex(max(index, 0))
        self._filling = False

    def _onModel(self, index=None):
        if not self._filling:
            self._tell()
            self._onPicked()

    def _onDevice(self, index=None):
        if not self._filling:
            self.wantedDevice = self.device
            self._onPicked()

    def _tell(self):
        card = self._cards.get(self.model)
        if card is None:
            self.ui.modelInfoLabel.text = _("No lesion model is installed.")
            return
        title = f"{card.title} ({card.name} {card.version})"
        lines = [title, card.validation.get("in short", ""), card.licence]
        self.ui.modelInfoLabel.text = "\n".join(line for line in lines if line)


def _finds(card):
    """A model by what it finds: "Ground-glass opacity, consolidation"."""
    text = ", ".join(c.name for c in card.classes)
    return f"{text[:1].upper()}{text[1:]}"
