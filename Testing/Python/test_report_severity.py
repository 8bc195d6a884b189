"""The report's severity, screening and patterns: what is shown, and where."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from lobed_case import LOBES, lobed_case
from shown_result import CLASSES, Page, Shown, shown

from CovidLesionSegLogic.models import LesionClass
from CovidLesionSegLogic.report import report_html
from CovidLesionSegLogic.report.chart import LEFT, RIGHT, WIDTH, area_svg
from CovidLesionSegLogic.report.extent import share_svg
from CovidLesionSegLogic.report.pattern import KINDS, css_background, hatch, marks
from CovidLesionSegLogic.report.screening import decision_text

NAMES = {label: lobe for lobe, label, *_ in LOBES}
PNG = b"made up"


@dataclass(frozen=True)
class GateSlice:
    """A slice that the gate looked at."""

    index: int
    probability: float
    segmented: bool


@dataclass(frozen=True)
class Gate:
    """As the report asks for it."""

    slices: tuple[GateSlice, ...]
    threshold: float = 0.5
    segment_above: float = 0.2
    run: int = 3
    rule_text: str = "at least 3 slices in a row"
    infected: bool = True
    infected_any_slice: bool = True
    longest_run: int = 5


@dataclass(frozen=True, eq=False)
class Screened(Shown):
    """A result with a gate."""

    gate: Any = None


# Slices 2 to 16 looked at, 4 to 11 positive, 2, 3, 15 and 16 left out; nothing on slice 9.
GATE = Gate(
    tuple(
        GateSlice(n, 0.9 if 4 <= n < 12 else 0.3 if n < 15 and n > 3 else 0.1, 3 < n < 15)
        for n in range(2, 17)
        if n != 9
    )
)


def lobed(classes=CLASSES, lobes=True):
    ct, labels, lungs, regions = lobed_case()
    more = {"regions": regions, "region_names": NAMES} if lobes else {}
    return shown(ct, labels, lungs, classes=classes, **more)


def screened(gate=GATE):
    result = lobed()
    return Screened(**vars(result), gate=gate)


def page_of(result):
    return Page(report_html(result, overview=PNG))


def rectangles(svg, mark):
    return [
        {name: float(value) for name, value in re.findall(r'\b(x|y|width|height)="([\d.]+)"', tag)}
        for tag in re.findall(r"<rect [^>]*>", svg)
        if mark in tag
    ]


def test_lobes_with_their_scores_and_the_sum():
    page = page_of(lobed())
    assert "12 of 25" in page.text
    assert "a measure of extent, not a diagnosis; not for clinical use" in page.text
    assert "Pan et al., Radiology 2020;295:715-721" in page.text
    for lobe in NAMES.values():
        assert lobe in page.text
    assert "No lesion lies outside the lobes" in page.text
    assert "of 25" not in page_of(lobed(lobes=False)).text


def test_lesion_outside_the_lobes_stands_in_the_report():
    ct, labels, lungs, regions = lobed_case()
    labels[0, 0, 5:7] = 1
    result = shown(ct, labels, lungs, regions=regions, region_names=NAMES)
    assert "2.00 mL of lesion lie outside the lobes" in page_of(result).text


def test_bars_are_as_long_as_the_shares():
    result = lobed()
    q = result.quantification
    svg = share_svg(q, result.classes)
    for position, measures in enumerate(q.classes):
        right, left = (r["width"] for r in rectangles(svg, f"share-{position})"))
        # Right above left, to the same scale.
        assert right / left == pytest.approx(
            measures.share_of_right_lung_percent / measures.share_of_left_lung_percent, rel=1e-2
        )
    assert len(rectangles(svg, 'class="all"')) == 2
    one = replace(q, classes=q.classes[:1])
    assert 'class="all"' not in share_svg(one, result.classes[:1])


def test_nothing_to_draw_gives_no_bars():
    ct, labels, lungs, _ = lobed_case()
    for some_labels, some_lungs in ((labels * 0, lungs), (labels, lungs * 0)):
        result = shown(ct, some_labels, some_lungs)
        assert share_svg(result.quantification, result.classes) == ""
        assert "Share of the lungs" in page_of(result).text


def test_without_a_gate_nothing_is_said_of_it():
    for result in (lobed(), screened(None)):
        text = report_html(result, overview=PNG)
        assert "screening" not in Page(text).text
        assert 'class="gate"' not in text


def test_gate_is_drawn_below_its_slices():
    result = screened()
    svg = area_svg(result.quantification, result.classes, GATE)
    bar = (WIDTH - LEFT - RIGHT) / 20
    bands = rectangles(svg, 'class="left-out"')
    # Two stretches of two slices, in both panels.
    assert [round((b["x"] - LEFT) / bar) for b in bands] == [2, 15, 2, 15]
    assert [round(b["width"] / bar) for b in bands] == [2, 2, 2, 2]
    path = re.search(r'class="gate" d="(.*?)"', svg)[1]
    assert path.count("M") == 2  # slice 9 was not looked at
    points = [tuple(map(float, p)) for p in re.findall(r"([\d.]+) ([\d.]+)", path)]
    height = dict.fromkeys(range(20))
    for (x, y), (_, after) in zip(points[::2], points[1::2], strict=True):
        assert y == after
        height[round((x - LEFT) / bar)] = y
    limit = float(re.search(r'class="threshold"[^>]*y1="([\d.]+)"', svg)[1])
    assert all(height[s.index] < limit for s in GATE.slices if s.probability > 0.5)
    assert all(height[s.index] > limit for s in GATE.slices if s.probability < 0.5)
    assert height[9] is None
    assert 'class="segment-above"' in svg


def test_decision_is_one_readable_statement():
    page = page_of(screened())
    said = decision_text(GATE)
    assert said in page.text
    assert "signs of infection, by the rule at least 3 slices in a row above 0.5" in said
    assert "7 of 14 slices are above" in said
    assert "it would be the same" in said
    assert "4 slices were left out" in said
    assert "not a diagnosis" in said
    healthy = replace(GATE, infected=False)
    assert "no signs of infection" in decision_text(healthy)
    assert "it would be the opposite" in decision_text(healthy)
    published = replace(GATE, run=1, rule_text="at least one slice")
    assert "published rule" not in decision_text(published)
    assert "0.900" in page.text


def test_a_gate_that_saw_nothing():
    page = page_of(screened(replace(GATE, slices=(), longest_run=0, infected=False)))
    assert "0 of 0 slices" in page.text


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_every_class_has_a_colour_and_a_pattern_of_its_own(number):
    classes = tuple(
        LesionClass(f"class {n}", n, color=(50 * n, 0, 100)) for n in range(1, number + 1)
    )
    ct, labels, lungs, _ = lobed_case()
    result = shown(ct, np.minimum(labels, number), lungs, classes=classes)
    text = report_html(result, overview=PNG)
    for prefix in ("share", "area"):
        patterns = re.findall(rf'<pattern id="{prefix}-\d".*?</pattern>', text)
        assert len(patterns) == number
        without_color = {re.sub(r'(fill="#\w+"|id="[\w-]+")', "", p) for p in patterns}
        assert len(without_color) == number
    assert [text.count(f">{c.name}<") > 0 for c in classes] == [True] * number


def test_patterns_differ_from_each_other():
    pages = [marks(n, 16, 16) for n in range(len(KINDS))]
    assert not pages[0].any()
    for n, page in enumerate(pages[1:], start=1):
        assert 0.05 < page.mean() < 0.6
        assert not any((page == other).all() for other in pages[:n])
    assert len({hatch(n) for n in range(len(KINDS))}) == len(KINDS)
    assert len({css_background(n, "#123456") for n in range(len(KINDS))}) == len(KINDS)
    assert "url(" not in "".join(css_background(n, "#123456") for n in range(len(KINDS)))


def test_overview_shows_pattern_and_score():
    pytest.importorskip("matplotlib", reason="the overview needs the extra 'report'")
    from matplotlib.image import imread

    from CovidLesionSegLogic.report.canvas import Canvas
    from CovidLesionSegLogic.report.drawing import draw_plane
    from CovidLesionSegLogic.report.views import Scene, axial

    ct, labels, lungs, _ = lobed_case()
    labels[:] = np.where(lungs == 1, 1, np.where(lungs == 2, 2, 0))
    classes = tuple(replace(c, color=(200, 60, 60)) for c in CLASSES)  # told apart by pattern alone
    scene = Scene.of(shown(ct, labels, lungs, classes=classes))
    canvas = Canvas(240, 200)
    draw_plane(canvas, axial(scene, 10), classes, (0, 0, 240, 200), ("R", "L"))
    image = imread(io.BytesIO(canvas.png()))[..., :3]
    # Right lung: columns 0 to 5 of 12; left lung: 7 to 12; away from outlines and letters.
    right, left = image[60:140, 30:80], image[60:140, 160:210]
    assert right.std(axis=(0, 1)).max() < 0.03
    assert left.std(axis=(0, 1)).max() > 0.08
