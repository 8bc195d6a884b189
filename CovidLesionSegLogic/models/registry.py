"""Find the installed models and turn a card into a network ready to use."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from CovidLesionSegLogic.errors import InputError, RequestError, quoted
from CovidLesionSegLogic.models.card import ModelCard
from CovidLesionSegLogic.models.shipped import check_shipped
from CovidLesionSegLogic.models.store import load_weights, sha256_of

if TYPE_CHECKING:
    import torch

    from CovidLesionSegLogic.networks import SegmentationNetwork

MODELS_VARIABLE = "COVIDLESIONSEG_MODELS"
DEFAULT_MODEL = "refnet"
LESION_TYPES_MODEL = "coarse-refine"
"""The model that tells lesion types apart."""
LUNG_MODEL = "lungs"

LoadNetwork = Callable[["ModelCard", "str | torch.device"], "SegmentationNetwork"]
"""As :func:`load_fast_network`."""

_log = logging.getLogger(__name__)
_PACKAGE = Path(__file__).resolve().parents[1]


_SHIPPED = (_PACKAGE.parent / "Resources" / "Models", _PACKAGE / "Resources" / "Models")


def shipped_folders() -> list[Path]:
    """Where the models that come with the software lie.

    ``Resources/`` is beside the package both in the source tree and when installed in Slicer
    (CMake puts both beside the module file); inside the package in a wheel.
    """
    return list(_SHIPPED)


def model_folders() -> list[Path]:
    """Existing model folders in search order.

    Folders named in the environment variable COVIDLESIONSEG_MODELS (separated as in PATH) come
    before the shipped ones. RequestError when one of those does not exist.
    """
    folders = []
    for name in os.environ.get(MODELS_VARIABLE, "").split(os.pathsep):
        if not name:
            continue
        if not Path(name).is_dir():
            raise RequestError(
                f"The environment variable {MODELS_VARIABLE} names {name}, which is "
                "not a folder; correct or unset it."
            )
        folders.append(Path(name))
    return folders + [folder for folder in shipped_folders() if folder.is_dir()]


def _card_files() -> dict[str, Path]:
    """Card files by model name; the first folder that has a name wins."""
    found: dict[str, Path] = {}
    for folder in model_folders():
        for path in sorted(folder.glob("*.json")):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def _read(name: str, path: Path) -> ModelCard:
    card = ModelCard.from_json(path)
    if path.parent in _SHIPPED:
        check_shipped(path)
    if card.name != name:
        raise InputError(
            f"The model card {path} is not valid: 'name' is {card.name!r} but the "
            f"file is called {path.name}; make them agree."
        )
    return card


def list_models(task: str | None = None) -> list[ModelCard]:
    """Cards of the installed models by name, of one task ("lesion", "lungs") or of all.

    A card that cannot be read is logged and left out; :func:`verify` reports it.
    """
    cards = []
    for name, path in _card_files().items():
        try:
            cards.append(_read(name, path))
        except InputError as error:
            _log.warning("%s", error)
    return [card for card in cards if task in (None, card.task)]


def get_card(name: str, task: str | None = None) -> ModelCard:
    """The card of the model ``name``.

    Raises
    ------
    RequestError
        No such model (of that task, when given) is installed; the message names those that are.
    InputError
        Its card is not valid.
    """
    files = _card_files()
    if name in files:
        card = _read(name, files[name])
        if task in (None, card.task):
            return card
    known = ", ".join(card.name for card in list_models(task)) or "none"
    places = ", ".join(str(folder) for folder in model_folders()) or "no model folder was found"
    raise RequestError(
        f"There is no {task + ' ' if task else ''}model called '{name}'; installed: "
        f"{known} (looked in: {places})."
    )


def check_weights(card: ModelCard) -> None:
    """Raise InputError when the card's weight file is missing or is not the one it names."""
    path = card.weights_path
    if not path.is_file():
        raise InputError(
            f"The weights of the model '{card.name}' are missing ({path}); reinstall "
            "the extension ('models verify' lists what is affected)."
        )
    found = sha256_of(path)
    if found != card.weights.sha256:
        raise InputError(
            f"The weight file {path} is damaged or was replaced (SHA-256 "
            f"{found[:12]}..., expected {card.weights.sha256[:12]}...); reinstall the "
            "extension ('models verify' lists what is affected)."
        )


def load_network(card: ModelCard, device: str | torch.device = "cpu") -> SegmentationNetwork:
    """Build the card's network with its weights, in eval mode, on ``device``.

    The weight file's checksum is verified first. Raises InputError when the file is missing,
    differs, or does not fit the architecture.
    """
    check_weights(card)
    from CovidLesionSegLogic.networks import build_network

    weights = load_weights(card.weights_path)
    try:
        network = build_network(dict(card.architecture))
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
        AssertionError,
        RuntimeError,  # of torch, for sizes below zero
    ) as error:
        if "memory" in str(error):  # there may be enough another time
            raise
        raise InputError(
            f"The model '{card.name}' cannot be built: its card's 'architecture' is "
            f"not understood ({quoted(error)}); update the extension."
        ) from error
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            f"The weight file {card.weights_path} does not fit the architecture of "
            f"the model '{card.name}' ({_first_lines(error)}); reinstall the "
            "extension."
        ) from error
    return network.eval().requires_grad_(False).to(device)


def load_fast_network(card: ModelCard, device: str | torch.device = "cpu") -> SegmentationNetwork:
    """As :func:`load_network`, made for computing only.

    Batch normalisation is folded into the convolutions, and the channels of a pixel lie side by
    side in memory: a quarter less time on a CPU, and outputs that are equal up to rounding.
    """
    import torch

    from CovidLesionSegLogic.networks.fold import fold_batch_norm

    network = load_network(card, device)
    fold_batch_norm(network)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _first_lines(error: Exception) -> str:
    return quoted(" ".join(str(error).split()))


@dataclass(frozen=True)
class Verification:
    """Result for one installed model: its name, card file, card (None when not valid), problem."""

    name: str
    path: Path
    card: ModelCard | None
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether card and weights are as they should be."""
        return not self.problem


def verify() -> list[Verification]:
    """Check the card and the weights' checksum of every installed model."""
    results = []
    for name, path in _card_files().items():
        card = None
        problem = ""
        try:
            card = _read(name, path)
            check_weights(card)
        except InputError as error:
            problem = str(error)
        results.append(Verification(name, path, card, problem))
    return results
