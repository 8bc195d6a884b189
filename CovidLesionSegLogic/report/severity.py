"""Severity in numbers: shares of the lungs, and of the lobes with their score."""

from __future__ import annotations

from html import escape

from CovidLesionSegLogic.quantify import SCORE_NOTE, SCORE_RULE, SCORE_SOURCE, Quantification
from CovidLesionSegLogic.quantify.lobes import are_lobes
from CovidLesionSegLogic.quantify.severity import MOST
from CovidLesionSegLogic.report.subject import ShownResult
from CovidLesionSegLogic.report.tables import class_cell, name, table
from CovidLesionSegLogic.report.text import hounsfield, percent, volume, whole


def share_table(result: ShownResult) -> str:
    """Volume and share of the right, the left and both lungs for every class and all lesions."""
    q = result.quantification
    rows = []
    for measures in (*q.classes, q.total):
        total = measures is q.total
        cells = (
            volume(measures.right_lung_ml),
            percent(measures.share_of_right_lung_percent),
            volume(measures.left_lung_ml),
            percent(measures.share_of_left_lung_percent),
            volume(measures.right_lung_ml + measures.left_lung_ml),
            percent(measures.share_of_lungs_percent),
            volume(measures.outside_lungs_ml),
        )
        first = escape(name(measures.name)) if total else class_cell(result, measures.name)
        rows.append((first, cells, total))
    return table(
        "The part of each lung that lesions fill: a measure of extent, not a diagnosis.",
        (
            "Class", "Right lung, mL", "Share", "Left lung, mL", "Share", "Both lungs, mL",
            "Share", "Outside, mL",
        ),
        rows,
    )  # fmt: skip


def region_section(result: ShownResult) -> str:
    """Heading, score and table of the lobes or other regions; "" without regions."""
    q = result.quantification
    if not q.regions:
        return ""
    lobes = are_lobes(r.name for r in q.regions)
    if not lobes:
        return f"<h2>Regions</h2>{_table(q, False)}"
    lead = (
        f"<strong>{q.score_0_to_25} of {MOST}</strong>: {escape(SCORE_NOTE)}."
        if q.score_0_to_25 is not None
        else f"no sum, for a lobe is empty. It is {escape(SCORE_NOTE)}."
    )
    beyond = q.lesion_outside_regions_ml or 0.0
    outside = (
        f"{volume(beyond)} mL of lesion lie outside the lobes and are not counted."
        if beyond > 0
        else "No lesion lies outside the lobes."
    )
    return (
        f'<h2>Lobes and CT severity score</h2><p class="score">CT severity score {lead}</p>'
        f"<p>Score of a lobe: {escape(SCORE_RULE)} (scale: {escape(SCORE_SOURCE)}; there estimated "
        f"by eye in whole percent, here measured). {outside}</p>{_table(q, True)}"
    )


def _table(q: Quantification, lobes: bool) -> str:
    names = [c.name for c in q.classes]
    rows = []
    for region in q.regions:
        cells = [volume(region.volume_ml), hounsfield(region.mean_hu)]
        for n in names:
            cells += [volume(region.lesion_ml[n]), percent(region.share_percent[n])]
        if len(names) > 1:
            cells += [volume(region.total_lesion_ml), percent(region.total_share_percent)]
        rows.append((escape(name(region.name)), [*cells, whole(region.score)], False))
    header = ["Lobe" if lobes else "Region", "Volume, mL", "Mean HU"]
    for n in names:
        header += [f"{name(n)}, mL", "Share"]
    if len(names) > 1:
        header += ["All lesions, mL", "Share"]
    if q.score_0_to_25 is not None:
        rows.append(("Five lobes", _sums(q, names), True))
    caption = (
        "Lesions by lobe; shares are of the lobe's volume, lesions included."
        if lobes
        else "Lesions by region; shares are of the region's volume. The score is that of a lobe "
        f"with the same share: {SCORE_RULE} ({SCORE_SOURCE})."
    )
    return table(caption, [*header, "Score"], rows)


def _sums(q: Quantification, names: list[str]) -> list[str]:
    space = sum(r.volume_ml for r in q.regions)
    parts = [sum(r.lesion_ml[n] for r in q.regions) for n in names]
    parts += [sum(r.total_lesion_ml for r in q.regions)] if len(names) > 1 else []
    cells = [volume(space), ""]
    for part in parts:
        cells += [volume(part), percent(100 * part / space)]
    return [*cells, f"{q.score_0_to_25} of {MOST}"]
