"""Tensors in whatever a batch is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from torch import Tensor


def map_tensors(batch: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """``function`` on every tensor of a batch: a tensor, or a dataclass, list or dict of them."""
    if isinstance(batch, Tensor):
        return function(batch)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        values = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
        return dataclasses.replace(
            batch, **{name: map_tensors(value, function) for name, value in values.items()}
        )
    if isinstance(batch, (list, tuple)):
        return type(batch)(map_tensors(item, function) for item in batch)
    if isinstance(batch, dict):
        return {name: map_tensors(item, function) for name, item in batch.items()}
    return batch
