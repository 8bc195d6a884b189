"""What running out of memory looks like, and what to say then."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from CovidLesionSegLogic.errors import InputError

if TYPE_CHECKING:
    import torch

_WORDS = ("out of memory", "can't allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, in the words of PyTorch's devices."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in text for words in _WORDS)
    )


@contextlib.contextmanager
def memory_errors_for(device: torch.device, task: str) -> Iterator[None]:
    """Turn running out of memory during ``task`` into an InputError with advice."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        other = "" if device.type == "cpu" else " or use '--device cpu'"
        raise InputError(
            f"There is not enough memory on the device '{device}' for {task}; close other "
            f"programs{other}."
        ) from error
