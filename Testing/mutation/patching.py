"""Put a changed module into a process that has imported the real one."""

from __future__ import annotations

import gc
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def functions_of(path: Path) -> dict[str, list[types.FunctionType]]:
    """The functions that a module has made, by their qualified names."""
    found: dict[str, list[types.FunctionType]] = {}
    for thing in gc.get_objects():
        if isinstance(thing, types.FunctionType) and thing.__code__.co_filename == str(path):
            found.setdefault(thing.__qualname__, []).append(thing)
    return found


def patch(path: Path, name: str, source: str, ours: dict[str, list[types.FunctionType]]) -> None:
    """Functions get the changed code and defaults; constants are replaced wherever imported.

    Objects stay the same, so whoever imported a function by name runs the changed one.
    """
    real = sys.modules[name]
    fresh = types.ModuleType(name)
    fresh.__dict__.update(__file__=str(path), __package__=name.rpartition(".")[0])
    sys.modules[name] = fresh  # dataclasses look their module up
    try:
        exec(compile(source, str(path), "exec", dont_inherit=True), fresh.__dict__)  # noqa: S102
    finally:
        sys.modules[name] = real
    for qualified, new in _functions(vars(fresh), str(path)):
        for old in ours.get(qualified, ()):
            old.__code__ = new.__code__
            old.__defaults__ = new.__defaults__
            old.__kwdefaults__ = new.__kwdefaults__
    for key, value in vars(fresh).items():
        old = vars(real).get(key)
        if key.startswith("__") or isinstance(value, (type, types.FunctionType, types.ModuleType)):
            continue
        if repr(value) == repr(old):
            continue
        for module in list(sys.modules.values()):
            if isinstance(module, types.ModuleType) and vars(module).get(key, fresh) is old:
                setattr(module, key, value)


def _functions(names: Any, path: str) -> Iterator[tuple[str, types.FunctionType]]:
    for thing in list(names.values()):
        if isinstance(thing, property):
            thing = thing.fget
        thing = getattr(thing, "__func__", thing)
        if isinstance(thing, types.FunctionType) and thing.__code__.co_filename == path:
            yield thing.__qualname__, thing
        elif isinstance(thing, type) and thing.__module__ == names.get(
            "__name__", thing.__module__
        ):
            yield from _functions(vars(thing), path)
