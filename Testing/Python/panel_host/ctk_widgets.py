"""The module ``ctk``: the widgets of CTK that panels use, made of Qt's."""

from __future__ import annotations

from typing import Any, ClassVar

from PySide6 import QtCore, QtGui, QtWidgets

from .dialect import dialect

_HEADER = 24  # height of a closed section, in pixels


class ctkCollapsibleButton(dialect(QtWidgets.QAbstractButton)):  # type: ignore[misc]
    """A section with a header; a click on the header closes or opens it."""

    sealed = True
    SIGNALS: ClassVar[dict[str, str]] = {"contentsCollapsed(bool)": "contentsCollapsed"}
    contentsCollapsed = QtCore.Signal(bool)

    def __init__(self, *values: object) -> None:
        texts = [value for value in values if isinstance(value, str)]
        super().__init__(*(value for value in values if not isinstance(value, str)))
        self._put_away: list[QtWidgets.QWidget] = []
        self.setText("".join(texts))
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(0, _HEADER, 0, 0)
        policy = QtWidgets.QSizePolicy.Policy.Preferred
        self.setSizePolicy(policy, policy)
        self.toggled.connect(self._toggled)

    def _collapsed(self) -> bool:
        return not self.isChecked()

    def _set_collapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = QtCore.Property(bool, _collapsed, _set_collapsed)

    def _toggled(self, opened: bool) -> None:
        self._arrange()
        self.contentsCollapsed.emit(not opened)

    def _arrange(self) -> None:
        """Hide the contents, or show those that were not hidden by the panel itself."""
        if self._collapsed():
            widgets = [child for child in self.children() if isinstance(child, QtWidgets.QWidget)]
            self._put_away += [child for child in widgets if not child.isHidden()]
            for child in self._put_away:
                child.hide()
        else:
            for child in self._put_away:
                child.show()
            self._put_away = []
        self.setMaximumHeight(_HEADER if self._collapsed() else 16777215)
        self.updateGeometry()

    def showEvent(self, event: QtGui.QShowEvent) -> None:
        self._arrange()  # the contents come after the properties when a file is loaded
        super().showEvent(event)

    def hitButton(self, position: QtCore.QPoint) -> bool:
        return position.y() < _HEADER

    def sizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(super().sizeHint().width(), self._height(super().sizeHint()))

    def minimumSizeHint(self) -> QtCore.QSize:
        hint = super().minimumSizeHint()
        return QtCore.QSize(hint.width(), self._height(hint))

    def _height(self, hint: QtCore.QSize) -> int:
        return _HEADER if self._collapsed() else max(hint.height(), _HEADER)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect.setHeight(_HEADER)
        option.text = self.text
        painter = QtWidgets.QStylePainter(self)
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButton, option)
        option.rect = QtCore.QRect(8, 7, 10, 10)
        arrows = QtWidgets.QStyle.PrimitiveElement
        painter.drawPrimitive(
            arrows.PE_IndicatorArrowRight if self._collapsed() else arrows.PE_IndicatorArrowDown,
            option,
        )


def _of_box(kind: type, name: str) -> Any:
    """A property of the slider's spin box, as a property of the whole."""

    def write(self: Any, value: Any) -> None:
        setattr(self._box, name, value)
        self._fit_slider()

    return QtCore.Property(kind, lambda self: getattr(self._box, name), write)


class ctkSliderWidget(dialect(QtWidgets.QWidget)):  # type: ignore[misc]
    """A slider with a spin box beside it; the spin box holds the value."""

    sealed = True
    SIGNALS: ClassVar[dict[str, str]] = {"valueChanged(double)": "valueChanged"}
    SLOTS = ("setValue(double)",)
    valueChanged = QtCore.Signal(float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider = dialect(QtWidgets.QSlider)(QtCore.Qt.Orientation.Horizontal)
        self._box = dialect(QtWidgets.QDoubleSpinBox)()
        self._box.setRange(0.0, 99.0)  # CTK's defaults
        layout = dialect(QtWidgets.QHBoxLayout)(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._box)
        self._box.valueChanged.connect(self._value_changed)
        self._slider.valueChanged.connect(self._slider_moved)
        self._fit_slider()

    def _value_changed(self, value: float) -> None:
        self._fit_slider()
        self.valueChanged.emit(value)

    def _slider_moved(self, position: int) -> None:
        self._box.value = self._box.minimum + position * self._box.singleStep

    def _fit_slider(self) -> None:
        step, low = self._box.singleStep, self._box.minimum
        blocker = QtCore.QSignalBlocker(self._slider)
        self._slider.setRange(0, round((self._box.maximum - low) / step))
        self._slider.value = round((self._box.value - low) / step)
        blocker.unblock()

    def setRange(self, low: float, high: float) -> None:
        self.minimum, self.maximum = low, high

    def setValue(self, value: float) -> None:
        self.value = value

    value = _of_box(float, "value")
    minimum = _of_box(float, "minimum")
    maximum = _of_box(float, "maximum")
    singleStep = _of_box(float, "singleStep")
    decimals = _of_box(int, "decimals")
    suffix = _of_box(str, "suffix")
    prefix = _of_box(str, "prefix")


CLASSES = {kind.__name__: kind for kind in (ctkCollapsibleButton, ctkSliderWidget)}
