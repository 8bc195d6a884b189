"""Figure 4 and Table 5: lesion area over lung area, by class and severity."""

from __future__ import annotations

import importlib.util
from typing import Any

from CovidLesionSegLogic.assess.severity import Areas, SeverityFigures, draw_severity
from CovidLesionSegLogic.assess.tables.cells import NOT_RUN, Cell, Grid, number
from CovidLesionSegLogic.assess.tables.coarse_refine import printed
from CovidLesionSegLogic.assess.tables.coarse_refine.gather import Judged, Results
from CovidLesionSegLogic.assess.tables.coarse_refine.overlap_table import (
    ABSENT,
    ANY_LESION,
    lesions_of,
)
from CovidLesionSegLogic.assess.tables.coarse_refine.section import Section, as_png
from CovidLesionSegLogic.assess.tables.document import Block, Heading, Lines, Picture
from CovidLesionSegLogic.learn.image_table import SEVERITIES

TITLE = "Figure 4 and Table 5: lesion area over lung area, by severity"
HEADINGS = (
    "lesion",
    "p, Kruskal-Wallis, prediction",
    "p, Kruskal-Wallis, truth",
    "Spearman ρ, prediction",
    "p",
    "Spearman ρ, truth",
    "p",
    "patients",
)
NOTES = (
    "Areas are added up over a patient's outlined test images first: slices of a patient are not "
    "independent. The paper neither says so nor names its test; Kruskal-Wallis over the severities "
    "and Spearman's rank correlation with them stand for it.",
    "A small p-value says that the ratio goes with the severity, not that it predicts it.",
)


def severity_section(results: Results) -> Section:
    """The figure and the table, or why there are none."""
    judged = results.found.get(results.plan.severity_run)
    why = _why_not(results, judged)
    figures = None if judged is None or why else severity_figures(judged, results.plan.classes)
    tests = figures.tests() if figures else {}
    lines, csv = [], []
    for name, channel in lesions_of(results):
        if name == ANY_LESION:
            continue
        quoted = printed.TABLE_5.get(printed.CLASSES.get(name, ""), "")
        reason = ABSENT if channel is None and results.census else why
        cells = [Cell(name)]
        line: dict[str, Any] = {"lesion": name, "paper_p": quoted}
        if name not in tests:
            cells += [Cell(reason, quoted), *(Cell(reason) for _ in HEADINGS[2:])]
        else:
            both = [tests[name][which] for which in ("result", "truth")]
            cells += [
                Cell(p_text(one["kruskal_wallis"]), quoted if one is both[0] else "")
                for one in both
            ]
            for one in both:
                cells += [Cell(number(one["spearman"]["statistic"])), Cell(p_text(one["spearman"]))]
            cells.append(Cell(str(both[0]["spearman"]["n"])))
            for which, one in zip(("prediction", "truth"), both, strict=True):
                line |= {
                    f"kruskal_wallis_p_{which}": one["kruskal_wallis"]["p"],
                    f"spearman_{which}": one["spearman"]["statistic"],
                    f"spearman_p_{which}": one["spearman"]["p"],
                    f"patients_{which}": one["spearman"]["n"],
                }
        lines.append(tuple(cells))
        csv.append(line)
    grid = Grid("Below: the p-value as the paper prints it.", HEADINGS, tuple(lines))
    blocks: list[Block] = [Heading(TITLE)]
    csvs = {"T5.csv": csv}
    if figures:
        csvs["figure-4.csv"] = _ratio_rows(figures)
        if importlib.util.find_spec("matplotlib") is None:
            blocks.append(Lines(("The picture is left out: matplotlib is not installed.",)))
        else:
            png = as_png(lambda path: draw_severity(path, figures))
            caption = "Lesion area over lung area of each patient; truth left, prediction right."
            blocks.append(Picture("figure-4.png", png, caption))
    blocks += [grid, Lines(NOTES)]
    return Section(tuple(blocks), csvs)


def severity_figures(judged: Judged, classes: tuple[str, ...]) -> SeverityFigures:
    """Ratios of truth and prediction of every patient with severity and lung area."""
    areas: dict[str, tuple[str, Areas, Areas]] = {}
    for row in judged.images:
        if row["severity"] is None or row["lung"] is None or not row["known"]:
            continue
        counts = row["counts"]
        both = [
            # Lesion counts as lung: a small lung area must not make a ratio above 1.
            Areas(lesion, max(row["lung"], sum(lesion)))
            for lesion in (tuple(c[2] for c in counts[:-1]), tuple(c[1] for c in counts[:-1]))
        ]
        _, true, found = areas.get(row["patient"], (None, None, None))
        if true is not None and found is not None:
            both = [true + both[0], found + both[1]]
        areas[row["patient"]] = (row["severity"], both[0], both[1])
    ratios: dict[str, dict[str, dict[str, list[float]]]] = {
        name: {which: {s: [] for s in SEVERITIES} for which in ("truth", "result")}
        for name in classes
    }
    for severity, *pair in areas.values():
        for which, one in zip(("truth", "result"), pair, strict=True):
            for name, value in zip(classes, one.ratios() or (), strict=False):
                ratios[name][which][severity].append(value)
    return SeverityFigures(ratios, SEVERITIES, "patient")


def p_text(test: dict[str, Any]) -> str:
    """A p-value as a number, or why there is none."""
    if test["p"] is None:
        return f"– ({test['note']})"
    if test["p"] < 1e-16:  # a perfect rank correlation has 0 by Student's t, however few there are
        return "< 1e-16"
    return f"{test['p']:.1e}" if test["p"] < 0.001 else f"{test['p']:.3f}"


def _why_not(results: Results, judged: Judged | None) -> str:
    census = results.census
    if census is not None:
        missing = [
            what
            for what, there in (("severities", "severities"), ("lung areas", "lungs"))
            if not census[there]
        ]
        if missing:
            return f"no {' and no '.join(missing)} in these data"
    return NOT_RUN if judged is None else ""


def _ratio_rows(figures: SeverityFigures) -> list[dict[str, Any]]:
    return [
        {"lesion": name, "of": which, "severity": severity, "ratio": value}
        for name, both in figures.ratios.items()
        for which, groups in both.items()
        for severity, values in groups.items()
        for value in values
    ]
