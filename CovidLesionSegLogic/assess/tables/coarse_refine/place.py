"""Where a plan's runs read and write, and on what they compute."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from CovidLesionSegLogic.assess.tables.build import Starts
from CovidLesionSegLogic.assess.tables.coarse_refine.plan import Job
from CovidLesionSegLogic.assess.tables.result import WITH_IMAGES

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Place:
    """The output folder, what the user gave for starts, and the device."""

    output: Path
    starts: Starts
    device: torch.device

    def folder(self, job: Job) -> Path:
        """The run's own folder."""
        return run_folder(self.output, job)


def run_folder(output: Path, job: Job) -> Path:
    """The folder of a run on a fold."""
    return output / "runs" / job.folder


def maps_file(output: Path, job: Job) -> Path:
    """Label maps of the images of Figure 6: they show images."""
    return output / WITH_IMAGES / f"{job.folder}-labels.npz"


def images_file(output: Path, fold: int) -> Path:
    """The images of Figure 6 with their masks."""
    return output / WITH_IMAGES / f"test-images-fold{fold}.npz"
