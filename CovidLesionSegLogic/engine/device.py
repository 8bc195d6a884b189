"""Choose the processor the networks run on, and say plainly when a wished-for one is not there."""

from __future__ import annotations

import importlib.util
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from CovidLesionSegLogic.errors import InputError, RequestError

if TYPE_CHECKING:
    import torch

_FORMS = "auto, cpu, cuda, cuda:N (N = 0, 1, ...) or mps"
_BATCH = {"cpu": 4, "cuda": 16, "mps": 8}
_proven: set[str] = set()


def require_torch() -> None:
    """Raise InputError saying how to install PyTorch when it is missing."""
    if importlib.util.find_spec("torch") is None:
        raise InputError(
            "PyTorch is not installed; in Slicer install the PyTorch extension and use its "
            "'Install PyTorch' button, in plain Python install 'covid-lesion-seg[torch]'."
        )


def available_devices() -> list[str]:
    """Names of the devices that PyTorch can use here, "cpu" first."""
    import torch

    names = ["cpu"]
    if torch.cuda.is_available():
        names += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    return names


def count_gpus() -> int:
    """Number of NVIDIA GPUs on which this PyTorch can compute."""
    return sum(name.startswith("cuda") and not fault_of(name) for name in available_devices())


@dataclass(frozen=True)
class DeviceInfo:
    """A device that can compute here: the name options take, one for people, free memory in MB."""

    name: str
    title: str
    free_mb: int | None = None


def list_devices() -> list[DeviceInfo]:
    """All devices on which this PyTorch can compute, "cpu" first.

    Raises InputError where PyTorch is missing.
    """
    require_torch()
    import torch

    found = []
    for name in available_devices():
        if fault_of(name):
            continue
        if name.startswith("cuda"):
            free, _ = torch.cuda.mem_get_info(name)
            found.append(DeviceInfo(name, torch.cuda.get_device_name(name), free // 1_000_000))
        else:
            found.append(DeviceInfo(name, {"cpu": "CPU", "mps": "Apple GPU"}.get(name, name)))
    return found


def choose_device(name: str = "auto") -> torch.device:
    """The device called ``name``.

    Parameters
    ----------
    name
        "auto" (an NVIDIA GPU, else Apple's, else the CPU; a GPU on which this PyTorch cannot
        compute is passed over), "cpu", "cuda", "cuda:N" or "mps".

    Raises
    ------
    RequestError
        The name is not understood, or the device is not there (the message says which are) or
        does not work with this PyTorch.
    InputError
        PyTorch is not installed.
    """
    require_torch()
    import torch

    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise RequestError(f"'{name}' is not a device; choose {_FORMS}.")
    there = available_devices()
    if name == "auto":
        return torch.device(next((d for d in there if d != "cpu" and not fault_of(d)), "cpu"))
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in there:
        why = " (this PyTorch is a build without CUDA)" if _cuda_wanted_without_it(wanted) else ""
        raise RequestError(
            f"The device '{name}' is not available{why}; available here: {', '.join(there)}. "
            "Choose one of these or '--device auto'."
        )
    if fault := fault_of(wanted):
        raise RequestError(
            f"The device '{name}' does not work with this PyTorch ({fault}); install a PyTorch "
            "build for it, or choose '--device cpu'."
        )
    return torch.device(wanted)


def fault_of(name: str) -> str:
    """Why this PyTorch cannot compute on the available device ``name``; "" when it can.

    A PyTorch build has kernels for some generations of GPUs only, which shows at the first
    computation: a tiny convolution is tried. Success is remembered, as it does not wear off.
    """
    if name == "cpu" or name in _proven:
        return ""
    try:
        _try_convolution(name)
    except RuntimeError as error:
        return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    _proven.add(name)
    return ""


def _try_convolution(name: str) -> None:
    import torch

    with torch.inference_mode():
        image = torch.ones((1, 1, 8, 8), device=name)
        # Fetching the result waits for the computation, and for its error.
        torch.nn.functional.conv2d(image, torch.ones((1, 1, 3, 3), device=name)).sum().item()


def _cuda_wanted_without_it(name: str) -> bool:
    import torch

    return name.startswith("cuda") and torch.version.cuda is None


def unused_gpu_notice(device: torch.device, asked: str = "auto") -> str:
    """A sentence when a GPU seems to be there but the CPU is used, else "".

    ``asked`` is the name given to :func:`choose_device`; who asked for the CPU is told nothing.
    """
    import torch

    if device.type != "cpu" or asked != "auto":
        return ""
    for name in available_devices():
        if fault := fault_of(name):
            return f"The GPU {name} does not work with this PyTorch; the CPU is used: {fault}."
    if torch.cuda.is_available() or not shutil.which("nvidia-smi"):
        return ""
    why = (
        "this PyTorch is a build without CUDA"
        if torch.version.cuda is None
        else "PyTorch cannot use it; its driver may be too old"
    )
    return f"An NVIDIA GPU seems to be installed but the CPU is used: {why}."


def describe_device(device: torch.device) -> str:
    """For people and the provenance: "cuda:0 (NVIDIA ...)", "cpu (8 threads)"."""
    import torch

    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"cpu ({threads} thread{'s' if threads > 1 else ''})"
    return str(device)


def default_batch_size(device: torch.device) -> int:
    """Slices that go through the network together when the user does not say."""
    return _BATCH[device.type]
