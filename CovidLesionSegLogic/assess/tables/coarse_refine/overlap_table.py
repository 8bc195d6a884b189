"""Table 4, and the further rows that are not the paper's: overlap by network and lesion class."""

from __future__ import annotations

from typing import Any

from CovidLesionSegLogic.assess.intervals import Interval
from CovidLesionSegLogic.assess.overlap import MEASURES, WAYS
from CovidLesionSegLogic.assess.tables.cells import NOT_RUN, Cell, Grid, number, with_interval
from CovidLesionSegLogic.assess.tables.coarse_refine import printed
from CovidLesionSegLogic.assess.tables.coarse_refine.gather import ANY, Judged, Results
from CovidLesionSegLogic.assess.tables.coarse_refine.plan import Row
from CovidLesionSegLogic.assess.tables.coarse_refine.section import Section
from CovidLesionSegLogic.assess.tables.document import Block, Heading, Lines

HEADINGS = ("Dice", "IoU", "pixel precision", "pixel recall")
PRINTED = ("dice", "precision", "recall")
ABSENT = "no such lesion in these data"
ANY_LESION = "any lesion"


def lesions_of(results: Results) -> list[tuple[str, int | None]]:
    """(name, channel) of each class, then any lesion; channel None: not in these data.

    The paper's classes stand first in its order, others follow.
    """
    ours = list(results.plan.classes) if results.census else []
    order = [*reversed(printed.CLASSES), *(n for n in ours if n not in printed.CLASSES)]
    found: list[tuple[str, int | None]] = [
        (name, ours.index(name) if name in ours else None) for name in order
    ]
    return [*found, (ANY_LESION, ANY)]


def table_4(results: Results) -> Section:
    """The paper's table: each lesion, each network, mean over images beside the printed number."""
    rows = results.plan.tables["T4"]
    paper_lines, ours_lines, csv = [], [], []
    for row in rows:
        judged = results.found.get(row.run)
        for lesion, channel in lesions_of(results):
            cells = [Cell(row.label), Cell(lesion)]
            quoted = _printed(row.label, lesion)
            why = _why_not(judged, channel, results)
            figures = judged.overlap(channel) if judged and channel is not None else None
            for measure in MEASURES:
                ours = why if figures is None else with_interval(figures.per_image[measure])
                cells.append(Cell(ours, quoted.get(measure, "")))
            paper_lines.append(tuple(cells))
            line: dict[str, Any] = {"model": row.label, "lesion": lesion, "run": row.run}
            more = [Cell(row.label), Cell(lesion)]
            for way in WAYS:
                for measure in MEASURES:
                    found = getattr(figures, way)[measure] if figures else None
                    line |= three(f"{measure}_{way}", found)
                    if way != "per_image" and measure in ("dice", "precision", "recall"):
                        more.append(Cell(with_interval(found) if figures else why))
            for name in ("images", "patients", "empty_truth", "empty_result", "both_empty"):
                line[name] = figures.counts[name] if figures else None
                more.append(Cell(str(figures.counts[name]) if figures else "–"))
            line |= {f"{name}_paper": value for name, value in quoted.items()}
            ours_lines.append(tuple(more))
            csv.append(line)
    blocks: list[Block] = [
        Heading("Table 4: segmentation by network and lesion"),
        Grid(
            "Ours: mean over images (95 % interval over patients). Below: as the paper prints it.",
            ("model", "lesion", *HEADINGS),
            tuple(paper_lines),
        ),
        Grid(
            "Ours only: pixels of all images together, and of each patient together. An image "
            "without the class counts as 0 where it is marked (empty truth) and is left out where "
            "it is not (both empty).",
            (
                *("model", "lesion"),
                *(f"{m}, {w}" for w in ("pooled", "per patient") for m in PRINTED),
                *("images", "patients", "empty truth", "empty result", "both empty"),
            ),
            tuple(ours_lines),
        ),
        Lines((*false_marks(results, rows), *printed.SLIPS_4)),
    ]
    return Section(tuple(blocks), {"T4.csv": csv})


def levers(results: Results) -> Section:
    """Rows that the paper does not have: other starts and encoders."""
    rows = results.plan.tables["levers"]
    lesions = [(name, channel) for name, channel in lesions_of(results) if channel is not None]
    base = results.found.get(rows[0].run) if rows else None
    lines, csv = [], []
    for row in rows:
        judged = results.found.get(row.run)
        cells = [Cell(row.label)]
        line: dict[str, Any] = {"model": row.label, "run": row.run}
        for name, channel in lesions:
            found = judged.overlap(channel).per_image["dice"] if judged else None
            cells.append(Cell(with_interval(found) if judged else NOT_RUN))
            line |= three(f"dice {name}", found)
        gain = judged.gain(base) if judged and base and judged is not base else None
        cells.append(Cell("reference" if row is rows[0] else with_interval(gain, sign=True)))
        cells += [Cell(text) for text in effort(judged)]
        line |= three("dice_difference", gain)
        lines.append(tuple(cells))
        csv.append(line)
    blocks = (
        Heading("Levers: further rows of ours (not in the paper)"),
        Grid(
            "Mean Dice over images (95 % interval over patients). Δ: any lesion, image by image, "
            "from the first row.",
            ("model", *(f"Dice, {name}" for name, _ in lesions), "Δ Dice", *EFFORT),
            tuple(lines),
        ),
        Lines(false_marks(results, rows)),
    )
    return Section(blocks, {"levers.csv": csv}) if rows else Section(())


EFFORT = ("parameters, M", "start", "steps", "folds", "training, s")


def effort(judged: Judged | None) -> list[str]:
    """What a run took, by the headings of :data:`EFFORT`."""
    if judged is None:
        return [NOT_RUN] * len(EFFORT)
    trainings = [result["training"] for result in judged.results]
    steps = sorted({t["steps"] for t in trainings})
    timed = all(t["timed_steps"] == t["steps"] for t in trainings)
    seconds = number(sum(t["seconds"] for t in trainings) / len(trainings), 1)
    return [
        number(judged.results[0]["parameters"] / 1e6, 1),
        str(judged.results[0]["entry"]["init"]),
        str(steps[0]) if len(steps) == 1 else f"{steps[0]} to {steps[-1]}",
        ", ".join(map(str, judged.folds)),
        seconds if timed else f"{seconds} (incomplete)",
    ]


def false_marks(results: Results, rows: tuple[Row, ...]) -> tuple[str, ...]:
    """How often each network marks an image without lesion."""
    said = []
    for row in rows:
        judged = results.found.get(row.run)
        if judged is None:
            continue
        images, marked, share = judged.false_marks()
        if images:
            said.append(f"{row.label} marked {marked} of {images}, {share:.2%} of their pixels")
    return (f"Of the test images without lesion, {'; '.join(said)}.",) if said else ()


def three(name: str, found: Interval | None) -> dict[str, float | None]:
    """A figure with its ends, for a CSV."""
    ends = (None, None, None) if found is None else (found.value, found.low, found.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))


def _printed(label: str, lesion: str) -> dict[str, str]:
    values = printed.TABLE_4.get((label, printed.CLASSES.get(lesion, "")))
    return dict(zip(PRINTED, values, strict=True)) if values else {}


def _why_not(judged: Judged | None, channel: int | None, results: Results) -> str:
    if channel is None and results.census:
        return ABSENT
    return NOT_RUN if judged is None else "–"
