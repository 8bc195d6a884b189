"""A small result to report on, and a HTML reader that knows what to look for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from html.parser import HTMLParser
from typing import Any

import numpy as np

from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.models import LesionClass
from CovidLesionSegLogic.quantify import Quantification, quantify

CLASSES = (
    LesionClass("ground-glass opacity", 1, color=(255, 196, 60)),
    LesionClass("consolidation", 2, color=(235, 70, 60)),
)
PROVENANCE: dict[str, Any] = {
    "software": {"name": "CovidLesionSeg", "version": "9.9.9"},
    "model": {"name": "made-up", "version": "3", "sha256": "0" * 64, "licence": "CC BY 4.0"},
    "options": {"device": "auto", "threshold": None, "gate": True},
    "device": "cpu",
    "seconds": {"segment": 12.345},
    "peak_memory_mb": 512.0,
}


@dataclass(frozen=True, eq=False)
class Shown:
    """What a report is made of."""

    ct: CTVolume
    labels: np.ndarray
    lungs: np.ndarray
    classes: tuple[LesionClass, ...]
    quantification: Quantification
    provenance: dict[str, Any]
    warnings: tuple[str, ...] = ()


def shown(ct, labels, lungs, *, classes=CLASSES, warnings=(), provenance=PROVENANCE, **regions):
    """Measure and bundle."""
    numbers = quantify(ct, labels, lungs, classes, **regions)
    return Shown(ct, labels, lungs, classes, numbers, provenance, tuple(warnings))


def from_phantom(phantom, **more):
    """The phantom's own truth as a result."""
    return shown(phantom.ct, phantom.lesions, phantom.lungs, **more)


def named(result, name):
    """The same result under another study name."""
    return replace(result, ct=replace(result.ct, name=name))


class Page(HTMLParser):
    """Tags with attributes, and the text outside <style>."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self._stack = [], [], []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._stack.append(tag)

    def handle_endtag(self, tag):
        while self._stack and self._stack.pop() != tag:
            pass

    def handle_data(self, data):
        if "style" not in self._stack:
            self.words.append(data)

    def all(self, tag):
        """Attributes of every such tag."""
        return [attributes for name, attributes in self.tags if name == tag]
