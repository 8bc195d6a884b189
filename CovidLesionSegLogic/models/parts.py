"""The parts of a model card: input, classes, weights, inference, post-processing, gate."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from CovidLesionSegLogic.models import checks

ANY_SLICE = "any-slice"
CONSECUTIVE = "run"
GATE_RULES = (ANY_SLICE, CONSECUTIVE)
"""How the patient is decided from the slices, by name."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def file_name(key: str, value: Any) -> None:
    """Require letters, digits, '.', '_' and '-' only."""
    checks.text(key, value)
    if not _NAME.match(value):
        raise ValueError(f"'{key}' may hold letters, digits, '.', '_' and '-' only, not {value!r}")


@dataclass(frozen=True)
class InputSpec:
    """What the network sees: one square grey slice, windowed, cropped, resized, normalised.

    Parameters
    ----------
    size
        Side of the network's input, pixels; a multiple of 32 (the encoders' total stride).
    window
        (low, high), HU: mapped linearly to 0...1 and clipped.
    mean, std
        Per channel, applied after the window.
    channels
        The grey slice is repeated into this many channels.
    crop
        "lungs": the slice is cropped to the bounding box of the lungs; "none": whole slice.
    margin
        Added on each side of the box, as a fraction of the box's side; at least 2 pixels.
    scope
        "slice": the box of each slice's own lungs; "volume": one box for all slices.
    smallest
        A slice's box is widened to at least this share of the volume's largest height and width:
        the tips of the lungs are not blown up beyond recognition.
    """

    size: int
    window: tuple[float, float]
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    channels: int = 3
    crop: str = "lungs"
    margin: float = 0.05
    scope: str = "slice"
    smallest: float = 0.0

    def __post_init__(self) -> None:
        checks.integer("input.size", self.size, 32, 4096)
        if self.size % 32:
            raise ValueError(f"'input.size' must be a multiple of 32, not {self.size}")
        checks.numbers("input.window", self.window, 2)
        if self.window[0] >= self.window[1]:
            raise ValueError(f"'input.window' must be [low, high] in HU, not {list(self.window)}")
        checks.integer("input.channels", self.channels, 1, 16)
        checks.numbers("input.mean", self.mean, self.channels)
        checks.numbers("input.std", self.std, self.channels)
        if min(self.std) <= 0:
            raise ValueError(f"'input.std' must be positive, not {list(self.std)}")
        checks.choice("input.crop", self.crop, ("lungs", "none"))
        checks.number("input.margin", self.margin, 0, 1)
        checks.choice("input.scope", self.scope, ("slice", "volume"))
        checks.number("input.smallest", self.smallest, 0, 1)


@dataclass(frozen=True)
class LesionClass:
    """One output channel of the network: its name, label value, threshold and look.

    Parameters
    ----------
    name
        The field's term, e.g. "ground-glass opacity".
    label
        Value in label maps, 1...254.
    threshold
        A voxel belongs to the class where the probability is at least this.
    color
        (red, green, blue), 0...255.
    terminology
        Coded meaning for the segment, as the terminology file of Resources has it.
    """

    name: str
    label: int
    threshold: float = 0.5
    color: tuple[int, int, int] = (220, 50, 50)
    terminology: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checks.text("classes.name", self.name)
        checks.integer("classes.label", self.label, 1, 254)
        checks.number("classes.threshold", self.threshold, 0, 1)
        checks.numbers("classes.color", self.color, 3)
        for value in self.color:
            checks.integer("classes.color", value, 0, 255)
        checks.mapping("classes.terminology", self.terminology)


@dataclass(frozen=True)
class WeightsSpec:
    """The weight file beside the card: plain name, SHA-256 (hex), storage form, size in bytes."""

    file: str
    sha256: str
    storage: str = "int8"
    bytes: int = 0

    def __post_init__(self) -> None:
        file_name("weights.file", self.file)
        if not self.file.endswith(".safetensors"):
            raise ValueError(f"'weights.file' must be a .safetensors file, not {self.file!r}")
        if not isinstance(self.sha256, str) or not _SHA256.match(self.sha256):
            raise ValueError(
                "'weights.sha256' must be the file's SHA-256 as 64 lower-case hex "
                f"digits, not {self.sha256!r}"
            )
        checks.choice("weights.storage", self.storage, ("int8", "float32"))
        checks.integer("weights.bytes", self.bytes, 0, 1 << 50)


@dataclass(frozen=True)
class InferenceSpec:
    """How the network's logits become probabilities.

    Parameters
    ----------
    flips
        The logits of a slice and of its left-right mirror image are averaged: a little more
        accurate, twice the time.
    temperature
        Probability = sigmoid(logit / temperature) (Guo et al., ICML 2017); below 1 it is sharper.
        Where a map is cut does not change as long as the threshold moves along.
    """

    flips: bool = False
    temperature: float = 1.0

    def __post_init__(self) -> None:
        checks.boolean("inference.flips", self.flips)
        checks.number("inference.temperature", self.temperature, 0.01, 100)


@dataclass(frozen=True)
class PostprocessSpec:
    """What is done to the labels; connected lesions below ``min_volume_ml`` (mL) are removed."""

    min_volume_ml: float = 0.0

    def __post_init__(self) -> None:
        checks.number("postprocess.min_volume_ml", self.min_volume_ml, 0, 1000)


@dataclass(frozen=True)
class GateSpec:
    """The slice classifier of a network that has one, and what is decided from it.

    Parameters
    ----------
    threshold
        A slice shows signs of infection where its gate probability is above this.
    segment_above
        Slices with a gate probability above this are segmented, the others left out; at most
        ``threshold``, and lower where lesion must not be missed.
    rule
        How the patient is decided: "any-slice", the published rule, or "run", at least ``run``
        consecutive slices with signs of infection.
    run
        For the rule "run"; 1 with the other.
    """

    threshold: float = 0.5
    segment_above: float = 0.5
    rule: str = ANY_SLICE
    run: int = 1

    def __post_init__(self) -> None:
        checks.number("gate.threshold", self.threshold, 0, 1)
        checks.number("gate.segment_above", self.segment_above, 0, 1)
        if self.segment_above > self.threshold:
            raise ValueError(
                f"'gate.segment_above' must be at most 'gate.threshold' ({self.threshold:g}), or "
                f"slices with signs of infection are not segmented, not {self.segment_above:g}"
            )
        checks.choice("gate.rule", self.rule, GATE_RULES)
        checks.integer("gate.run", self.run, 1, 1 << 20)
        if self.rule == ANY_SLICE and self.run != 1:
            raise ValueError(f"'gate.run' must be 1 with the rule {ANY_SLICE}, not {self.run}")
