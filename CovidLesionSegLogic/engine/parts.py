"""A network's parts, each in the form that this machine runs fastest."""

from __future__ import annotations

import importlib.util
import logging
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from CovidLesionSegLogic.errors import RequestError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

AUTO, TORCH, ONNX = "auto", "torch", "onnxruntime"
ENGINES = (AUTO, TORCH, ONNX)
"""What computes: PyTorch, or ONNX Runtime, which is the faster one on CPUs."""

WORTHWHILE = 24
"""From so many slices on, ONNX Runtime saves more than the 3 s that it takes to hand it over."""

_log = logging.getLogger(__name__)
_handed_over: WeakKeyDictionary[nn.Module, Parts] = WeakKeyDictionary()


class Parts(Protocol):
    """Runs a network's methods by name, without gradients."""

    engine: str

    def __call__(self, part: str, *inputs: Tensor) -> tuple[Tensor, ...]:
        """What the network's method ``part`` ("encode", "refinement.detail") returns, a tuple."""


class TorchParts:
    """The network as it is, by PyTorch."""

    engine = TORCH

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    def __call__(self, part: str, *inputs: Tensor) -> tuple[Tensor, ...]:
        """As :class:`Parts` says."""
        result = attrgetter(part)(self._network)(*inputs)
        return tuple(result) if isinstance(result, (list, tuple)) else (result,)


def check_engine(name: str, device: torch.device) -> None:
    """RequestError for an engine that cannot be had for the device."""
    if name != ONNX:
        return
    if device.type != "cpu":
        raise RequestError(
            f"The engine {ONNX} computes on the CPU only, not on '{device}'; leave --engine out "
            "or choose '--device cpu'."
        )
    if not has_onnx():
        raise RequestError(
            f"The engine {ONNX} is not installed; install it with: "
            "pip install 'covid-lesion-seg[fast]', or leave --engine out."
        )


def has_onnx() -> bool:
    """Whether ONNX Runtime, and what hands networks over to it, are installed."""
    return all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))


def engine_for(name: str, device: torch.device, slices: int) -> str:
    """The engine for a job of so many slices: what was asked, else the fastest that is here."""
    if name != AUTO:
        return name
    return ONNX if device.type == "cpu" and slices >= WORTHWHILE and has_onnx() else TORCH


def parts_of(network: nn.Module, engine: str) -> Parts:
    """The network's parts by ``engine``; what ONNX Runtime got is kept as long as the network."""
    if engine != ONNX:
        return TorchParts(network)
    kept = _handed_over.get(network)
    if kept is None:
        from CovidLesionSegLogic.engine.onnx_parts import OnnxParts

        kept = _handed_over[network] = OnnxParts(network)
    return kept
