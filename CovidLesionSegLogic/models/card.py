"""A model card: everything pre- and post-processing need to know about a trained network.

The card is the JSON file ``<name>.json`` beside the weights. It drives the whole path from HU to
labels, so that a network is never run on an input it was not trained on.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from CovidLesionSegLogic.ct.atomic import atomic_path
from CovidLesionSegLogic.errors import InputError
from CovidLesionSegLogic.models import checks

CARD_FORMAT = 1
"""Version of the card's layout; a newer one is refused rather than misread."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def _file_name(key: str, value: Any) -> None:
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
        _file_name("weights.file", self.file)
        if not self.file.endswith(".safetensors"):
            raise ValueError(f"'weights.file' must be a .safetensors file, not {self.file!r}")
        if not isinstance(self.sha256, str) or not _SHA256.match(self.sha256):
            raise ValueError(
                "'weights.sha256' must be the file's SHA-256 as 64 lower-case hex "
                f"digits, not {self.sha256!r}"
            )
        checks.choice("weights.storage", self.storage, ("int8", "float32"))
        checks.integer("weights.bytes", self.bytes, 0)


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
class ModelCard:
    """A trained network: what it is, what goes in, what comes out, how well it was measured.

    ``architecture`` holds ``network`` and the keyword arguments of its builder; ``training`` and
    ``validation`` are free-form objects for people; ``folder`` is where the card was found and is
    not part of the file. Wrong values raise ValueError naming the key.
    """

    name: str
    version: str
    title: str
    task: str
    architecture: dict[str, Any]
    input: InputSpec
    classes: tuple[LesionClass, ...]
    weights: WeightsSpec
    training: dict[str, Any] = field(default_factory=dict)
    validation: dict[str, Any] = field(default_factory=dict)
    licence: str = ""
    citation: str = ""
    inference: InferenceSpec = field(default_factory=InferenceSpec)
    postprocess: PostprocessSpec = field(default_factory=PostprocessSpec)
    format: int = CARD_FORMAT
    folder: Path | None = field(default=None, compare=False, metadata={"stored": False})

    def __post_init__(self) -> None:
        if self.format != CARD_FORMAT:
            raise ValueError(
                f"'format' is {self.format!r}, this version reads {CARD_FORMAT}; "
                "update the extension"
            )
        _file_name("name", self.name)
        checks.text("version", self.version)
        checks.text("title", self.title)
        checks.choice("task", self.task, ("lesion", "lungs"))
        checks.mapping("architecture", self.architecture)
        checks.text("architecture.network", self.architecture.get("network"))
        if not self.classes:
            raise ValueError("'classes' must name at least one class")
        for what in ("name", "label"):
            values = [getattr(c, what) for c in self.classes]
            if len(set(values)) != len(values):
                raise ValueError(f"'classes.{what}' must differ between classes, not {values}")
        checks.mapping("training", self.training)
        checks.mapping("validation", self.validation)
        checks.text("licence", self.licence, empty=True)
        checks.text("citation", self.citation, empty=True)

    @property
    def weights_path(self) -> Path:
        """The weight file, beside the card."""
        return (self.folder or Path()) / self.weights.file

    @classmethod
    def from_dict(cls, data: Any, folder: Path | None = None) -> ModelCard:
        """Build a card from parsed JSON; ValueError names the wrong, missing or unknown key."""
        checks.mapping("the card", data)
        built: dict[str, Any] = {"folder": folder}
        for key, part in (
            ("input", InputSpec),
            ("weights", WeightsSpec),
            ("inference", InferenceSpec),
            ("postprocess", PostprocessSpec),
        ):
            if key in data:
                built[key] = checks.build(part, data[key], key)
        if "classes" in data:
            if not isinstance(data["classes"], (list, tuple)):
                raise ValueError(f"'classes' must be a list, not {data['classes']!r}")
            built["classes"] = tuple(
                checks.build(LesionClass, c, f"classes[{i}]") for i, c in enumerate(data["classes"])
            )
        return checks.build(cls, data, **built)

    def to_dict(self) -> dict[str, Any]:
        """The card as JSON-ready values, without ``folder``."""
        data = dataclasses.asdict(self)
        del data["folder"]
        return data

    @classmethod
    def from_json(cls, path: str | Path) -> ModelCard:
        """Read the card file ``path``; InputError names the file and the key that is wrong."""
        path = Path(path)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return cls.from_dict(data, path.parent)
        except OSError as error:
            raise InputError(
                f"The model card {path} cannot be read ({error.strerror}); reinstall the extension."
            ) from error
        except ValueError as error:  # JSONDecodeError and UnicodeDecodeError included
            raise InputError(
                f"The model card {path} is not valid: {error}; "
                "mend the file or reinstall the extension."
            ) from error

    def to_json(self, path: str | Path) -> None:
        """Write the card to ``path``; the file appears whole or not at all."""
        content = json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"
        with atomic_path(path) as temporary:
            temporary.write_text(content, encoding="utf-8", newline="\n")
