"""Seconds per slice of the product's networks and of those the papers compare with."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any

from CovidLesionSegLogic.engine.parts import ONNX, TORCH, has_onnx, parts_of
from CovidLesionSegLogic.models import get_card, list_models, load_fast_network, load_network
from CovidLesionSegLogic.networks.fold import fold_batch_norm
from CovidLesionSegLogic.networks.peers import PEERS, build_peer

if TYPE_CHECKING:
    import torch
    from torch import nn

SIDE = 352
"""Input of Ref-Net, and of the networks that its paper compares with, pixels."""


def matrix_rate(device: torch.device, repeats: int = 5) -> float:
    """Billions of multiply-adds a second in a product of two 2048 x 2048 float32 matrices."""
    import torch

    a, b = (torch.randn(2048, 2048, device=device) for _ in range(2))
    rates = []
    for _ in range(repeats):
        start = time.perf_counter()
        (a @ b)[0, 0].item()
        rates.append(2048**3 / 1e9 / (time.perf_counter() - start))
    return max(rates)


def multiply_adds(network: nn.Module, image: torch.Tensor) -> float:
    """Billions of multiply-adds that the convolutions spend on ``image`` (B, C, H, W)."""
    import torch
    from torch import nn

    spent = [0.0]

    def count(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        spent[0] += output.numel() * module.weight[0].numel() / 1e9

    hooks = [
        module.register_forward_hook(count)
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
    ]
    try:
        with torch.inference_mode():
            network.predict_logits(image)  # type: ignore[operator]
    finally:
        for hook in hooks:
            hook.remove()
    return spent[0]


def compare_peers(
    device: torch.device, repeats: int, names: tuple[str, ...] = tuple(PEERS)
) -> list[dict[str, Any]]:
    """One slice through each network, taking turns, by the engine and by the plain network.

    The peers have random weights, which cost the same time as others.
    """
    import torch

    engine = ONNX if device.type == "cpu" and has_onnx() else TORCH
    plain: dict[str, nn.Module] = {}
    fast: dict[str, nn.Module] = {}
    for card in list_models("lesion"):
        plain[card.name] = load_network(card, device)
        fast[card.name] = load_fast_network(get_card(card.name), device)
    for name in names:
        plain[name] = build_peer({"network": name}).eval().requires_grad_(False).to(device)
        fast[name] = fold_batch_norm(
            build_peer({"network": name}).eval().requires_grad_(False).to(device)
        ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).to(device)
    spent = {name: multiply_adds(network, image) for name, network in plain.items()}
    rates = [matrix_rate(device)]
    seconds: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in plain}
    with torch.inference_mode():
        for turn in range(repeats + 1):
            for name in plain:
                ways = (parts_of(plain[name], TORCH), parts_of(fast[name], engine))
                for parts, taken in zip(ways, seconds[name], strict=True):
                    start = time.perf_counter()
                    parts("predict_logits", image)[0].cpu()
                    if turn:
                        taken.append(time.perf_counter() - start)
    rates.append(matrix_rate(device))
    return [
        {
            "network": name,
            "gmac": spent[name],
            "share_of_matrix_rate": spent[name] / median(quick) / max(rates),
            "plain_seconds": median(slow),
            "fast_seconds": median(quick),
            "ratio": median(a / b for a, b in zip(slow, quick, strict=True)),
        }
        for name, (slow, quick) in seconds.items()
    ]
