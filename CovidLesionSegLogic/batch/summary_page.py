"""The summary as a page: what failed, what is to be checked, and every study with its picture."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import Any
from urllib.parse import quote

from CovidLesionSegLogic import __version__
from CovidLesionSegLogic.batch.outcome import FAILED, WAITING, Outcome
from CovidLesionSegLogic.batch.study import LeftOut
from CovidLesionSegLogic.report.style import CSS
from CovidLesionSegLogic.report.subject import DISCLAIMER
from CovidLesionSegLogic.report.text import NOTHING, clean, elide, percent, volume, whole

POLICY = "default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'"
MOST_LEFT_OUT = 200
_CSS = """
.batch td, .batch th { vertical-align: middle; }
 width: 17rem; padding: 0.2rem; }
.batch img { width: 16.5rem; height: auto; display: block; border-radius: 0.2rem; }
.failed { color: #b3261e; } @media (prefers-color-scheme: dark) { .failed { color: #ff8a80; } }
"""


def summary_html(
    outcomes: Sequence[Outcome],
    left_out: Sequence[LeftOut],
    classes: Sequence[str],
) -> str:
    """The page as HTML text. Pictures and reports are those in the studies' folders beside it."""
    done = [o for o in outcomes if o.record is not None]
    failed = [o for o in outcomes if o.status == FAILED]
    missing = sum(o.status == WAITING for o in outcomes)
    models = sorted({_numbers(o)["model"] for o in done})
    figures = [
        ("Studies", str(len(outcomes))),
        ("Done", str(len(done))),
        ("Failed", str(len(failed))),
        *([("Still to do", str(missing))] if missing else []),
        ("With warnings", str(sum(bool(_numbers(o)["warnings"]) for o in done))),
    ]
    cards = "".join(f"<div><dt>{k}</dt><dd>{escape(v)}</dd></div>" for k, v in figures)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>CovidLesionSeg summary</title><style>{CSS}{_CSS}</style></head><body>"
        f'<header><p class="disclaimer">{escape(DISCLAIMER)}</p><h1>Summary of the studies</h1>'
        f'<p class="soft">{_text(", ".join(models))}{", " if models else ""}'
        f"CovidLesionSeg {__version__}, {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}</p>"
        f'</header><main><dl class="figures">{cards}</dl>'
        f"{_failed(failed)}{_table(done, classes)}{_left_out(left_out)}</main>"
        f'<footer><p class="soft">{escape(DISCLAIMER)}.</p></footer></body></html>\n'
    )


def _numbers(outcome: Outcome) -> dict[str, Any]:
    assert outcome.record is not None  # only called for finished studies
    return outcome.record.numbers


def _text(value: object) -> str:
    return escape(elide(clean(value), 400))


def _failed(failed: Sequence[Outcome]) -> str:
    if not failed:
        return ""
    items = "".join(
        f"<tr><th>{_text(o.study.name)}</th><td>{_text(o.reason)}</td></tr>" for o in failed
    )
    return f'<h2 class="failed">Failed</h2><table class="facts">{items}</table>'


def _table(done: Sequence[Outcome], classes: Sequence[str]) -> str:
    if not done:
        return ""
    gated = any(_numbers(o)["infected"] is not None for o in done)
    scored = any(_numbers(o)["score_0_to_25"] is not None for o in done)
    heads = [
        "Study",
        "Picture",
        "Lungs, mL",
        *(_text(name[:1].upper() + name[1:]) for name in classes if len(classes) > 1),
        "All lesions",
        *(["Score, 0 to 25"] if scored else []),
        *(["Screening"] if gated else []),
        "To check",
    ]
    head = "".join(f"<th>{h}</th>" for h in heads)
    rows = "".join(_row(o, classes, gated=gated, scored=scored) for o in done)
    return (
        "<h2>Done</h2><p class='soft'>Volumes in mL and shares of both lungs. A picture opens in "
        "full; a name opens the report. Screening: signs of infection by the model's rule over "
        "slices, no diagnosis.</p>"
        f'<div class="wide"><table class="batch"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _row(outcome: Outcome, classes: Sequence[str], *, gated: bool, scored: bool) -> str:
    numbers = _numbers(outcome)
    found = {c["name"]: c for c in numbers["classes"]}
    cells = [volume(numbers["lungs_ml"])]
    if len(classes) > 1:
        cells += [
            _amount(found[name]["volume_ml"], found[name]["share_percent"])
            if name in found
            else NOTHING
            for name in classes
        ]
    cells.append(_amount(numbers["total_ml"], numbers["total_percent"]))
    if scored:
        cells.append(whole(numbers["score_0_to_25"]))
    if gated:
        cells.append({True: "signs", False: "no signs", None: NOTHING}[numbers["infected"]])
    warnings = numbers["warnings"]
    shown = "".join(f"<li>{_text(one)}</li>" for one in warnings)
    count = "1 warning" if len(warnings) == 1 else f"{len(warnings)} warnings"
    what = f"<details><summary>{count}</summary><ul>{shown}</ul></details>"
    cells.append(what if warnings else NOTHING)
    name = _link(outcome, "report", f"<bdi>{_text(outcome.study.name)}</bdi>")
    picture = _link(outcome, "overview", _image(outcome))
    body = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr><th>{name}</th><td class="picture">{picture}</td>{body}</tr>'


def _amount(ml: float | None, share: float | None) -> str:
    return f"{volume(ml)} mL<br>{percent(share)}"


def _address(outcome: Outcome, kind: str) -> str:
    """Where a file of the study lies as seen from the page; "" where there is none."""
    assert outcome.record is not None
    output = outcome.record.outputs.get(kind)
    if output is None:
        return ""
    return f"{quote(outcome.record.name)}/{quote(output['file'])}"


def _link(outcome: Outcome, kind: str, inner: str) -> str:
    address = _address(outcome, kind)
    return f'<a href="{escape(address)}">{inner}</a>' if address else inner


def _image(outcome: Outcome) -> str:
    address = _address(outcome, "overview")
    if not address:
        return NOTHING
    alt = f"Overview of {_text(outcome.study.name)}"
    return f'<img loading="lazy" alt="{alt}" src="{escape(address)}">'


def _left_out(left_out: Sequence[LeftOut]) -> str:
    if not left_out:
        return ""
    items = "".join(
        f"<tr><th>{one.kind} {_text(one.what)}</th><td>{_text(one.why)}</td></tr>"
        for one in left_out[:MOST_LEFT_OUT]
    )
    more = len(left_out) - MOST_LEFT_OUT
    rest = f"<p>... and {more} more in summary.json.</p>" if more > 0 else ""
    return (
        f"<h2>Left out</h2><details><summary>{len(left_out)} entries</summary>"
        f'<table class="facts">{items}</table>{rest}</details>'
    )
