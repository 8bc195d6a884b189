"""A report's blocks and rows as files, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from CovidLesionSegLogic.assess.tables.document import (
    Block,
    Heading,
    Lines,
    Picture,
    to_html,
    to_markdown,
)
from CovidLesionSegLogic.outputs import staged_folder
from CovidLesionSegLogic.quantify.export import write_csv

SENSE = "Research software, not for clinical use."


def opening(
    title: str, paper: str, notes: Sequence[str], header: Sequence[str], left_out: Sequence[str]
) -> list[Block]:
    """What stands before the tables: the paper, the plan's notes, what was really run."""
    return [
        Heading(title, 1),
        Lines((f"Paper: {paper}. {SENSE}", *notes), listed=False),
        Lines(tuple(header)),
        *([Lines(tuple(f"Left out: {why}." for why in left_out))] if left_out else []),
    ]


def write_files(
    blocks: list[Block],
    csvs: Mapping[str, Sequence[Mapping[str, Any]]],
    title: str,
    output: Path,
    publish: Path | None = None,
) -> dict[str, Path]:
    """Write ``report.md``, its pictures and the CSV files into both folders.

    ``output`` also gets ``report.html``. Returns what was written by name; raises RequestError
    where a folder cannot be written.
    """
    text = to_markdown(blocks)
    pictures = [block for block in blocks if isinstance(block, Picture)]
    outputs = {}
    for folder in filter(None, (output, publish)):
        with staged_folder(folder) as fresh:
            (fresh / "report.md").write_text(text, encoding="utf-8", newline="\n")
            for picture in pictures:
                (fresh / picture.name).write_bytes(picture.png)
            for name, rows in csvs.items():
                write_csv(rows, fresh / name)
            if folder is output:
                html = to_html(blocks, title)
                (fresh / "report.html").write_text(html, encoding="utf-8", newline="\n")
        outputs["published" if folder is publish else "report"] = folder / "report.md"
    return outputs
