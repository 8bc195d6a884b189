"""Which number format a training computes in, by device."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from CovidLesionSegLogic.errors import RequestError


def cpu_has_fast_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware.

    oneDNN, which computes PyTorch's convolutions on CPUs, has native bfloat16 kernels where the
    instruction sets AVX512_BF16 or AMX_BF16 are; elsewhere it converts to float32 and back, which
    costs time. ``torch.cpu.get_capabilities`` tells; a PyTorch without it counts as "no".
    """
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is None:
        return False
    found = capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def resolve_precision(precision: str, device: torch.device) -> str:
    """ "float32", "bfloat16" or "float16" for what a schedule asks on ``device``.

    "auto" is bfloat16 where the device computes it natively, else float16 on CUDA, else float32.

    Raises
    ------
    RequestError
        float16 is asked for on another device than CUDA.
    """
    if precision == "float16" and device.type != "cuda":
        raise RequestError(
            f"float16 training needs a CUDA device, not '{device}': choose precision 'auto'."
        )
    if precision != "auto":
        return precision
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
        return "bfloat16" if native else "float16"
    if device.type == "cpu" and cpu_has_fast_bfloat16():
        return "bfloat16"
    return "float32"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Compute in ``precision``, as :func:`resolve_precision` gives it, inside the context.

    float32 needs no autocast, which older PyTorch versions do not have for every device.
    """
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, precision))


def gradient_scaler(precision: str) -> Any:
    """Scales losses up and gradients down again in float16, else does nothing."""
    # PyTorch 2.2 has it for CUDA only, under another name.
    kind: Any = getattr(torch.amp, "GradScaler", None)
    enabled = precision == "float16"
    return kind("cuda", enabled=enabled) if kind else torch.cuda.amp.GradScaler(enabled=enabled)
