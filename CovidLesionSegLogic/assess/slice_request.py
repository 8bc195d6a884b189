"""What an evaluation of slices was asked for, checked, and the head of its result file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CovidLesionSegLogic.engine import Cancel, Progress, describe_device
from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.models import ModelCard
from CovidLesionSegLogic.pipeline import provenance

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class SliceRequest:
    """Model, device, folders of pictures and folders for results, as in ``evaluate_slices``.

    RequestError when a folder for results is one of pictures.
    """

    card: ModelCard
    device: torch.device
    images: Path
    masks: Path
    maps: Path | None
    curves: Path | None
    progress: Progress
    cancel: Cancel

    def __post_init__(self) -> None:
        inputs = [path.resolve() for path in (self.images, self.masks)]
        for folder in (self.maps, self.curves):
            if folder is not None and folder.resolve() in inputs:
                raise RequestError(
                    f"Writing into {folder} would mix results with the inputs there: choose "
                    "another folder."
                )

    def checked(self, done: int, total: int) -> None:
        """Tell progress of the check; CancelledError when stopping was asked for."""
        self.cancel.check()
        self.progress("check", done, total)

    def head(self, **inputs: Any) -> dict[str, Any]:
        """The first keys of the result file; JSON-ready."""
        return {
            "kind": "slices",
            "software": provenance.software_record(),
            "model": provenance.model_record(self.card),
            "device": describe_device(self.device),
            "created": provenance.now(),
            "inputs": {"images": str(self.images), "masks": str(self.masks), **inputs},
        }
