"""Tables 1 to 3: how many patients, slices and lesions the data hold, beside the paper's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from CovidLesionSegLogic.assess.tables.cells import Cell, Grid
from CovidLesionSegLogic.assess.tables.coarse_refine import printed
from CovidLesionSegLogic.assess.tables.coarse_refine.section import Section
from CovidLesionSegLogic.assess.tables.document import Heading, Lines

NO_DATA = "The data have not been read yet: give --manifest."
LESION_NOTE = (
    "A lesion is a connected region of one class on one slice; the paper does not say how it "
    "counted."
)


def census_sections(census: Mapping[str, Any] | None, folds: Sequence[int]) -> list[Section]:
    """The three tables; Table 3 is of the first fold in the report, of all in its CSV."""
    titles = (
        "Table 1: outlined images of patients with COVID-19, by severity",
        "Table 2: all images, by label",
        f"Table 3: outlined images of patients with COVID-19, by part of fold {folds[0]}",
    )
    if census is None:
        return [Section((Heading(title), Lines((NO_DATA,)))) for title in titles]
    classes = census["classes"]
    by_part = census["by_part"][folds[0] - 1]
    one = _grid("severity", census["by_severity"], classes, _table_1)
    two = _grid("label", census["by_label"], (), _table_2)
    three = _grid("part", by_part, classes, _table_3)
    notes = [LESION_NOTE]
    if not census["severities"]:
        notes.append("These data state no severity.")
    unnamed = any(row["lesions"] and row["lesions"][-1] for row in census["by_severity"])
    if unnamed:
        notes.append("Lesions whose class nobody named are counted in the last column.")
    rows_3 = [
        {"fold": number, **line}
        for number, rows in enumerate(census["by_part"], 1)
        for line in _csv("part", rows, classes)
    ]
    return [
        Section(
            (Heading(titles[0]), one, Lines(tuple(notes))),
            {"T1.csv": _csv("severity", census["by_severity"], classes)},
        ),
        Section(
            (Heading(titles[1]), two, Lines(_absent(census["by_label"]))),
            {"T2.csv": _csv("label", census["by_label"], ())},
        ),
        Section((Heading(titles[2]), three), {"T3.csv": rows_3}),
    ]


def _grid(what: str, rows: Sequence[Mapping[str, Any]], classes: Sequence[str], paper: Any) -> Grid:
    lines = []
    for row in rows:
        theirs: Mapping[str, str] = paper(row["name"])
        cells = [Cell(row["name"])]
        cells.append(Cell(str(row["patients"]), theirs.get("patients", "")))
        cells.append(Cell(str(row["slices"]), theirs.get("slices", "")))
        lesions = row["lesions"] or [None] * (len(classes) + 1)
        for name, count in zip(classes, lesions, strict=False):
            said = "–" if count is None else str(count)
            cells.append(Cell(said, theirs.get(name, "")))
        if classes:
            cells.append(Cell("–" if lesions[-1] is None else str(lesions[-1])))
        lines.append(tuple(cells))
    headings = (what, "persons", "CT slices", *classes)
    if classes:
        headings += ("lesions of unnamed class",)
    return Grid("Ours; below, as the paper prints it for its own data.", headings, tuple(lines))


def _lesions(values: Mapping[str, str]) -> dict[str, str]:
    return {name: values[theirs] for name, theirs in printed.CLASSES.items() if theirs in values}


def _table_1(name: str) -> dict[str, str]:
    pair = printed.TABLE_1.get(name)
    if pair is None:
        return {}
    return _two(pair) | (_lesions(printed.LESIONS) if name == "total" else {})


def _table_2(name: str) -> dict[str, str]:
    pair = printed.TABLE_2.get(printed.LABELS.get(name, ""))
    return _two(pair) if pair else {}


def _table_3(name: str) -> dict[str, str]:
    values = printed.TABLE_3.get(name)
    if values is None:
        return {}
    return _two(values) | _lesions(dict(zip(printed.LESIONS, values[2:], strict=True)))


def _two(values: Sequence[str]) -> dict[str, str]:
    return {"patients": values[0], "slices": values[1]}


def _absent(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The paper's kinds of patient that these data do not name."""
    here = {printed.LABELS.get(row["name"]) for row in rows}
    absent = [
        f"{name} ({persons} persons, {slices} slices)"
        for name, (persons, slices) in printed.TABLE_2.items()
        if name not in here
    ]
    return (f"In the paper only: {'; '.join(absent)}.",) if absent else ()


def _csv(
    what: str, rows: Sequence[Mapping[str, Any]], classes: Sequence[str]
) -> list[dict[str, Any]]:
    found = []
    for row in rows:
        line = {what: row["name"], "persons": row["patients"], "slices": row["slices"]}
        names = [*classes, "unnamed class"] if classes else []
        lesions = row["lesions"] or [None] * len(names)
        found.append(line | dict(zip(names, lesions, strict=False)))
    return found
