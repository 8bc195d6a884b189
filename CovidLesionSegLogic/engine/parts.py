"""A network's parts, each in the form that this machine runs fastest."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from CovidLesionSegLogic.errors import RequestError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from CovidLesionSegLogic.engine.onnx_parts import OnnxParts

AUTO, TORCH, ONNX = "auto", "torch", "onnxruntime"
ENGINES = (AUTO, TORCH, ONNX)
"""What computes: PyTorch, or ONNX Runtime, which is the faster one on CPUs."""

WORTHWHILE = 24
"""From so many slices on, ONNX Runtime saves more than the 4 s that it takes to hand it over."""

_handed_over: WeakKeyDictionary[nn.Module, OnnxParts] = WeakKeyDictionary()


class Parts(Protocol):
    """Runs a network's methods by name, without gradients."""

    def __call__(self, part: str, *inputs: Tensor) -> tuple[Tensor, ...]:
        """What the network's method ``part`` ("encode", "refinement.detail") returns, a tuple."""


class TorchParts:
    """The network as it is, by PyTorch."""

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


def parts_of(network: nn.Module, engine: str, notice: Callable[[str], None] | None = None) -> Parts:
    """The network's parts by ``engine``.

    What ONNX Runtime got is kept as long as the network, and handed over again when weights have
    changed. ``notice`` is told in a sentence when PyTorch has to do instead.
    """
    if engine != ONNX:
        return TorchParts(network)
    kept = _handed_over.get(network)
    if kept is None or kept.weights != weights_of(network):
        from CovidLesionSegLogic.engine.onnx_parts import OnnxParts

        kept = _handed_over[network] = OnnxParts(network)
    kept.tell(notice)
    return kept


def engine_used(network: nn.Module, engine: str) -> str:
    """What computed when ``engine`` was to: the same, but for what ONNX Runtime could not do."""
    kept = _handed_over.get(network) if engine == ONNX else None
    return engine if kept is None else kept.engine


def weights_of(network: nn.Module) -> tuple[tuple[int, int], ...]:
    """Which weights a network has, without looking at them: equal as long as none has changed."""
    from itertools import chain

    return tuple(
        # Inference tensors count no changes.
        (x.data_ptr(), 0 if x.is_inference() else x._version)
        for x in chain(network.parameters(), network.buffers())
    )
