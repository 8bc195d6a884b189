"""Table 7: what each component brings, all lesions in one class."""

from __future__ import annotations

from typing import Any

from CovidLesionSegLogic.assess.classification import POSITIVE
from CovidLesionSegLogic.assess.tables.cells import NOT_RUN, Cell, Grid, with_interval
from CovidLesionSegLogic.assess.tables.coarse_refine import printed
from CovidLesionSegLogic.assess.tables.coarse_refine.gather import ANY, Judged, Results
from CovidLesionSegLogic.assess.tables.coarse_refine.overlap_table import (
    EFFORT,
    effort,
    false_marks,
    three,
)
from CovidLesionSegLogic.assess.tables.coarse_refine.section import Section
from CovidLesionSegLogic.assess.tables.document import Heading, Lines

HEADINGS = (
    "model",
    "segmentation Dice",
    "Δ Dice from the row above",
    "classification accuracy, patients",
    "accuracy, slices",
    "AUC, slices",
)
NO_TEST = "no test slices"


def ablation_section(results: Results) -> Section:
    """The four rows, each against the one above it."""
    rows = results.plan.tables["T7"]
    lines, csv = [], []
    above: Judged | None = None
    for place, row in enumerate(rows):
        judged = results.found.get(row.run)
        dice, accuracy = printed.TABLE_7[place] if place < len(printed.TABLE_7) else ("", "")
        ours = judged.overlap(ANY).per_image["dice"] if judged else None
        gain = judged.gain(above) if judged and above else None
        figures = judged.classification() if judged else None
        cells = [Cell(row.label), Cell(with_interval(ours) if judged else NOT_RUN, dice)]
        step = with_interval(gain, sign=True) if judged else NOT_RUN
        cells.append(Cell("–" if place == 0 and judged else step))
        line: dict[str, Any] = {"model": row.label, "run": row.run, "dice_paper": dice}
        line |= {"accuracy_paper": accuracy} | three("dice", ours) | three("gain", gain)
        if figures is None:
            why = NOT_RUN if judged is None else NO_TEST
            cells += [Cell(why, accuracy), Cell(why), Cell(why)]
        else:
            levels = (figures.patients, figures.slices)
            both = [level.measures[POSITIVE]["accuracy"] for level in levels]
            cells += [Cell(with_interval(both[0]), accuracy), Cell(with_interval(both[1]))]
            cells.append(Cell(with_interval(figures.slices.roc.auc)))
            line |= three("accuracy_patients", both[0]) | three("accuracy_slices", both[1])
            line |= three("auc_slices", figures.slices.roc.auc)
        cells += [Cell(text) for text in effort(judged)]
        lines.append(tuple(cells))
        csv.append(line)
        above = judged
    blocks = (
        Heading("Table 7: what each component brings"),
        Grid(
            "One class, the union of the lesions. Ours: mean over images (95 % interval over "
            "patients). Below: as the paper prints it.",
            (*HEADINGS, *EFFORT),
            tuple(lines),
        ),
        Lines(false_marks(results, rows)),
    )
    return Section(blocks, {"T7.csv": csv})
