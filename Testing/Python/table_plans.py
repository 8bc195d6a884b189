"""A plan so small that its runs take a second each, and images for it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
from skimage import io

SMALL: dict[str, Any] = {
    "format": 1,
    "name": "small",
    "title": "A small plan",
    "paper": "nobody, nowhere",
    "notes": ["Made for tests."],
    "data": {"folder": "sirm100_train50", "test_patients": 3, "seed": 1},
    "published": {"steps": 6900, "batch_size": 2, "text": "long"},
    "schedules": {
        "s": {
            "steps": 2,
            "batch_size": 2,
            "size": 64,
            "scales": "fixed",
            "learning_rate": 0.001,
            "precision": "float32",
        }
    },
    "seeds": [0],
    "runs": {
        "narrow": {"network": {"network": "unet", "width": 2}, "schedule": "s"},
        "wide": {"network": {"network": "unet", "width": 3}, "schedule": "s"},
        "started": {
            "network": {"network": "unet", "width": 2},
            "schedule": "s",
            "init": "weights",
            "weights": "given",
        },
    },
    "tables": {
        "T1": {
            "title": "Table 1",
            "headings": ["Network", "Width"],
            "reference": 1,
            "rows": [
                {"label": ["U-Net", "2"], "run": "narrow", "paper": {"dice_mean_256": "0.5 ± 0.1"}},
                {
                    "label": ["U-Net", "3"],
                    "run": "wide",
                    "paper": {"dice_mean_256": "0.6", "mae": "0.100"},
                    "bold": ["mae"],
                },
                {"label": ["U-Net", "started"], "run": "started"},
            ],
            "footnotes": ["A footnote."],
        },
        "T2": {
            "title": "Variants",
            "headings": ["How"],
            "reference": 0,
            "rows": [
                {"label": ["plain"], "run": "narrow"},
                {"label": ["raw"], "run": "narrow", "evaluation": {"average": False}},
                {"label": ["flips"], "run": "narrow", "evaluation": {"flips": True}},
            ],
        },
    },
    "figures": {
        "figure-6": {
            "title": "Curves",
            "kind": "curves",
            "series": [{"label": "narrow", "run": "narrow"}, {"label": "wide", "run": "wide"}],
        },
        "figure-7": {
            "title": "Pictures",
            "kind": "pictures",
            "images": 2,
            "series": [{"label": "narrow", "run": "narrow"}],
        },
    },
}


def small_plan() -> dict[str, Any]:
    """A copy to change."""
    return copy.deepcopy(SMALL)


def write_plan(data: dict[str, Any], path: Path) -> Path:
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def write_images(data: Path, count: int = 7) -> Path:
    """Slices with one bright disc each, which is the lesion, in the form of the 100-slice set."""
    folder = data / "sirm100_train50"
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :56]
    for kind in ("images", "lesion"):
        (folder / kind).mkdir(parents=True)
    for number in range(count):
        lesion = (y - 12 - 3 * number) ** 2 + (x - 28) ** 2 < (4 + number) ** 2
        image = np.where(lesion, 200, 60) + rng.integers(0, 30, y.shape)
        for kind, array in (("images", image), ("lesion", 255 * lesion)):
            path = folder / kind / f"{number}.png"
            io.imsave(path, array.astype(np.uint8), check_contrast=False)
    return data
