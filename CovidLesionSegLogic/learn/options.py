"""What the user of ``train`` asks for, checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.models import DEFAULT_MODEL, LESION_TYPES_MODEL, list_models

from .class_names import INFECTION, NamedClass, parse_classes
from .class_values import ClassValues

REFNET, COARSE_REFINE = "refnet", "coarse-refine"
NETWORKS = (REFNET, COARSE_REFINE)
FOLDER, SPLIT = "training", "split.json"
SCALES = ("three", "one", "fixed")
SCHEDULES = ("cosine", "published")
BATCH_SIZE, PUBLISHED_BATCH_SIZE = 4, {REFNET: 2, COARSE_REFINE: 8}


@dataclass(frozen=True)
class TrainOptions:
    """What the user asks for: data (``images`` and ``masks``, or ``ct`` and ``lesion``) and run.

    Attributes
    ----------
    output
        Gets the model, NAME.json and NAME.safetensors, and the folder "training".
    network
        "refnet", one class; or "coarse-refine", any number of them.
    classes
        Of "coarse-refine": names in the order of the mask values 1 to n, or "NAME=VALUE" each;
        None: one, "infection". Where one is named without its value, lesion is where a mask is
        over 0, as with Ref-Net; otherwise masks hold exactly the classes' values, 0 and 255
        (lesion of unnamed class).
    gate
        Train the slice classifier of "coarse-refine" too, when the rest has been trained.
    start
        As in :func:`~CovidLesionSegLogic.learn.start.build_start`; None: the released model of the
        network, or "none" where it is not installed.
    encoder, size
        As there.
    name
        Of the model; None: "refnet-own" or "coarse-refine-own".
    schedule
        "cosine": ours; "published": the paper's, whose length follows from the data.
    steps, batch_size, learning_rate
        None: by network and schedule.
    scales
        "three" steps per batch as published for Ref-Net, "one" random scale per batch, or "fixed".
        None: "one", with the coarse-refine network's published schedule "fixed".
    validation
        Share of the patients that validate.
    split
        A split to use instead of making one.
    patient
        Regular expression that finds the patient in a name.

    Raises
    ------
    RequestError
        The data are not named in one of the two ways, a value is out of its range, or the network
        does not have what is asked for.
    """

    output: Path
    images: Path | None = None
    masks: Path | None = None
    ct: tuple[str, ...] = ()
    lesion: tuple[str, ...] = ()
    lung: tuple[str, ...] = ()
    network: str = REFNET
    classes: tuple[str, ...] | None = None
    gate: bool = False
    start: str | None = None
    encoder: str | None = None
    name: str | None = None
    schedule: str = "cosine"
    steps: int | None = None
    batch_size: int | None = None
    size: int = 352
    learning_rate: float | None = None
    scales: str | None = None
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
        for field, known in (("network", NETWORKS), ("scales", SCALES), ("schedule", SCHEDULES)):
            if getattr(self, field) not in (*known, *((None,) if field == "scales" else ())):
                raise RequestError(f"--{field} is one of {', '.join(known)}.")
        self._check_network()
        # As a model card wants it, but told before the training and not after.
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.model_name):
            raise RequestError(
                f"'{self.model_name}' cannot be the name of a model: choose a --name of letters, "
                "digits, '.', '_' and '-'."
            )
        if self.seed < 0:
            raise RequestError(f"The seed must not be negative, not {self.seed}.")
        if self.schedule == "published" and (self.steps or self.learning_rate):
            raise RequestError(
                "The published schedule has its own length and learning rate: leave --steps and "
                "--learning-rate out."
            )

    def _check_network(self) -> None:
        if self.network == REFNET:
            asked = "--classes" if self.classes is not None else "--gate" if self.gate else None
            if asked:
                raise RequestError(
                    f"{asked} is for the coarse-refine network, Ref-Net has one class and no gate: "
                    "add --network coarse-refine."
                )
            return
        _ = self.named_classes  # checks them
        if self.scales == "three":
            raise RequestError(
                "--scales three is Ref-Net's published way: choose one or fixed for the "
                "coarse-refine network."
            )
        if self.schedule == "published" and self.scales == "one":
            raise RequestError(
                "The coarse-refine network's published schedule has one size: leave --scales out."
            )

    @property
    def named_classes(self) -> tuple[NamedClass, ...]:
        """The classes, in the order of the network's channels."""
        return parse_classes((INFECTION,) if self.classes is None else self.classes)

    @property
    def class_values(self) -> ClassValues | None:
        """What the values of masks mean; None: everything over 0 is lesion."""
        exact = self.classes is not None and (len(self.classes) > 1 or "=" in self.classes[0])
        return ClassValues(self.named_classes) if exact else None

    @property
    def model_name(self) -> str:
        """``name``, or that of the network."""
        return f"{self.network}-own" if self.name is None else self.name

    @property
    def started_from(self) -> str:
        """``start``, or what is there for the network."""
        if self.start is not None:
            return self.start
        if self.network == REFNET:
            return DEFAULT_MODEL
        there = any(card.name == LESION_TYPES_MODEL for card in list_models("lesion"))
        return LESION_TYPES_MODEL if there else "none"

    @property
    def scale_rule(self) -> str:
        """``scales``, or that of network and schedule."""
        if self.scales is not None:
            return self.scales
        return "fixed" if self.network == COARSE_REFINE and self.schedule == "published" else "one"

    @property
    def slices_per_step(self) -> int:
        """``batch_size``, or that of network and schedule."""
        published = self.schedule == "published"
        return self.batch_size or (PUBLISHED_BATCH_SIZE[self.network] if published else BATCH_SIZE)
