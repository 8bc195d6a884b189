"""A CSV file of cases: one study per row."""

from __future__ import annotations

import csv
from pathlib import Path

from CovidLesionSegLogic.batch.study import Study
from CovidLesionSegLogic.ct.formats import study_name
from CovidLesionSegLogic.errors import InputError, RequestError, quoted
from CovidLesionSegLogic.outputs import check_study_name

COLUMNS = ("input", "name", "series", "lungs", "regions", "region_names")


def read_cases(table: Path) -> list[Study]:
    """The studies of a CSV file with the column "input" and any others of :data:`COLUMNS`.

    Paths in it are relative to its own folder. Whether they exist shows when they are read, so that
    a wrong row is one failed study and not the end of the rest.

    Raises
    ------
    RequestError
        The table has no rows, no column "input", an unknown column, or a name that cannot be used.
    InputError
        It cannot be read.
    """
    if not table.is_file():  # a pipe may never end
        raise InputError(f"The table of cases {table} is no file: save it as CSV in UTF-8.")
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            # Spreadsheets of some countries separate by semicolons.
            first = file.readline()
            file.seek(0)
            reader = csv.DictReader(file, delimiter=";" if first.count(";") else ",", strict=True)
            header = [(name or "").strip().lower() for name in reader.fieldnames or []]
            while header and not header[-1]:  # empty columns, which spreadsheets write
                header.pop()
            reader.fieldnames = header
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"The table of cases {table} cannot be read ({error}): save it as CSV in UTF-8."
        ) from error
    unknown = [name for name in header if name not in COLUMNS]
    twice = [name for name in COLUMNS if header.count(name) > 1]
    if "input" not in header or unknown or twice:
        what = (
            f"has an unknown column '{quoted(unknown[0])}'" if unknown else "has no column 'input'"
        )
        if twice:  # the last one would count, in silence
            what = f"has two columns '{twice[0]}'"
        raise RequestError(
            f"The table of cases {table} {what}: name its columns in the first row, of "
            f"{', '.join(COLUMNS)}."
        )
    studies = [_study(table, line, row) for line, row in rows if (row["input"] or "").strip()]
    if not studies:
        raise RequestError(f"The table of cases {table} has no rows: add one per study.")
    return studies


def expanded(text: str) -> Path:
    """A path with the home folder in place of "~"; one of nobody's (~$a.csv) as it is."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def _study(table: Path, line: int, row: dict[str, str]) -> Study:
    def text(column: str) -> str | None:
        return (row.get(column) or "").strip() or None

    def path(column: str) -> Path | None:
        value = text(column)
        if value is not None and "\0" in value:
            raise RequestError(f"Line {line} of {table} has a path with a zero byte: correct it.")
        return None if value is None else table.parent / expanded(value)

    if any(cell.strip() for cell in row.get(None, ())):  # type: ignore[call-overload]
        raise RequestError(
            f"Line {line} of {table} has more cells than the first row: put texts that hold commas "
            "in quotation marks."
        )
    given, source = text("name"), path("input")
    assert source is not None  # rows without are left out
    try:
        name = study_name(source) if given is None else check_study_name(given)
    except RequestError as error:
        raise RequestError(f"Line {line} of {table}: {error}") from error
    return Study(
        name=name,
        path=source,
        series_uid=text("series"),
        lungs=path("lungs"),
        regions=path("regions"),
        region_names=text("region_names"),
    )
