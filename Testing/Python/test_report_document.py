"""The HTML report: safe, self-contained, complete, readable without values."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest
from shown_result import CLASSES, PROVENANCE, Page, from_phantom, named, shown

from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.models import LesionClass
from CovidLesionSegLogic.report import report_html, write_report

PNG = b"\x89PNG\r\n\x1a\n made up"
HOSTILE = (
    "<script>alert(1)</script>",
    "' onerror='alert(1)",
    '" onload="alert(1)',
    "</style><img src=x onerror=alert(1)>",
    "&lt;b&gt; & <b>",
    "日本語 – Žluťoučký",
    "x" * 3000,
    "evil\u202egnp.exe\u2066\x00\x1b[31m\r\nsecond line",
)


@pytest.fixture(scope="module")
def result(phantom):
    return from_phantom(phantom)


def page_of(result):
    return Page(report_html(result, overview=PNG))


def test_needs_nothing_and_runs_nothing(result):
    text = report_html(result, overview=PNG)
    page = Page(text)
    assert {tag for tag, _ in page.tags}.isdisjoint(
        {"script", "iframe", "object", "embed", "link", "form", "base", "audio", "video"}
    )
    policies = [m["content"] for m in page.all("meta") if m.get("http-equiv")]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "action"):
                assert value.startswith("data:image/png;base64,")
    # Patterns of the same page are all that may be referred to.
    assert all(target.startswith("#") for target in re.findall(r"url\((.*?)\)", text))
    assert "@import" not in text


@pytest.mark.parametrize("hostile", HOSTILE)
def test_names_from_files_stay_text(phantom, hostile):
    lesions = (LesionClass(hostile, 1), LesionClass(f"{hostile} 2", 2))
    clean = page_of(from_phantom(phantom, regions=phantom.lungs, warnings=["w"]))
    page = page_of(
        named(
            from_phantom(
                phantom,
                classes=lesions,
                warnings=[hostile],
                regions=phantom.lungs,
                region_names={1: hostile},
                provenance={
                    **PROVENANCE,
                    "model": {"name": hostile, "version": hostile, "licence": hostile},
                    hostile: {hostile: [hostile]},
                    "options": {"device": "auto", "threshold": hostile, "gate": True},
                },
            ),
            hostile,
        )
    )

    def counted(tag):
        return len([name for name, _ in page.tags if name == tag])

    for tag in ("script", "b"):
        assert counted(tag) == 0
    for tag in ("img", "style", "h1"):
        assert counted(tag) == len(clean.all(tag)) == 1
    assert counted("svg") == len(clean.all("svg")) == 2
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
    assert not set("\u202e\u2066\x00\x1b") & set(page.text)


def test_the_study_name_is_shown(result):
    assert "<script>" in page_of(named(result, HOSTILE[0])).text
    assert "日本語" in page_of(named(result, HOSTILE[5])).text
    assert "unnamed study" in page_of(named(result, "")).text


def test_says_what_it_must(result):
    page = page_of(result)
    assert page.text.count("Research software - not for clinical use") >= 2
    for part in ("made-up 3", "0" * 64, "CovidLesionSeg", "9.9.9", "CC BY 4.0", "cpu", "12.35"):
        assert part in page.text
    q = result.quantification
    assert f"{q.total.share_of_lungs_percent:.1f}" in page.text
    for lesion in CLASSES:
        assert lesion.name in page.text
    assert f"{len(q.slices_with_lesion)} of {len(q.slices)}" in page.text


def test_is_accessible(result):
    page = page_of(result)
    assert page.all("html") == [{"lang": "en"}]
    assert all(image["alt"] for image in page.all("img"))
    assert page.all("svg")[0]["role"] == "img"
    assert all(th.get("scope") in ("row", "col") for th in page.all("th"))
    style = re.search(r"<style>(.*?)</style>", report_html(result, overview=PNG), re.DOTALL)
    assert "prefers-color-scheme: dark" in style[1]
    assert "@media print" in style[1]


def test_warnings_come_first_and_once(phantom):
    result = from_phantom(phantom, warnings=["Slices are missing.", "Slices are missing."])
    text = report_html(result, overview=PNG)
    assert text.count("Slices are missing.") == 1
    assert text.index("Slices are missing.") < text.index("All lesions")
    assert "Please check" not in report_html(from_phantom(phantom), overview=PNG)


def test_picture_is_embedded_as_given(result):
    source = page_of(result).all("img")[0]["src"]
    assert base64.b64decode(source.partition(",")[2]) == PNG


def test_without_matplotlib_the_report_still_comes(result, monkeypatch):
    def absent(_):
        raise RequestError("The overview picture needs matplotlib.")

    monkeypatch.setattr("CovidLesionSegLogic.report.document.overview_png", absent)
    page = Page(report_html(result))
    assert page.all("img") == []
    assert "needs matplotlib" in page.text


def test_nothing_found(phantom):
    empty = np.zeros_like(phantom.lesions)
    page = page_of(shown(phantom.ct, empty, phantom.lungs))
    assert "No lesion was found." in page.text
    page = page_of(shown(phantom.ct, empty, empty))
    assert "not found" in page.text
    assert "No lungs are marked" in page.text
    for word in ("nan", "None", "inf"):
        assert word not in page.text.split()


def test_one_voxel_without_provenance():
    ct = CTVolume(np.full((1, 1, 1), -1000, np.int16))
    nothing = np.zeros((1, 1, 1), np.uint8)
    page = page_of(shown(ct, nothing, nothing, provenance={}))
    assert "not stated" in page.text


def test_regions_that_are_no_lobes_have_no_sum(phantom):
    page = page_of(from_phantom(phantom, regions=phantom.lungs, region_names={1: "right zone"}))
    assert "right zone" in page.text
    assert "region 2" in page.text
    assert "of 25" not in page.text
    assert "Regions" not in page_of(from_phantom(phantom)).text


def test_licence_comes_from_the_installed_card(lesion_cards, phantom):
    card = lesion_cards[0]
    own = {"model": {"name": card.name, "sha256": card.weights.sha256}}
    page = page_of(from_phantom(phantom, provenance=own))
    assert " ".join(card.licence.split()) in page.text
    other = {"model": {"name": card.name, "sha256": "0" * 64}}
    assert "not stated" in page_of(from_phantom(phantom, provenance=other)).text


def test_written_whole_or_not_at_all(result, tmp_path, monkeypatch):
    path = tmp_path / "new" / "r.html"
    write_report(result, path, overview=PNG)
    assert path.read_text(encoding="utf-8").endswith("</html>\n")

    def fails(*_, **__):
        raise MemoryError

    monkeypatch.setattr("CovidLesionSegLogic.report.document.report_html", fails)
    with pytest.raises(MemoryError):
        write_report(result, tmp_path / "b.html")
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["r.html"]
