"""How time and memory grow with the number of slices."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from CovidLesionSegLogic.assess.figures import new_figure, save_figure
from CovidLesionSegLogic.ct import CTVolume, read_ct, to_canonical, write_image
from CovidLesionSegLogic.engine import Cancel
from CovidLesionSegLogic.errors import InputError

SIZES = (50, 150, 300, 600, 1200)
"""Numbers of slices, from thick to thin ones of the same chest."""

_COMMAND = [sys.executable, "-m", "CovidLesionSegLogic", "segment", "--progress", "none"]
_LOOK_EVERY = 0.05
_PATIENCE = 10.0
"""Seconds: between two looks at the process, and until a process that is to stop is killed."""


def of_slices(ct: CTVolume, count: int) -> CTVolume:
    """The same chest in ``count`` slices: each is the nearest of ``ct``'s, the spacing follows.

    So every size has the same share of slices with lung and with lesion.
    """
    canonical, _ = to_canonical(ct)
    there = len(canonical.array)
    nearest = np.minimum(((np.arange(count) + 0.5) * there / count).astype(int), there - 1)
    spacing = (*canonical.spacing[:2], canonical.spacing[2] * there / count)
    return replace(canonical, array=canonical.array[nearest], spacing=spacing)


def growth(
    path: Path,
    models: Sequence[str],
    device: str,
    sizes: Sequence[int],
    folder: Path,
    *,
    begin: Callable[[str], None],
    cancel: Cancel,
) -> list[dict[str, Any]]:
    """Run ``segment`` on the CT in so many slices, each in a process of its own.

    Returns
    -------
    list
        Of model, slices, seconds from the process's start to its end, the result's seconds by
        stage, and the process's peak of resident memory in MB (on Windows: until it writes).
    """
    rows = []
    ct = read_ct(path)
    for count in sizes:
        cancel.check()
        begin(f"writing {count} slices")
        resampled = of_slices(ct, count)
        file = write_image(resampled.array, resampled, folder / f"slices_{count}.nii")
        del resampled
        for model in models:
            cancel.check()
            begin(f"{count} slices, {model}")
            found = _run(file, model, device, folder, cancel)
            rows.append({"model": model, "slices": count} | found)
        file.unlink()
    return rows


def _run(file: Path, model: str, device: str, folder: Path, cancel: Cancel) -> dict[str, Any]:
    target = folder / f"{file.stem}_{model}"
    start = time.perf_counter()
    command = [*_COMMAND, str(file), "-o", str(target), "--model", model, "--device", device]
    words = folder / "stderr.txt"
    with words.open("wb") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            # Ctrl-C on a terminal goes to this process alone, which ends the other.
            start_new_session=True,
        )
    try:
        peak = _wait(process, cancel)
    except BaseException:
        _end(process)
        raise
    seconds = time.perf_counter() - start
    if process.returncode:
        said = words.read_text(encoding="utf-8", errors="replace").strip()
        raise InputError(f"segment failed on {file.name}: {said}")
    (result,) = target.rglob("*_quantification.json")
    provenance = json.loads(result.read_text(encoding="utf-8"))["provenance"]
    return {
        "seconds": seconds,
        "stages": provenance["seconds"],
        "peak_mb": peak or provenance["peak_memory_mb"],
    }


def _wait(process: subprocess.Popen[bytes], cancel: Cancel) -> float | None:
    """Wait for the end; the peak of resident memory in MB where the system tells it."""
    if not hasattr(os, "wait4"):
        while process.poll() is None:
            cancel.check()
            time.sleep(_LOOK_EVERY)
        return None
    while True:
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        cancel.check()
        time.sleep(_LOOK_EVERY)
    process.returncode = os.waitstatus_to_exitcode(status)
    # wait4 counts bytes on macOS, KiB elsewhere.
    return round(usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to stop, which tidies up after it; kill it where it does not."""
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def draw_growth(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Seconds and peak memory over the number of slices, a line for each model, as PNG."""
    figure = new_figure(8.0, 3.4)
    for place, (key, factor, label) in enumerate(
        (("seconds", 1.0, "seconds"), ("peak_mb", 1e-3, "peak memory, GB")), start=1
    ):
        axes = figure.add_subplot(1, 2, place)
        for model in dict.fromkeys(row["model"] for row in rows):
            own = [row for row in rows if row["model"] == model]
            axes.plot([r["slices"] for r in own], [factor * r[key] for r in own], "o-", label=model)
        axes.set(xlabel="slices", ylabel=label, xlim=(0, None), ylim=(0, None))
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
    save_figure(figure, path)
