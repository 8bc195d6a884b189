"""The report: one HTML file that needs nothing else, runs nothing and sends nothing."""

from __future__ import annotations

import base64
from html import escape
from os import PathLike
from typing import Any

from CovidLesionSegLogic.ct.atomic import atomic_path
from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.quantify.severity import MOST
from CovidLesionSegLogic.report import severity, tables
from CovidLesionSegLogic.report.chart import area_svg, hex_color
from CovidLesionSegLogic.report.extent import share_svg
from CovidLesionSegLogic.report.overview import overview_png
from CovidLesionSegLogic.report.screening import decision_text, gate_of
from CovidLesionSegLogic.report.style import CSS
from CovidLesionSegLogic.report.subject import DISCLAIMER, ShownResult, all_warnings, describe_model
from CovidLesionSegLogic.report.tables import text
from CovidLesionSegLogic.report.text import clean, elide, percent, volume

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

HOW_TO_READ = (
    "Volumes count voxels of the label map times the voxel's volume from the CT's spacing. "
    "Shares are the volume of lesion inside a lung divided by that lung's volume, "
    "lesions included.",
    "Densities are in Hounsfield units over the voxels of a class; the SD is that of the "
    "population of voxels, not of repeated measurements.",
    "Right and left are the patient's. In the pictures the patient's right is on the left. "
    "Lung window: −1200 to 200 HU.",
    "The labels come from a neural network trained on few patients. It can miss lesions and mark "
    "vessels, motion, atelectasis, effusion or other disease; it does not tell COVID-19 from "
    "other causes. Check the outlines against the CT before quoting a number.",
)


def write_report(
    result: ShownResult, path: str | PathLike[str], *, overview: bytes | None = None
) -> None:
    """Write the HTML report of a result, whole or not at all.

    Parameters
    ----------
    result
        A segmentation, see :class:`~CovidLesionSegLogic.report.subject.ShownResult`.
    path
        The file to write.
    overview
        PNG data of the overview picture where it was already drawn; drawn here otherwise, and
        left out, with a remark, where matplotlib is not installed.

    Raises
    ------
    RequestError
        When the folder cannot be written.
    """
    page = report_html(result, overview=overview)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")


def report_html(result: ShownResult, *, overview: bytes | None = None) -> str:
    """The report as HTML text; see :func:`write_report`."""
    name = escape(elide(clean(result.ct.name), 160)) or "unnamed study"
    regions = severity.region_section(result)
    model = describe_model(result.provenance)
    method = f"Model: {text(model.name)}." if model.name else ""
    sections = [
        _warnings(result),
        _figures(result),
        f"<h2>Share of the lungs</h2>{_shares(result)}",
        regions,
        f"<h2>Lesions</h2>{tables.class_table(result)}",
        f"<h2>Pictures</h2>{_picture(result, overview)}",
        f"<h2>{_chart_title(result)}</h2>{_screening(result)}<figure>{_chart(result)}</figure>"
        f"<details><summary>All slices as a table</summary>{tables.slice_table(result)}</details>",
        f"<h2>Lungs</h2>{tables.lung_table(result)}",
        "<h2>How to read this report</h2>" + "".join(f"<p>{escape(p)}</p>" for p in HOW_TO_READ),
        f"<h2>How it was made</h2>{tables.facts(_provenance(result))}",
        f"<h2>Licence of the weights</h2><p>{text(model.licence) or 'not stated'}</p>"
        + (f"<p>Please cite: {text(model.citation)}</p>" if model.citation else ""),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{name} - CovidLesionSeg report</title><style>{CSS}</style></head><body>"
        f'<header><p class="disclaimer">{escape(DISCLAIMER)}</p><h1 dir="auto">{name}</h1>'
        f'<p class="soft">COVID-19 lesion segmentation on chest CT. {method}</p></header>'
        f"<main>{''.join(sections)}</main>"
        f'<footer><p class="soft">{escape(DISCLAIMER)}.</p></footer></body></html>\n'
    )


def _warnings(result: ShownResult) -> str:
    warnings = all_warnings(result)
    if not warnings:
        return ""
    items = "".join(f"<li>{text(w)}</li>" for w in warnings)
    return (
        '<section class="warnings" aria-labelledby="warnings"><h2 id="warnings">Please check'
        f"</h2><ul>{items}</ul></section>"
    )


def _figures(result: ShownResult) -> str:
    q = result.quantification
    found = q.total.volume_ml > 0
    lead = "" if found else "<p><strong>No lesion was found.</strong></p>"
    figures = [
        ("All lesions", f"{volume(q.total.volume_ml)} mL"),
        ("Of both lungs", percent(q.total.share_of_lungs_percent)),
        ("Of the right lung", percent(q.total.share_of_right_lung_percent)),
        ("Of the left lung", percent(q.total.share_of_left_lung_percent)),
        ("Lung volume", f"{volume(q.lungs.volume_ml)} mL" if q.lungs.volume_ml else "not found"),
        ("Slices with lesion", f"{len(q.slices_with_lesion)} of {len(q.slices)}"),
    ]
    if q.score_0_to_25 is not None:
        figures.append(("CT severity score", f"{q.score_0_to_25} of {MOST}"))
    items = "".join(f"<div><dt>{k}</dt><dd>{escape(v)}</dd></div>" for k, v in figures)
    return f'{lead}<dl class="figures">{items}</dl>'


def _picture(result: ShownResult, overview: bytes | None) -> str:
    if overview is None:
        try:
            overview = overview_png(result)
        except RequestError as error:
            return f"<p>{text(error)}</p>"
    q = result.quantification
    alt = (
        f"Axial slices, a coronal and a sagittal plane of {elide(clean(result.ct.name), 80)} in "
        f"lung window with lesions coloured by class: {volume(q.total.volume_ml)} mL in all, "
        f"{len(q.slices_with_lesion)} of {len(q.slices)} slices. The tables give the same numbers."
    )
    data = base64.b64encode(overview).decode("ascii")
    return f'<figure><img alt="{text(alt)}" src="data:image/png;base64,{data}"></figure>'


def _shares(result: ShownResult) -> str:
    bars = share_svg(result.quantification, result.classes)
    return severity.share_table(result) + (f"<figure>{bars}</figure>" if bars else "")


def _chart_title(result: ShownResult) -> str:
    return "Lesion area per slice" + (" and screening" if gate_of(result) is not None else "")


def _screening(result: ShownResult) -> str:
    gate = gate_of(result)
    return "" if gate is None else f"<p>{text(decision_text(gate))}</p>"


def _chart(result: ShownResult) -> str:
    legend = "".join(
        f"{tables.swatch(n, hex_color(c.color))}{escape(tables.name(c.name))} &nbsp; "
        for n, c in enumerate(result.classes)
    )
    chart = area_svg(result.quantification, result.classes, gate_of(result))
    return f"{chart}<figcaption>{legend}</figcaption>"


def _provenance(result: ShownResult) -> dict[str, Any]:
    ct, provenance = result.ct, dict(result.provenance)
    if "input" not in provenance:
        provenance["input"] = {
            **ct.source,
            "shape_zyx": list(ct.shape),
            "spacing_ijk_mm": list(ct.spacing),
        }
    return provenance
