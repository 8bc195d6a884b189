"""Table 6 and Figure 5: the gate on the frozen encoder against a classifier from scratch."""

from __future__ import annotations

import importlib.util
from typing import Any

from CovidLesionSegLogic.assess.classification import NEGATIVE, POSITIVE, LevelFigures
from CovidLesionSegLogic.assess.confusion import draw_confusions
from CovidLesionSegLogic.assess.statistics import NOT_ACCURATE
from CovidLesionSegLogic.assess.tables.cells import NOT_RUN, Cell, Grid, number, with_interval
from CovidLesionSegLogic.assess.tables.coarse_refine import printed
from CovidLesionSegLogic.assess.tables.coarse_refine.gather import Results
from CovidLesionSegLogic.assess.tables.coarse_refine.overlap_table import EFFORT, effort, three
from CovidLesionSegLogic.assess.tables.coarse_refine.section import Section, as_png
from CovidLesionSegLogic.assess.tables.coarse_refine.severity_table import p_text
from CovidLesionSegLogic.assess.tables.document import Block, Heading, Lines, Picture

MEASURES = ("accuracy", "recall", "precision", "f1")
LEVELS = (("patient", "patients"), ("slice", "slices"))
RULE = (
    "A slice is positive where the probability is above 0.5, a patient where any slice is: the "
    "paper's rule. The truth of a slice is its outlined lesion where somebody outlined it, and "
    "the patient's label where nobody did; of a patient, whether any of its slices is positive."
)


def gate_section(results: Results) -> Section:
    """By patient (the paper's level) and by slice, with either class as the positive one."""
    lines, tests, csv, pictures = [], [], [], {}
    for row in results.plan.tables["T6"]:
        judged = results.found.get(row.run)
        figures = judged.classification() if judged else None
        if figures is None:
            lines += [_not_run(row.label, level) for level, _ in LEVELS]
            tests.append((Cell(row.label), *(Cell(NOT_RUN) for _ in range(6 + len(EFFORT)))))
            continue
        for level, name in LEVELS:
            one: LevelFigures = getattr(figures, name)
            for positive in (POSITIVE, NEGATIVE):
                quoted = printed.TABLE_6.get(row.label, ("",) * 4) if level == "patient" else ()
                lines.append(_line(row.label, level, positive, one, quoted))
                line: dict[str, Any] = {"model": row.label, "level": level, "positive": positive}
                for measure in MEASURES:
                    line |= three(measure, one.measures[positive][measure])
                line |= three("auc", one.roc.auc)
                (tn, fp), (fn, tp) = one.confusion.matrix()
                csv.append(line | {"tn": tn, "fp": fp, "fn": fn, "tp": tp})
            tests.append(_tests(row.label, level, one, effort(judged)))
        pictures[row.label] = figures.patients.confusion
    blocks: list[Block] = [
        Heading("Table 6 and Figure 5: is the patient infected?"),
        Grid(
            "Ours (95 % interval over patients). Below: as the paper prints it, for patients.",
            ("model", "of", "as positive", "accuracy", "recall", "precision", "F1", "AUC", "cases"),
            tuple(lines),
        ),
        Grid(
            "Decisions against the truth.",
            (
                *("model", "Friedman, as published", "p", "McNemar, exact: p"),
                *("found by mistake", "missed", "of", *EFFORT),
            ),
            tuple(tests),
        ),
    ]
    if pictures and importlib.util.find_spec("matplotlib") is not None:
        png = as_png(lambda p: draw_confusions(p, pictures, names=(NEGATIVE, POSITIVE)))
        blocks.append(Picture("figure-5.png", png, "Confusion matrices of the patients."))
    elif pictures:
        blocks.append(Lines(("The picture is left out: matplotlib is not installed.",)))
    blocks.append(Lines((RULE, NOT_ACCURATE, *printed.SLIPS_6)))
    return Section(tuple(blocks), {"T6.csv": csv} if csv else {})


def _line(
    label: str, level: str, positive: str, one: LevelFigures, quoted: tuple[str, ...]
) -> tuple[Cell, ...]:
    cells = [Cell(label), Cell(level), Cell(positive)]
    for place, measure in enumerate(MEASURES):
        ours = with_interval(one.measures[positive][measure])
        cells.append(Cell(ours, quoted[place] if quoted else ""))
    auc = with_interval(one.roc.auc)
    return (*cells, Cell(auc), Cell(str(one.confusion.total)))


def _not_run(label: str, level: str) -> tuple[Cell, ...]:
    quoted = printed.TABLE_6.get(label, ("",) * 4) if level == "patient" else ("",) * 4
    cells = [Cell(label), Cell(level), Cell("–"), *(Cell(NOT_RUN, text) for text in quoted)]
    return (*cells, Cell(NOT_RUN), Cell("–"))


def _tests(label: str, level: str, one: LevelFigures, took: list[str]) -> tuple[Cell, ...]:
    found: dict[str, Any] = one.to_dict()["tests"]
    friedman, mcnemar = found["friedman_as_published"], found["mcnemar_exact"]
    quoted = printed.FRIEDMAN.get(label, "") if level == "patient" else ""
    matrix = one.confusion
    return (
        Cell(f"{label}, by {level}"),
        Cell(number(friedman["statistic"]), quoted),
        Cell(p_text(friedman)),
        Cell(p_text(mcnemar)),
        Cell(str(matrix.false_positive)),
        Cell(str(matrix.false_negative)),
        Cell(str(matrix.total)),
        *(Cell(text) for text in took),
    )
