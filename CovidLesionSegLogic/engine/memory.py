"""What running out of memory and a failing device look like, and what to say then."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from CovidLesionSegLogic.errors import DeviceError, InputError

if TYPE_CHECKING:
    import torch

_WORDS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    # The words of ITK, of C++ and of Python; the stack of a new thread needs memory too.
    "failed to allocate memory",
    "bad_alloc",
    "can't start new thread",
    "unable to create thread",
    "unable to join thread",
)
_FAILURES = ("cuda error", "cudnn error", "cublas error", "hip error", "mps backend", "nvrtc")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, in the words of the libraries."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in text for words in _WORDS)
    )


def is_device_failure(error: BaseException) -> bool:
    """Whether an error is that of a graphics card, in the words of PyTorch."""
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _FAILURES)


def device_failed(device: torch.device, error: BaseException) -> DeviceError:
    """A sentence for :func:`is_device_failure`; PyTorch's own has several lines."""
    first = str(error).strip().splitlines()[0].rstrip(".")
    return DeviceError(
        f"The device '{device}' failed ({first}): run again, with '--device cpu' if it fails again."
    )


@contextlib.contextmanager
def memory_errors_for(device: torch.device, task: str) -> Iterator[None]:
    """Turn running out of memory during ``task`` into an InputError with advice."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            if is_device_failure(error):
                raise device_failed(device, error) from error
            raise
        other = "" if device.type == "cpu" else " or use '--device cpu'"
        raise InputError(
            f"There is not enough memory on the device '{device}' for {task}; close other "
            f"programs{other}."
        ) from error
