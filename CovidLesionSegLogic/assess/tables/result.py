"""What a finished run leaves: figures of every test image, curves, and where they come from."""

from __future__ import annotations

import json
import os
import platform
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.assess.tables.plan import Evaluation
from CovidLesionSegLogic.ct.atomic import atomic_path
from CovidLesionSegLogic.errors import InputError
from CovidLesionSegLogic.quantify.export import write_json

RESULT, ENTRY = "result.json", "entry.json"
WITH_IMAGES = "contains-data"
"""Folder of everything that shows the images; such files must never be published."""


class Entered(Protocol):
    """A run with a seed or a fold."""

    def entry(self) -> dict[str, Any]:
        """All of the plan that decides what this training learns, JSON-ready."""


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object that this program wrote; None where there is none.

    Raises
    ------
    InputError
        The file is damaged.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(
            f"{path} cannot be read ({error}): remove its folder and run again."
        ) from error
    if not isinstance(data, dict):
        raise InputError(f"{path} is not a result: remove its folder and run again.")
    return data


def write_entry(folder: Path, job: Entered, files: Mapping[str, str]) -> None:
    """Note, before training, what the training is of."""
    write_json({"entry": job.entry(), "files": dict(files)}, folder / ENTRY)


def changes(
    then: Mapping[str, Any] | None, job: Entered, files: Mapping[str, str], *, steps: bool = True
) -> list[str]:
    """What of the plan or of the given files is different since ``then`` was written.

    Files that are not given now are not compared; without ``steps`` neither is the number of
    steps, because a report tells those that were really done.
    """
    if then is None:
        return []
    before, now = _flat(then["entry"]), _flat(job.entry())
    names = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))
    if not steps:
        names = [name for name in names if name != "schedule.steps"]
    known = then.get("files", {})
    return names + [f"the file of '{k}'" for k, v in files.items() if k in known and known[k] != v]


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{key}.")
        else:
            # As JSON would give it back: a tuple and a list are the same entry.
            found[prefix + key] = json.loads(json.dumps(value))
    return found


def lacking(
    result: Mapping[str, Any] | None, evaluations: Iterable[Evaluation]
) -> list[Evaluation]:
    """The evaluations that a result does not have yet."""
    have = (result or {}).get("evaluations", {})
    return [e for e in evaluations if e.key not in have]


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """A compressed ``.npz``, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a ``.npz``.

    Raises
    ------
    InputError
        The file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{path} cannot be read ({error}): remove its folder and run again."
        ) from error


def hardware() -> dict[str, Any]:
    """The processor, its cores and the threads in use; no name of the machine."""
    import torch

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
