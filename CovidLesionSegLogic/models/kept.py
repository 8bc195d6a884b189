"""Networks that stay loaded from one CT to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from CovidLesionSegLogic.models.card import ModelCard
from CovidLesionSegLogic.models.registry import load_fast_network

if TYPE_CHECKING:
    import torch

    from CovidLesionSegLogic.networks import SegmentationNetwork


class _Key(NamedTuple):
    name: str
    weights: str
    changed_ns: int
    device: str


class KeptNetworks:
    """``load_fast_network`` that remembers: the lungs' network and the latest lesion network.

    A weight file that was replaced is read again; so is a network that another one of the same
    task has pushed out, for a graphics card may not hold many.
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[_Key, SegmentationNetwork]] = {}

    def __call__(self, card: ModelCard, device: str | torch.device = "cpu") -> SegmentationNetwork:
        """The network, in eval mode, on ``device``; the errors are those of ``load_network``."""
        path = card.weights_path
        changed = path.stat().st_mtime_ns if path.is_file() else 0
        key = _Key(card.name, card.weights.sha256, changed, str(device))
        kept = self._kept.get(card.task)
        if kept is not None and kept[0] == key:
            return kept[1]
        self._kept.pop(card.task, None)  # before the next one needs the memory
        network = load_fast_network(card, device)
        self._kept[card.task] = (key, network)
        return network

    def clear(self) -> None:
        """Let go of all."""
        self._kept.clear()
