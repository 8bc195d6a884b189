"""A coarse-refine plan whose runs take seconds, and a table of images for it."""

from __future__ import annotations

import copy
import csv
from pathlib import Path
from typing import Any

import numpy as np
from skimage import io

OURS = {"network": "coarse-refine"}
BASE = {
    "batch_size": 2,
    "size": 64,
    "batches": "mixture",
    "learning_rate": 0.001,
    "precision": "float32",
}
SMALL: dict[str, Any] = {
    "format": 1,
    "tables_of": "coarse-refine",
    "name": "small",
    "title": "A small plan",
    "notes": ["Made for tests."],
    "classes": ["ground-glass opacity", "consolidation", "fibrosis"],
    "folds": [1],
    "per_patient": 2,
    "gate_views": 1,
    "schedules": {"s": {"steps": 2, **BASE}, "one": {"steps": 1, **BASE}},
    "runs": {
        "ours": {"network": OURS, "gate": True, "schedule": "s"},
        "unet": {"network": {"network": "unet", "width": 2}, "loss": ["bce"], "schedule": "s"},
        "classifier": {
            "kind": "classification",
            "network": {"encoder": "seresnet34"},
            "schedule": "one",
        },
        "plain": {
            "network": {**OURS, "aspp": False, "refinement": False},
            "classes": "any",
            "loss": ["bce"],
            "gate": True,
            "schedule": "one",
        },
        "started": {
            "network": OURS,
            "gate": True,
            "init": "weights",
            "weights": "given",
            "schedule": "s",
        },
    },
    "tables": {
        "T4": [{"label": "U-Net", "run": "unet"}, {"label": "Ours", "run": "ours"}],
        "T5": "ours",
        "T6": [
            {"label": "Encoder of segmentation", "run": "ours"},
            {"label": "SE-ResNet34", "run": "classifier"},
        ],
        "T7": [{"label": "U-Net (SE-ResNet34)", "run": "plain"}],
        "levers": [{"label": "as above", "run": "ours"}, {"label": "started", "run": "started"}],
    },
    "pictures": 2,
}
SEVERITIES = ("mild", "moderate", "severe")


def small_plan() -> dict[str, Any]:
    """A copy to change."""
    return copy.deepcopy(SMALL)


def write_table(folder: Path, *, severities: bool = True, lungs: bool = True) -> Path:
    """Ten patients with two outlined slices each, and ten healthy ones with one slice each.

    Lesions are two bright discs: 1 ground-glass opacity, 2 consolidation, larger with the severity.
    """
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64]
    rows, areas = [], []
    for number in range(20):
        infected, grade = number < 10, number % 3
        for k in range(2 if infected else 1):
            mask = np.zeros((64, 64), np.uint8)
            if infected:
                mask[(y - 20 - k) ** 2 + (x - 20) ** 2 < (5 + 3 * grade) ** 2] = 1
                mask[(y - 44) ** 2 + (x - 44 + k) ** 2 < (4 + 2 * grade) ** 2] = 2
            image = 60 + 60 * mask + rng.integers(0, 30, mask.shape)
            name = f"images/{number:02d}_{k}.png"
            io.imsave(folder / name, image.astype(np.uint8), check_contrast=False)
            outlined = name.replace("images", "masks") if infected else ""
            if infected:
                io.imsave(folder / outlined, mask, check_contrast=False)
            severity = SEVERITIES[grade] if infected and severities else ""
            label = "COVID-19" if infected else "healthy"
            rows.append((name, f"p{number:02d}", label, outlined, severity))
            areas.append((name, 2000))
    header = ("image", "patient", "label", "mask", "severity")
    _save(folder / "images.csv", header, rows)
    if lungs:
        _save(folder / "lung_areas.csv", ("image", "lung_pixels"), areas)
    return folder / "images.csv"


def _save(path: Path, header: tuple[str, ...], rows: list[Any]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
