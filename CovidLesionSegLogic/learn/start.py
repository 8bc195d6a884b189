"""What a training starts from: an installed model, public encoder weights, or nothing."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from CovidLesionSegLogic.errors import InputError, RequestError
from CovidLesionSegLogic.models import DEFAULT_MODEL, InputSpec, ModelCard, get_card, load_network
from CovidLesionSegLogic.networks import SegmentationNetwork, build_network
from CovidLesionSegLogic.networks.encoders import ENCODERS

from .sources import CROP_MARGIN, CROP_SMALLEST, WINDOW

FILES = (".safetensors", ".pth", ".pt")
PAPERS_ENCODERS = {"refnet": "res2net50", "coarse-refine": "seresnet34"}
# What of the coarse-refine network does not know the classes.
CLASSLESS = ("encoder.", "reduce.", "aspp.", "decoder.")
# What public classifiers have behind the encoder.
HEADS = ("fc.", "classifier.", "head.", "last_linear.", "pre_logits.")


@dataclass(frozen=True, eq=False)
class Start:
    """A network ready to be trained.

    Attributes
    ----------
    architecture
        For the model card.
    input
        As the network will see slices.
    pretrained
        The encoder has learnt something: its batch-norm statistics stay as they are.
    story
        Where the weights come from, for the model card.
    card
        Of the model that is trained further, if it is one.
    note
        What the user should know, a sentence, or empty.
    """

    network: SegmentationNetwork
    architecture: dict[str, Any]
    input: InputSpec
    pretrained: bool
    story: str
    card: ModelCard | None = None
    note: str = ""


def build_start(
    start: str = DEFAULT_MODEL,
    *,
    network: str = "refnet",
    classes: Sequence[str] = ("infection",),
    encoder: str | None = None,
    size: int = 352,
    seed: int = 0,
) -> Start:
    """Build the network and load what it starts from.

    Parameters
    ----------
    start
        Name of an installed model: a Ref-Net one, or for "coarse-refine" either (of a Ref-Net
        model the encoder is taken; of a model with other classes all but what knows them). "none":
        random weights; a file (.safetensors, .pth, .pt): public weights of the encoder (timm,
        torchvision), loaded as data only.
    network
        "refnet" or "coarse-refine", without a gate.
    classes
        Names of the lesion classes, in the order of the masks; Ref-Net has one.
    encoder
        "res2net50", "resnet50", "seresnet34" or "vgg16"; None: the model's own, else the paper's.
    size
        Side of the network's input, a multiple of 32.
    seed
        Of the random weights.

    Raises
    ------
    RequestError
        Unknown model or encoder, a model with another encoder, a size that cannot be.
    InputError
        The file cannot be read, or does not fit the encoder.
    """
    if encoder is not None and encoder not in ENCODERS:
        raise RequestError(f"There is no encoder '{encoder}'; choose {', '.join(ENCODERS)}.")
    if size < 32 or size % 32:
        raise RequestError(f"The size must be a multiple of 32, not {size}.")
    is_file = Path(start).suffix.lower() in FILES
    torch.manual_seed(seed)
    if start != "none" and not is_file:
        card = get_card(start, "lesion")
        own = _check_encoder(card, encoder)
        if network == "refnet":
            return _refnet_from(card, size)
        return _coarse_refine_from(card, own, tuple(classes), size)
    architecture: dict[str, Any] = {"network": network}
    if network != "refnet":
        architecture["n_classes"] = len(classes)
    architecture["encoder"] = encoder or PAPERS_ENCODERS[network]
    built = build_network(architecture)
    spec = InputSpec(
        size=size, window=WINDOW, crop="lungs", margin=CROP_MARGIN, smallest=CROP_SMALLEST
    )
    if not is_file:
        return Start(built, architecture, spec, False, "random weights")
    path = Path(start).expanduser()
    _load_encoder(built, read_public_weights(path), path, architecture["encoder"])
    story = f"public weights of the encoder, {path.name}"
    return Start(built, architecture, spec, True, story)


def _check_encoder(card: ModelCard, encoder: str | None) -> str:
    """The encoder of a model; RequestError where it has none or not the one asked for."""
    papers = PAPERS_ENCODERS.get(card.architecture["network"])
    own = str(card.architecture.get("encoder", papers))
    if papers is None:
        raise RequestError(
            f"The model '{card.name}' is of another kind of network and cannot be trained further: "
            "choose another --start."
        )
    if encoder is not None and encoder != own:
        raise RequestError(
            f"The model '{card.name}' has the encoder {own}, not {encoder}: leave --encoder out, "
            "or choose --start none or a file with weights of that encoder."
        )
    return own


def _refnet_from(card: ModelCard, size: int) -> Start:
    if card.architecture["network"] != "refnet" or len(card.classes) != 1:
        raise RequestError(
            f"The model '{card.name}' is no Ref-Net with one class and cannot be trained further: "
            "choose another --start."
        )
    network = load_network(card).requires_grad_(True)
    spec = replace(card.input, size=size)
    return Start(network, dict(card.architecture), spec, True, _story(card), card)


def _coarse_refine_from(
    card: ModelCard, encoder: str, classes: tuple[str, ...], size: int
) -> Start:
    given = dict(card.architecture)
    known = tuple(c.name for c in card.classes)
    if given["network"] == "coarse-refine":
        architecture = {k: v for k, v in given.items() if k != "gate"} | {"n_classes": len(classes)}
        parts: tuple[str, ...] = (*CLASSLESS, "head.", "refinement.")
        note = ""
        if known != classes:
            parts = CLASSLESS
            note = (
                f"Head and refinement start from random weights, as {card.name} has other classes "
                f"({', '.join(known)}); encoder, ASPP and decoder are its own."
            )
    else:
        architecture = {"network": "coarse-refine", "n_classes": len(classes), "encoder": encoder}
        if "encoder_options" in given:
            architecture["encoder_options"] = given["encoder_options"]
        parts = ("encoder.",)
        note = (
            f"Of {card.name} only the encoder is taken over; the rest starts from random weights."
        )
    network = build_network(architecture)
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    kept = {
        name: value
        for name, value in load_network(card).state_dict().items()
        if name.startswith(parts) and shapes.get(name) == value.shape
    }
    network.load_state_dict(kept, strict=False)
    story = f"{_story(card)}. {note}" if note else _story(card)
    spec = replace(card.input, size=size)
    return Start(network, architecture, spec, True, story, card, note)


def _story(card: ModelCard) -> str:
    return f"the model {card.name} {card.version} (weights {card.weights.sha256[:12]})"


def read_public_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a .safetensors, .pth or .pt file; nothing in it is executed.

    Raises
    ------
    InputError
        The file cannot be read or holds no weights.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix.lower() == ".safetensors":
            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (
        OSError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        pickle.UnpicklingError,
        SafetensorError,
    ) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise InputError(
            f"The weights {path} cannot be read as plain tensors ({reason}): give a state dict "
            "as .safetensors or .pth."
        ) from error
    for key in ("state_dict", "model", "network"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not any(isinstance(v, Tensor) for v in found.values()):
        raise InputError(f"The file {path} holds no weights: give the encoder's state dict.")
    return {str(k).removeprefix("module."): v for k, v in found.items() if isinstance(v, Tensor)}


def _load_encoder(
    network: SegmentationNetwork, weights: dict[str, Tensor], path: Path, encoder: str
) -> None:
    target = network.get_submodule("encoder")
    names = target.state_dict().keys()
    kept = {
        key.removeprefix("encoder."): value
        for key, value in weights.items()
        if not key.startswith(HEADS)
    }
    missing = sorted(n for n in names - kept.keys() if not n.endswith("num_batches_tracked"))
    unknown = sorted(kept.keys() - names)
    try:
        target.load_state_dict(kept, strict=False)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()[:160]
        raise InputError(_misfit(path, encoder, reason)) from error
    if missing or unknown:
        what = f"it lacks {missing[0]}" if missing else f"it has {unknown[0]}"
        raise InputError(_misfit(path, encoder, what))


def _misfit(path: Path, encoder: str, reason: str) -> str:
    return (
        f"The weights {path} do not fit the encoder {encoder} ({reason}): choose the --encoder "
        "they were made for (timm res2net50d, resnet50 and seresnet34, torchvision vgg16)."
    )
