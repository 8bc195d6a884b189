"""Small studies and a small model for batches that run in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_model
from numpy.typing import NDArray

from CovidLesionSegLogic.ct import CTVolume, write_image

ROOT = Path(__file__).resolve().parents[2]
NUMBERS: dict[str, Any] = {
    "study_uid": None, "series_uid": None, "model": "tiny", "slices": 4, "slices_with_lesion": 1,
    "lungs_ml": 100.0, "classes": [{"name": "lesion", "volume_ml": 1.5, "share_percent": 1.5}],
    "total_ml": 1.5, "total_percent": 1.5, "score_0_to_25": 2, "slices_positive": None,
    "infected": None, "warnings": [],
}  # fmt: skip
"""Of a record, as :func:`~CovidLesionSegLogic.batch.record.numbers_of` has them."""
VOLATILE = ("device", "started", "seconds", "peak_memory_mb", "peak_gpu_memory_mb")


def small_ct(seed: int = 0, shape: tuple[int, int, int] = (4, 48, 48)) -> NDArray[np.int16]:
    """Two lungs with noise in a body in air, HU."""
    hu = np.full(shape, -1000, np.int16)
    hu[:, 4:44, 4:44] = 40
    noise = np.random.default_rng(seed).normal(-780, 90, shape).astype(np.int16)
    for columns in (slice(8, 22), slice(26, 40)):
        hu[:, 10:38, columns] = noise[:, 10:38, columns]
    return hu.clip(-1024, None)


def small_lungs(shape: tuple[int, int, int] = (4, 48, 48)) -> NDArray[np.uint8]:
    """1 the patient's right lung, 2 the left."""
    lungs = np.zeros(shape, np.uint8)
    lungs[:, 10:38, 8:22], lungs[:, 10:38, 26:40] = 1, 2
    return lungs


def write_case(folder: Path, name: str, seed: int = 0) -> Path:
    """A CT as NIfTI; its lungs lie in ``lungs.nii.gz`` beside."""
    hu = small_ct(seed)
    grid = CTVolume(hu, spacing=(4.0, 4.0, 5.0))
    if not (folder / "lungs.nii.gz").exists():
        write_image(small_lungs(), grid, folder / "lungs.nii.gz")
    return write_image(hu, grid, folder / f"{name}.nii.gz")


def write_table(folder: Path, names: list[str]) -> Path:
    """A table of cases, each a CT beside with the same lungs."""
    for seed, name in enumerate(names):
        write_case(folder, name, seed)
    rows = "".join(f"{name}.nii.gz,lungs.nii.gz\n" for name in names)
    table = folder / "cases.csv"
    table.write_text(f"input,lungs\n{rows}", encoding="utf-8")
    return table


def environment(models: Path) -> dict[str, str]:
    """For processes that know the small model."""
    if not models.exists():
        models.mkdir(parents=True)
        with pytest.MonkeyPatch.context() as patch:
            tiny_model.install_coarse_refine(models, patch, 2)
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "COVIDLESIONSEG_MODELS": str(models),
        "OMP_NUM_THREADS": "1",
    }


def batch_command(*arguments: object) -> list[str]:
    """The command line of a batch with the small model on the CPU."""
    command = [sys.executable, "-m", "CovidLesionSegLogic", "batch", *map(str, arguments)]
    return [*command, "--lesion-types", "--device", "cpu"]


def run_batch(
    models: Path, *arguments: object, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run a batch to its end."""
    return subprocess.run(
        batch_command(*arguments),
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(models),
        stdin=subprocess.DEVNULL,
    )


def steady(value: Any) -> Any:
    """JSON without what differs from run to run: times and memory."""
    if isinstance(value, dict):
        return {k: steady(v) for k, v in value.items() if k not in VOLATILE}
    return [steady(one) for one in value] if isinstance(value, list) else value


def contents(results: Path) -> dict[str, Any]:
    """What the results folder holds, by path, without what differs from run to run."""
    found: dict[str, Any] = {}
    for path in sorted(results.rglob("*")):
        name = str(path.relative_to(results))
        if path.is_dir() or name.startswith(".batch"):
            continue
        if path.name.endswith("_batch.json"):
            record = json.loads(path.read_text())
            found[name] = steady({k: v for k, v in record.items() if k != "outputs"})
            found[name]["outputs"] = sorted(record["outputs"])
        elif path.suffix == ".json":
            data = steady(json.loads(path.read_text()))
            if path.name == "summary.json":  # how many were done in which run
                data = {k: v for k, v in data.items() if k not in ("done", "kept")}
            found[name] = data
        elif path.name == "summary.csv":
            found[name] = [row.rsplit(",", 1)[0] for row in path.read_text().splitlines()]
        elif path.suffix == ".html":
            found[name] = path.name  # holds the times
        else:
            found[name] = path.read_bytes()
    return found
