"""Weights as safetensors: data only, small, checked.

Storage "int8" holds each floating-point tensor of two or more dimensions as int8 with one scale
per output channel (dimension 0), symmetric: ``scale = max|w| / 127``, ``w ~ int8 * scale``. The
scales lie under ``<key>.scale``. Everything else (biases, batch-norm statistics) is float32. The
file's metadata names the storage form, so that it loads without its card.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from CovidLesionSegLogic.ct.atomic import atomic_path
from CovidLesionSegLogic.errors import InputError, quoted

if TYPE_CHECKING:
    from torch import Tensor

STORAGES = ("int8", "float32")
_SCALE = ".scale"
_MEND = "reinstall the extension, or put the file back from its source"
_UNFIT = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""What torch and safetensors raise for tensors that do not fit."""


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file as hex digits, read in pieces; InputError when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    except OSError as error:
        raise InputError(f"The file {path} cannot be read ({error.strerror}); {_MEND}.") from error
    return digest.hexdigest()


def _quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(int8 of the same shape, float32 scale of shape (out,))."""
    import torch

    flat = weight.detach().to("cpu", torch.float32).reshape(weight.shape[0], -1)
    scale = flat.abs().amax(dim=1) / 127
    # A channel of zeros, or one so small that its scale underflows, is stored as zeros.
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    values = (flat / scale[:, None]).round().clamp(-127, 127)
    return values.to(torch.int8).reshape(weight.shape), scale


def save_weights(state_dict: Mapping[str, Tensor], path: str | Path, storage: str = "int8") -> None:
    """Write a state dict; the file appears whole or not at all.

    Parameters
    ----------
    state_dict
        Names and tensors, on any device. Integer and boolean tensors keep their type.
    path
        Ends in ``.safetensors``.
    storage
        "int8" (a quarter of the size, see the module) or "float32" (exact).

    Raises
    ------
    ValueError
        Unknown storage, a tensor that is not finite, or a name that clashes with a scale's.
    RequestError
        The folder cannot be written or its disk is full.
    """
    import torch
    from safetensors.torch import save

    if storage not in STORAGES:
        raise ValueError(f"storage must be one of {', '.join(STORAGES)}, not {storage!r}")
    stored: dict[str, Tensor] = {}

    def add(key: str, tensor: Tensor) -> None:
        if key in stored:
            raise ValueError(f"the name '{key}' is needed for a scale and cannot be a weight's")
        stored[key] = tensor.contiguous().clone()  # safetensors refuses shared memory

    for key, tensor in state_dict.items():
        tensor = tensor.detach().cpu()
        if not tensor.is_floating_point():
            add(key, tensor)
            continue
        if not torch.isfinite(tensor).all():
            raise ValueError(f"the weight '{key}' holds values that are not finite")
        if storage == "int8" and tensor.ndim >= 2 and tensor.numel():
            values, scale = _quantise(tensor)
            add(key, values)
            add(key + _SCALE, scale)
        else:
            add(key, tensor.to(torch.float32))

    # Written by ourselves: safetensors' own writer makes a file that only its owner may read.
    # One entry of metadata only: more would be written in random order, and change the checksum.
    data = save(stored, metadata={"storage": storage})
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a file of :func:`save_weights` as a float32 state dict on the CPU.

    Integer and boolean tensors keep their type. Raises InputError naming the file when it cannot
    be read, is not a safetensors file, does not say its storage form, or holds values that are not
    finite: of such a network no voxel would ever be a lesion.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            storage = (file.metadata() or {}).get("storage")
            stored = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, *_UNFIT) as error:
        raise InputError(
            f"The weight file {path} cannot be read ({quoted(error)}); {_MEND}."
        ) from error
    if storage not in STORAGES:
        raise InputError(
            f"The weight file {path} does not say how its weights are stored "
            f"(metadata 'storage' is {quoted(repr(storage))}); {_MEND}."
        )
    try:
        weights = _restore(stored) if storage == "int8" else stored
        kinds = {key: t.dtype for key, t in weights.items() if t.is_complex()}
        sound = not kinds and all(bool(torch.isfinite(t).all()) for t in weights.values())
    except _UNFIT as error:  # scales of another shape, kinds of numbers that nothing computes with
        raise InputError(
            f"The weight file {path} is not valid ({quoted(error)}); {_MEND}."
        ) from error
    if not sound:
        raise InputError(
            f"The weight file {path} holds values that are no finite numbers; {_MEND}."
        )
    return weights


def _restore(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    import torch

    weights: dict[str, Tensor] = {}
    scales = {
        key + _SCALE
        for key, t in stored.items()
        if t.dtype == torch.int8 and key + _SCALE in stored
    }
    for key, tensor in stored.items():
        if key in scales:
            continue
        if key + _SCALE in scales:
            scale = stored[key + _SCALE].reshape(-1, *[1] * (tensor.ndim - 1))
            weights[key] = tensor.to(torch.float32) * scale
        else:
            weights[key] = tensor
    return weights
