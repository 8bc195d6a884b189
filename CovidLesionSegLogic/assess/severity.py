"""Lesion area over lung area by class and severity (paper, section 3.4, Figure 4 and Table 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.assess.figures import new_figure, save_figure
from CovidLesionSegLogic.assess.statistics import kruskal_wallis, spearman
from CovidLesionSegLogic.models import LesionClass

TRUTH_COLOR, RESULT_COLOR = "#4c72b0", "#c07840"
"""Figure 4: ground truth blue on the left, prediction brown on the right."""
UNITS = ("patient", "slice")


@dataclass(frozen=True)
class Areas:
    """Pixels (or voxels) of each lesion class, and of lung; lesion counts as lung."""

    lesion: tuple[int, ...]
    lung: int

    @classmethod
    def of(cls, labels: NDArray[Any], lungs: NDArray[Any], classes: Sequence[LesionClass]) -> Areas:
        """Count a label map and a lung mask (non-zero inside) of one shape, (h, w) or (z, y, x).

        A lung mask found by density spares consolidation, so lesions beyond it are added to the
        lung, as in the pipeline: no ratio exceeds 1.

        Raises
        ------
        ValueError
            The shapes differ.
        """
        if labels.shape != lungs.shape:
            raise ValueError(f"labels {labels.shape} and lungs {lungs.shape} differ in size")
        lesion = tuple(int(np.count_nonzero(labels == c.label)) for c in classes)
        return cls(lesion, int(np.count_nonzero((lungs != 0) | (labels != 0))))

    def __add__(self, other: Areas) -> Areas:
        lesion = tuple(a + b for a, b in zip(self.lesion, other.lesion, strict=True))
        return Areas(lesion, self.lung + other.lung)

    def ratios(self) -> tuple[float, ...] | None:
        """Lesion area / lung area of each class; None without any lung."""
        return tuple(n / self.lung for n in self.lesion) if self.lung else None


class SeverityAreas:
    """Area ratios of truth and prediction by severity: ``update`` with slices, then ``compute``.

    Parameters
    ----------
    classes
        Those of the label maps.
    severities
        From the mildest on; all that may occur.
    unit
        "patient": areas are added up over a patient's slices first; "slice": each slice counts,
        though slices of a patient are not independent, so that p-values come out too small.
    """

    def __init__(
        self, classes: Sequence[LesionClass], severities: Sequence[str], *, unit: str = "patient"
    ) -> None:
        if unit not in UNITS:
            raise ValueError(f"the unit must be one of {', '.join(UNITS)}, not {unit!r}")
        self.classes, self.severities, self.unit = tuple(classes), tuple(severities), unit
        self._areas: dict[tuple[str, int], tuple[str, Areas, Areas]] = {}

    def update(
        self,
        truth: NDArray[Any],
        predicted: NDArray[Any],
        lungs: NDArray[Any],
        *,
        severity: str,
        patient: str,
    ) -> None:
        """Add label maps and lung mask of one shape.

        Raises
        ------
        ValueError
            As :meth:`add`, or the shapes differ.
        """
        true, found = (Areas.of(labels, lungs, self.classes) for labels in (truth, predicted))
        self.add(true, found, severity=severity, patient=patient)

    def add(self, truth: Areas, predicted: Areas, *, severity: str, patient: str) -> None:
        """Add a slice that was counted before.

        Raises
        ------
        ValueError
            The severity is unknown, or the patient had another one before.
        """
        if severity not in self.severities:
            raise ValueError(f"severity {severity!r} is none of {', '.join(self.severities)}")
        key = (patient, 0 if self.unit == "patient" else len(self._areas))
        if key in self._areas:
            before, true_before, found_before = self._areas[key]
            if before != severity:
                raise ValueError(f"patient {patient} is {before} and {severity}")
            truth, predicted = true_before + truth, found_before + predicted
        self._areas[key] = (severity, truth, predicted)

    def compute(self) -> SeverityFigures:
        """Ratios by class and severity of all units that have lung."""
        ratios: dict[str, dict[str, dict[str, list[float]]]] = {
            c.name: {which: {s: [] for s in self.severities} for which in ("truth", "result")}
            for c in self.classes
        }
        for severity, *both in self._areas.values():
            for which, areas in zip(("truth", "result"), both, strict=True):
                for c, value in zip(self.classes, areas.ratios() or (), strict=False):
                    ratios[c.name][which][severity].append(value)
        return SeverityFigures(ratios, self.severities, self.unit)


@dataclass(frozen=True)
class SeverityFigures:
    """Ratios by class, then "truth" or "result", then severity, one for each unit."""

    ratios: dict[str, dict[str, dict[str, list[float]]]]
    severities: tuple[str, ...]
    unit: str

    def tests(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Table 5: by class and "truth" or "result", both tests of ratio against severity."""
        return {
            name: {
                which: {
                    "kruskal_wallis": kruskal_wallis(groups).to_dict(),
                    "spearman": spearman(groups).to_dict(),
                }
                for which, groups in both.items()
            }
            for name, both in self.ratios.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "unit": self.unit,
            "severities": list(self.severities),
            "ratios": self.ratios,
            "tests": self.tests(),
        }


def draw_severity(path: Path, figures: SeverityFigures) -> None:
    """Write Figure 4 as PNG: a panel per class, truth beside prediction for each severity."""
    from matplotlib.patches import Patch

    figure = new_figure(3.6 * len(figures.ratios), 3.8)
    panels = figure.subplots(1, len(figures.ratios), squeeze=False)[0]
    places = np.arange(len(figures.severities))
    looks = (("truth", TRUTH_COLOR, -0.2), ("result", RESULT_COLOR, 0.2))
    for axes, (name, both) in zip(panels, figures.ratios.items(), strict=True):
        for which, color, shift in looks:
            filled = [(x, both[which][s]) for x, s in enumerate(figures.severities)]
            filled = [(x, values) for x, values in filled if values]
            if filled:
                axes.boxplot(
                    [values for _, values in filled],
                    positions=[x + shift for x, _ in filled],
                    widths=0.34,
                    patch_artist=True,
                    boxprops={"facecolor": color},
                    medianprops={"color": "black"},
                    flierprops={"markersize": 3},
                    manage_ticks=False,
                )
        axes.set_xticks(places, figures.severities)
        axes.set(xlim=(-0.6, len(places) - 0.4), title=name, ylabel="lesion area / lung area")
        axes.grid(alpha=0.3, axis="y")
    handles = [Patch(facecolor=c, edgecolor="black") for _, c, _ in looks]
    figure.legend(handles, ["ground truth", "prediction"], loc="outside lower center", ncols=2)
    save_figure(figure, path)
