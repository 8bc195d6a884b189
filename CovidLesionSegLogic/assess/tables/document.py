"""The report as blocks, written twice: Markdown and one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from html import escape

from CovidLesionSegLogic.assess.tables.cells import Cell, Grid
from CovidLesionSegLogic.report.style import CSS

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class Heading:
    """A heading of level 1 or 2."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Lines:
    """Sentences; as a list of points or, ``listed`` false, a paragraph each."""

    texts: tuple[str, ...]
    listed: bool = True


@dataclass(frozen=True)
class Picture:
    """A PNG file beside the report."""

    name: str
    png: bytes
    caption: str


Block = Heading | Lines | Picture | Grid


def to_markdown(blocks: list[Block]) -> str:
    """The report as Markdown; pictures are linked by name."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {block.text}"
    if isinstance(block, Lines):
        return ("\n" if block.listed else "\n\n").join(
            f"- {text}" if block.listed else text for text in block.texts
        )
    if isinstance(block, Picture):
        return f"![{block.caption}]({block.name})\n\n{block.caption}"
    rows = [[_cell_markdown(cell) for cell in row] for row in block.rows]
    lines = [list(block.headings), ["---"] * len(block.headings), *rows]
    return "\n".join([*("| " + " | ".join(line) + " |" for line in lines), "", block.caption])


def _cell_markdown(cell: Cell) -> str:
    ours, paper = (text.replace("|", "\\|") for text in (cell.ours, cell.paper))
    if not paper:
        return ours
    return f"{ours}<br>paper {f'**{paper}**' if cell.strong else paper}"


def to_html(blocks: list[Block], title: str) -> str:
    """The report as one HTML file: pictures inside, no script, nothing loaded."""
    body = "\n".join(_html(block) for block in blocks)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title><style>{CSS}</style></head>\n<body>\n{body}\n"
        "</body></html>\n"
    )


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{escape(block.text)}</h{block.level}>"
    if isinstance(block, Lines):
        tag = "li" if block.listed else "p"
        inside = "".join(f"<{tag}>{_inline(text)}</{tag}>" for text in block.texts)
        return f"<ul>{inside}</ul>" if block.listed else inside
    if isinstance(block, Picture):
        data = base64.b64encode(block.png).decode("ascii")
        caption = escape(block.caption)
        return (
            f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in block.headings)
    rows = []
    for row in block.rows:
        first, *others = row
        cells = f'<th scope="row">{escape(first.ours)}</th>'
        cells += "".join(f"<td>{_cell_html(cell)}</td>" for cell in others)
        rows.append(f"<tr>{cells}</tr>")
    return (
        f'<div class="wide"><table><caption>{escape(block.caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell_html(cell: Cell) -> str:
    if not cell.paper:
        return escape(cell.ours)
    paper = escape(cell.paper)
    return (
        f'{escape(cell.ours)}<br><span class="soft">paper '
        f"{f'<b>{paper}</b>' if cell.strong else paper}</span>"
    )


def _inline(text: str) -> str:
    return re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escape(text))
