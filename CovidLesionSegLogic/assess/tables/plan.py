"""What a plan is: data, schedules, runs, tables and figures, as validated values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from CovidLesionSegLogic.assess.tables.shared_schedule import SharedSchedule

SCALES = ("three", "one", "fixed")
"""three: an optimiser step per batch at each of 0.75, 1 and 1.25 times the size, as published;
one: one of these at random per batch; fixed: the size itself."""

INITS = ("random", "imagenet", "weights")
SOURCES = ("sirm100", "zenodo20", "medseg", "medseg_free", "covid_ct_md_free")
"""Training sources with masks of their own; a file of further slices brings others."""


@dataclass(frozen=True)
class DataSpec:
    """Which images are trained on and which are tested.

    Attributes
    ----------
    folder
        Of the data set, inside the data folder: ``images/N.png`` and ``lesion/N.png``.
    test_folder
        A second folder of that form whose images are the test; None: some of ``folder``'s
        patients are.
    test_patients
        So many of ``folder``'s patients are the test images where there is no ``test_folder``.
    validation_patients
        So many more are set aside to choose the weights by.
    seed
        Of the draw of patients; the same for every run of the plan.
    """

    folder: str
    test_folder: str | None
    test_patients: int
    validation_patients: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class RunSchedule(SharedSchedule):
    """How long, how fast and at which sizes a run trains; decay "steps" as published, or "cosine".

    Attributes
    ----------
    scales
        See :data:`SCALES`.
    sampling
        "mixture": slices are drawn by source and patient; "epochs": each once per epoch.
    """

    steps: int
    scales: str
    sampling: str
    validate_every: int


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes
    ----------
    network
        What ``build_network`` or ``build_peer`` takes: {"network": NAME, ...options}.
    init, weights
        Start of the encoder: "random", "imagenet" (a ResNet-50), or "weights": the file that the
        user gives under the name ``weights``.
    data
        Share of each training source in a batch.
    slices
        Name under which the user gives a file of further (pseudo-labelled) slices, or None.
    """

    name: str
    network: dict[str, Any]
    init: str
    weights: str | None
    data: dict[str, float]
    slices: str | None
    augmentation: bool
    schedule: str


@dataclass(frozen=True)
class Evaluation:
    """How a trained network is judged.

    Attributes
    ----------
    average
        By the exponential moving average of the weights, not the weights of the last step.
    flips
        Logits averaged over the image and its mirror image.
    """

    average: bool = True
    flips: bool = False

    @property
    def key(self) -> str:
        """Name in result files: "averaged", "raw", "averaged-flips", "raw-flips"."""
        return ("averaged" if self.average else "raw") + ("-flips" if self.flips else "")


@dataclass(frozen=True)
class Row:
    """A table's row: the labels, the run behind it, and what the paper prints, as printed."""

    label: tuple[str, ...]
    run: str
    evaluation: Evaluation
    paper: dict[str, str]
    bold: tuple[str, ...]

    @property
    def name(self) -> str:
        """The labels as one text: "Ref-Net (ResNet)"."""
        first, *others = self.label
        return f"{first} ({', '.join(others)})" if others else first


@dataclass(frozen=True)
class Table:
    """One table of the paper, or one of our own where rows have no printed numbers.

    ``reference`` is the index of the row that the others are compared with, image by image.
    """

    id: str
    title: str
    headings: tuple[str, ...]
    columns: tuple[str, ...]
    reference: int | None
    rows: tuple[Row, ...]
    footnotes: tuple[str, ...]


@dataclass(frozen=True)
class Figure:
    """A picture of several runs: ``kind`` "curves" or "pictures" (which shows images)."""

    id: str
    title: str
    kind: str
    series: tuple[tuple[str, str], ...]
    images: int


@dataclass(frozen=True)
class Plan:
    """Everything that a report is made from, besides the results."""

    name: str
    title: str
    paper: str
    notes: tuple[str, ...]
    data: DataSpec
    published: dict[str, Any]
    schedules: dict[str, RunSchedule]
    seeds: tuple[int, ...]
    runs: dict[str, Run]
    tables: dict[str, Table]
    figures: dict[str, Figure]

    def with_steps(self, steps: int | None) -> Plan:
        """This plan with every schedule ``steps`` long; None: as it is."""
        if steps is None:
            return self
        changed = {k: replace(s, steps=steps) for k, s in self.schedules.items()}
        return replace(self, schedules=changed)

    def jobs(self) -> list[Job]:
        """One job per run and seed; a seed is finished for all runs before the next begins."""
        return [Job(self, run, seed) for seed in self.seeds for run in self.runs.values()]


@dataclass(frozen=True)
class Job:
    """A run with a seed: what one result file holds."""

    plan: Plan
    run: Run
    seed: int

    @property
    def folder(self) -> str:
        """Name of its folder among the runs: the run's name, with the seed unless it is 0."""
        return self.run.name if self.seed == 0 else f"{self.run.name}-seed{self.seed}"

    @property
    def schedule(self) -> RunSchedule:
        """The schedule the run names."""
        return self.plan.schedules[self.run.schedule]

    @property
    def evaluations(self) -> list[Evaluation]:
        """Every way in which the tables want this run judged; the plain one always."""
        found = [Evaluation()]
        for table in self.plan.tables.values():
            for row in table.rows:
                if row.run == self.run.name and row.evaluation not in found:
                    found.append(row.evaluation)
        return found

    def entry(self) -> dict[str, Any]:
        """All of the plan that decides what this training learns, JSON-ready."""
        run = asdict(self.run)
        del run["name"], run["schedule"]
        return {
            **run,
            "schedule": asdict(self.schedule),
            "split": asdict(self.plan.data),
            "seed": self.seed,
        }
