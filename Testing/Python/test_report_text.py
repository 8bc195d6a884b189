"""Numbers and names as people read them."""

from __future__ import annotations

import pytest

from CovidLesionSegLogic.report.chart import nice_step
from CovidLesionSegLogic.report.text import clean, elide, hounsfield, millimetres, percent, volume


@pytest.mark.parametrize(
    ("ml", "shown"),
    [
        (None, "–"),
        (0, "0"),
        (0.001, "<0.01"),
        (0.054, "0.05"),
        (9.126, "9.13"),
        (123.45, "123.5"),
        (5321.4, "5,321"),
    ],
)
def test_volume(ml, shown):
    assert volume(ml) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (0.0, "0.0 %"),
        (0.01, "<0.1 %"),
        (12.34, "12.3 %"),
        (99.99, ">99.9 %"),
        (100.0, "100.0 %"),
    ],
)
def test_percent(value, shown):
    assert percent(value).replace("\u00a0", " ") == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "–"), (-0.3, "0"), (-641.6, "−642"), (35.2, "35")]
)
def test_hounsfield(value, shown):
    assert hounsfield(value) == shown


@pytest.mark.parametrize(("value", "shown"), [(-0.04, "0.0"), (-123.44, "−123.4"), (7, "7.0")])
def test_millimetres(value, shown):
    assert millimetres(value) == shown


def test_clean_keeps_letters_of_any_script_and_drops_tricks():
    assert clean("Žluťoučký 日本語 עברית") == "Žluťoučký 日本語 עברית"
    assert clean("a\u202eb\u2067c\x00\x1b\u200bd") == "abcd"
    assert clean("  two\r\nlines\tand\u2028more ") == "two lines and more"
    assert clean(None) == "None"


def test_elide_keeps_both_ends():
    assert elide("short", 5) == "short"
    cut = elide("abcdefghijklmnopqrstuvwxyz", 10)
    assert (len(cut), cut[0], cut[-1]) == (10, "a", "z")
    for length in range(1, 6):
        assert len(elide("abcdefghij", length)) == length


@pytest.mark.parametrize("top", [0.0004, 0.3, 1, 4.9, 17, 99, 12345])
def test_nice_step_divides_in_a_handful(top):
    step = nice_step(top)
    assert 1 <= max(1, top / step) <= 5
    assert f"{step:.0e}"[0] in "125"
