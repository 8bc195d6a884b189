"""A model card: everything pre- and post-processing need to know about a trained network.

The card is the JSON file ``<name>.json`` beside the weights. It drives the whole path from HU to
labels, so that a network is never run on an input it was not trained on.
"""

from __future__ import annotations

import dataclasses
import errno
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from CovidLesionSegLogic.ct.atomic import atomic_path
from CovidLesionSegLogic.errors import InputError
from CovidLesionSegLogic.models import checks
from CovidLesionSegLogic.models.parts import (
    GateSpec,
    InferenceSpec,
    InputSpec,
    LesionClass,
    PostprocessSpec,
    WeightsSpec,
    file_name,
)

CARD_FORMAT = 1
"""Version of the card's layout; a newer one is refused rather than misread."""
_LONGEST = 1 << 24
"""Bytes of a card's file."""
_DEEPEST = 20
"""Objects and lists within each other; a card needs five."""


@dataclass(frozen=True)
class ModelCard:
    """A trained network: what it is, what goes in, what comes out, how well it was measured.

    ``architecture`` holds ``network`` and the keyword arguments of its builder; ``training`` and
    ``validation`` are free-form objects for people ("not trained" in ``training``: what the model
    does not find although one may expect it); ``gate`` is None for a network without one;
    ``folder`` is where the card was found and is not part of the file. Wrong values raise
    ValueError naming the key.
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
    gate: GateSpec | None = None
    format: int = CARD_FORMAT
    folder: Path | None = field(default=None, compare=False, metadata={"stored": False})

    def __post_init__(self) -> None:
        if self.format != CARD_FORMAT:
            raise ValueError(
                f"'format' is {self.format!r}, this version reads {CARD_FORMAT}; "
                "update the extension"
            )
        file_name("name", self.name)
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
        self._check_gate()
        checks.mapping("training", self.training)
        checks.mapping("validation", self.validation)
        checks.text("licence", self.licence, empty=True)
        checks.text("citation", self.citation, empty=True)

    def _check_gate(self) -> None:
        """A network with a gate needs the rules of its use, and the reverse."""
        built = self.architecture.get("gate", False)
        checks.boolean("architecture.gate", built)
        if built and self.gate is None:
            raise ValueError("'gate' is missing, and 'architecture.gate' says that there is one")
        if self.gate is not None and not built:
            raise ValueError("'gate' is given, but 'architecture.gate' is not true")

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
            ("gate", GateSpec),
        ):
            if key in data and not (key == "gate" and data[key] is None):
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
            return cls.from_dict(_parsed(path), path.parent)
        except OSError as error:
            raise InputError(
                f"The model card {path} cannot be read ({error.strerror or error}); "
                "reinstall the extension."
            ) from error
        except (ValueError, RecursionError) as error:  # those of JSON and UTF-8 included
            raise InputError(
                f"The model card {path} is not valid: {error}; "
                "mend the file or reinstall the extension."
            ) from error

    def to_json(self, path: str | Path) -> None:
        """Write the card to ``path``; the file appears whole or not at all."""
        content = json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"
        with atomic_path(path) as temporary:
            temporary.write_text(content, encoding="utf-8", newline="\n")


def _parsed(path: Path) -> Any:
    """The JSON of a card's file; ValueError or OSError where it has none, or far too much."""
    if not path.is_file():  # a pipe may never end
        raise FileNotFoundError(errno.ENOENT, "there is no such file", str(path))
    with path.open("rb") as file:
        content = file.read(_LONGEST + 1)
    if len(content) > _LONGEST:
        raise ValueError(f"it is larger than {_LONGEST >> 20} MiB")
    data = json.loads(content.decode("utf-8"), object_pairs_hook=_once)
    _check_depth(data, _DEEPEST)
    return data


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys all differ: of two that do not, it is not known which was meant."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"'{next(n for n in names if names.count(n) > 1)}' stands twice in it")
    return found


def _check_depth(data: Any, left: int) -> None:
    if not left:
        raise ValueError(f"it holds objects and lists more than {_DEEPEST} levels deep")
    if isinstance(data, (dict, list)):
        for value in data.values() if isinstance(data, dict) else data:
            _check_depth(value, left - 1)
