"""What the user of ``train`` asks for, checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.models import DEFAULT_MODEL

DEFAULT_NAME = "refnet-own"
FOLDER, SPLIT = "training", "split.json"
SCALES = ("three", "one", "fixed")
SCHEDULES = ("cosine", "published")
BATCH_SIZE, PUBLISHED_BATCH_SIZE = 4, 2


@dataclass(frozen=True)
class TrainOptions:
    """What the user asks for: data (``images`` and ``masks``, or ``ct`` and ``lesion``) and run.

    Attributes
    ----------
    output
        Gets the model, NAME.json and NAME.safetensors, and the folder "training".
    start, encoder, size
        As in :func:`~CovidLesionSegLogic.learn.start.build_start`.
    schedule
        "cosine": ours; "published": the paper's, whose length follows from the data.
    steps, batch_size, learning_rate
        None: by schedule.
    scales
        "three" steps per batch as published, "one" random scale per batch, or "fixed".
    validation
        Share of the patients that validate.
    split
        A split to use instead of making one.
    patient
        Regular expression that finds the patient in a name.

    Raises
    ------
    RequestError
        The data are not named in one of the two ways, or a value is out of its range.
    """

    output: Path
    images: Path | None = None
    masks: Path | None = None
    ct: tuple[str, ...] = ()
    lesion: tuple[str, ...] = ()
    lung: tuple[str, ...] = ()
    start: str = DEFAULT_MODEL
    encoder: str | None = None
    name: str = DEFAULT_NAME
    schedule: str = "cosine"
    steps: int | None = None
    batch_size: int | None = None
    size: int = 352
    learning_rate: float | None = None
    scales: str = "one"
    validation: float = 0.2
    seed: int = 0
    device: str = "auto"
    split: Path | None = None
    patient: str | None = None
    restart: bool = False

    def __post_init__(self) -> None:
        pictures, volumes = bool(self.images and self.masks), bool(self.ct and self.lesion)
        half = bool(self.images or self.masks) != pictures
        half = half or bool(self.ct or self.lesion or self.lung) != volumes
        if half or pictures == volumes:
            raise RequestError(
                "Name the data either by --images and --masks or by --ct and --lesion (and "
                "--lung, if there are lung masks)."
            )
        for field, known in (("scales", SCALES), ("schedule", SCHEDULES)):
            if getattr(self, field) not in known:
                raise RequestError(f"--{field} is one of {', '.join(known)}.")
        # As a model card wants it, but told before the training and not after.
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            raise RequestError(
                f"'{self.name}' cannot be the name of a model: choose a --name of letters, digits, "
                "'.', '_' and '-'."
            )
        if self.seed < 0:
            raise RequestError(f"The seed must not be negative, not {self.seed}.")
        if self.schedule == "published" and (self.steps or self.learning_rate):
            raise RequestError(
                "The published schedule has its own length and learning rate: leave --steps and "
                "--learning-rate out."
            )

    @property
    def slices_per_step(self) -> int:
        """``batch_size``, or that of the schedule."""
        default = PUBLISHED_BATCH_SIZE if self.schedule == "published" else BATCH_SIZE
        return self.batch_size or default
