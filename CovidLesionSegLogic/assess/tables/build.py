"""A run's network: any of the product's or its peers, with the start its run asks for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from CovidLesionSegLogic.errors import InputError, RequestError

if TYPE_CHECKING:
    from torch import Tensor

    from CovidLesionSegLogic.networks import SegmentationNetwork

NOT_LESIONS = ("lungnet",)
CLASSIFIERS = ("fc.", "classifier.", "head.")


class Started(Protocol):
    """The part of a run that says where its network starts; see ``plan.Run``."""

    @property
    def name(self) -> str: ...
    @property
    def network(self) -> dict[str, Any]: ...
    @property
    def init(self) -> str: ...
    @property
    def weights(self) -> str | None: ...
    @property
    def slices(self) -> str | None: ...


@dataclass(frozen=True)
class Starts:
    """Files that the user gives for a plan.

    Attributes
    ----------
    imagenet
        ``model.json`` of the TensorFlow.js ResNet-50.
    weights, slices
        Files by the name that runs use for them: encoder weights, further training slices.
    """

    imagenet: Path | None = None
    weights: dict[str, Path] = field(default_factory=dict)
    slices: dict[str, Path] = field(default_factory=dict)

    def missing(self, run: Started) -> str:
        """What the user would have to give for ``run`` to be trained; "" when nothing."""
        if run.init == "imagenet" and self.imagenet is None:
            return "needs --imagenet model.json"
        if run.weights is not None and run.weights not in self.weights:
            return f"needs --weights {run.weights}=FILE"
        if run.slices is not None and run.slices not in self.slices:
            return f"needs --slices {run.slices}=FILE"
        return ""

    def files(self, run: Started) -> dict[str, str]:
        """SHA-256 of each file that ``run`` learns from, by its role."""
        found: dict[str, Path] = {}
        if run.init == "imagenet" and self.imagenet is not None:
            found["imagenet"] = self.imagenet
        if run.weights is not None and run.weights in self.weights:
            found["weights"] = self.weights[run.weights]
        if run.slices is not None and run.slices in self.slices:
            found["slices"] = self.slices[run.slices]
        return {role: sha256(path) for role, path in found.items()}


def sha256(path: Path) -> str:
    """Checksum of a file; InputError where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror or error}): give the right file."
        ) from error
    return digest.hexdigest()


def known_networks() -> list[str]:
    """Names of the lesion networks: the product's and its peers."""
    from CovidLesionSegLogic.networks import NETWORKS
    from CovidLesionSegLogic.networks.peers import PEERS

    return [name for name in NETWORKS if name not in NOT_LESIONS] + list(PEERS)


def build(spec: Mapping[str, Any]) -> SegmentationNetwork:
    """The network that ``spec`` describes, with a random start."""
    from CovidLesionSegLogic.networks import NETWORKS, build_network
    from CovidLesionSegLogic.networks.peers import build_peer

    return build_network(spec) if spec["network"] in NETWORKS else build_peer(spec)


def build_started(run: Started, starts: Starts) -> SegmentationNetwork:
    """The run's network with the encoder it starts from.

    Raises
    ------
    RequestError
        The network has no encoder.
    InputError
        The weights do not fit the encoder, or their file cannot be read.
    """
    network = build(run.network)
    if run.init == "random":
        return network
    path = starts.imagenet if run.init == "imagenet" else starts.weights[run.weights or ""]
    assert path is not None  # Starts.missing was asked before
    try:
        encoder = network.get_submodule("encoder")
    except AttributeError as error:
        raise RequestError(
            f"The network of the run '{run.name}' has no encoder to start from {path.name}: "
            "let the plan give it a random start."
        ) from error
    try:
        state = _read(path, run.init)
        # A public file brings the classifier that stood behind the encoder.
        state = {k: v for k, v in state.items() if not k.startswith(CLASSIFIERS)}
        encoder.load_state_dict(state)
    except (RuntimeError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"The weights in {path} do not fit the encoder of the run '{run.name}' ({reason}): "
            "give weights of that encoder."
        ) from error
    return network


def _read(path: Path, init: str) -> dict[str, Tensor]:
    from CovidLesionSegLogic.learn.imagenet import resnet50_state_dict
    from CovidLesionSegLogic.learn.start import read_public_weights

    if init == "imagenet":
        try:
            return resnet50_state_dict(path)
        except OSError as error:
            raise InputError(
                f"{path} cannot be read as weights ({error}): give another."
            ) from error
    state = read_public_weights(path)
    inside = {k[8:]: v for k, v in state.items() if k.startswith("encoder.")}
    return inside or state
