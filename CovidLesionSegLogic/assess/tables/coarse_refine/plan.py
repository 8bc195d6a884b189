"""What a coarse-refine plan is: schedules, runs and which row of which table each stands in."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from CovidLesionSegLogic.assess.tables.shared_schedule import SharedSchedule

CLASSES = ("each", "any")
"""each: a channel per lesion class; any: one channel for the union of the lesions (Table 7)."""

BATCHES = ("fivefold", "mixture")
"""fivefold: every epoch shows the paper's five variants of every image, nothing else; mixture:
patient and image are drawn, with random geometry and grey (of a classifier half are infected)."""

DECAYS = ("constant", "cosine")
INITS = ("random", "imagenet", "weights")
KINDS = ("segmentation", "classification")
ROW_TABLES = ("T4", "T6", "T7", "levers")


@dataclass(frozen=True, kw_only=True)
class RunSchedule(SharedSchedule):
    """How long, how fast and at which size a run trains; a classifier's weights are always "best".

    Attributes
    ----------
    steps, epochs
        One of them; an epoch shows the five variants of every training image.
    batches
        See :data:`BATCHES`.
    lesion_share
        Share of images with lesion in the batches of a segmentation by mixture; they are drawn by
        their rarest class, each class as often as the others.
    patience
        Validations without a lower loss after which the training ends; 0: it does not end early.
        With ``epochs`` it is validated after each epoch, with ``steps`` ten times in all.
    """

    steps: int | None
    epochs: int | None
    batches: str
    lesion_share: float
    patience: int


@dataclass(frozen=True)
class Run:
    """One training, done for each fold.

    Attributes
    ----------
    kind
        One of :data:`KINDS`.
    network
        Of a segmentation what ``build_network`` or ``build_peer`` takes, without ``n_classes``; of
        a classification the options of ``SliceClassifier``.
    classes
        See :data:`CLASSES`.
    loss
        Parts of the hybrid loss.
    bce_share
        Share of the steps, from the first on, in which the loss is binary cross-entropy alone.
        SSIM falls steeply where a map that should be empty leaves zero, which holds a class that
        covers few pixels there when a training starts at random.
    gate
        Whether a gate is trained on the frozen encoder afterwards.
    init, weights
        Start of the encoder, as in Ref-Net's plans.
    """

    name: str
    kind: str
    network: dict[str, Any]
    classes: str
    loss: tuple[str, ...]
    gate: bool
    init: str
    weights: str | None
    schedule: str
    bce_share: float = 0.0

    @property
    def slices(self) -> None:
        """No further slices: the user's table is all."""

    def channels(self, classes: int) -> int:
        """Channels of its network where the data have ``classes`` classes."""
        return classes if self.classes == "each" else 1

    def built_for(self, classes: int) -> Run:
        """This run with ``n_classes`` in its network."""
        return replace(self, network=self.network | {"n_classes": self.channels(classes)})


@dataclass(frozen=True)
class Row:
    """A row of a table: its label, and the run behind it."""

    label: str
    run: str


@dataclass(frozen=True)
class Plan:
    """Everything that a report is made from, besides data and results.

    Attributes
    ----------
    classes
        Names of the lesion classes, in the order of the masks' values from 1 on.
    folds
        Those that are run, 1 to 5.
    per_patient
        At most so many images of a patient (evenly spread) train and test gate and classifier, and
        test for false marks; 0: all. Images with lesion are never thinned for the segmentation.
    gate_views
        Views of each image that the gate learns from.
    tables
        Rows of T4, T6, T7 and levers (further rows, not the paper's).
    severity_run
        The run behind Figure 4 and Table 5.
    pictures
        Number of images of Figure 6; its columns are the runs of Table 4.
    """

    name: str
    title: str
    notes: tuple[str, ...]
    classes: tuple[str, ...]
    folds: tuple[int, ...]
    seed: int
    per_patient: int
    gate_views: int
    schedules: dict[str, RunSchedule]
    runs: dict[str, Run]
    tables: dict[str, tuple[Row, ...]]
    severity_run: str
    pictures: int

    def changed(
        self,
        *,
        steps: int | None = None,
        size: int | None = None,
        folds: tuple[int, ...] | None = None,
        classes: tuple[str, ...] | None = None,
    ) -> Plan:
        """This plan with another length, size, folds or classes; None: as it is."""
        schedules = self.schedules
        if steps is not None:
            schedules = {k: replace(s, steps=steps, epochs=None) for k, s in schedules.items()}
        if size is not None:
            schedules = {k: replace(s, size=size) for k, s in schedules.items()}
        return replace(
            self,
            schedules=schedules,
            folds=self.folds if folds is None else folds,
            classes=self.classes if classes is None else classes,
        )

    def jobs(self) -> list[Job]:
        """One job per run and fold; a fold is finished for all runs before the next begins."""
        return [Job(self, run, fold) for fold in self.folds for run in self.runs.values()]

    def of_tables(self, names: list[str]) -> set[str]:
        """Runs behind some of the tables."""
        found = {row.run for name in names for row in self.tables.get(name, ())}
        return found | ({self.severity_run} if "T5" in names else set())

    def is_extra(self, run: str) -> bool:
        """Whether no table of the paper needs the run."""
        return run not in self.of_tables(["T4", "T5", "T6", "T7"])


@dataclass(frozen=True)
class Job:
    """A run on a fold: what one result file holds."""

    plan: Plan
    run: Run
    fold: int

    @property
    def folder(self) -> str:
        """Name of its folder among the runs."""
        return f"{self.run.name}-fold{self.fold}"

    @property
    def schedule(self) -> RunSchedule:
        """The schedule that the run names."""
        return self.plan.schedules[self.run.schedule]

    @property
    def channels(self) -> int:
        """Channels of a segmentation."""
        return self.run.channels(len(self.plan.classes))

    def entry(self) -> dict[str, Any]:
        """All of the plan that decides what this training learns, JSON-ready."""
        run = asdict(self.run)
        del run["name"], run["schedule"]
        if not self.run.bce_share:
            del run["bce_share"]  # results of before it was thought of stay valid
        return {
            **run,
            "schedule": asdict(self.schedule),
            "names": list(self.plan.classes),
            "per_patient": self.plan.per_patient,
            "gate_views": self.plan.gate_views,
            "seed": self.plan.seed,
            "fold": self.fold,
        }
