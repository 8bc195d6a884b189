"""Results of a plan's runs over the folds, from which every table is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from CovidLesionSegLogic.assess.classification import Classification, ClassificationFigures
from CovidLesionSegLogic.assess.intervals import Interval
from CovidLesionSegLogic.assess.overlap import Overlap, OverlapFigures, PixelCounts
from CovidLesionSegLogic.assess.ratios import patient_indices, ratio_interval, sums_by_patient
from CovidLesionSegLogic.assess.tables.coarse_refine.data import CENSUS_FILE
from CovidLesionSegLogic.assess.tables.coarse_refine.place import run_folder
from CovidLesionSegLogic.assess.tables.coarse_refine.plan import Job, Plan, Run
from CovidLesionSegLogic.assess.tables.result import RESULT, changes, read_json

ANY = -1
"""Place of "any lesion" among a row's counts."""


@dataclass(frozen=True, eq=False)
class Judged:
    """A run over all its folds that are finished; each image is tested on once.

    Attributes
    ----------
    results
        The result files, one per fold.
    images, slices
        Rows of all folds, as ``scoring`` makes them; empty where the run has none.
    """

    run: Run
    results: list[dict[str, Any]]
    images: list[dict[str, Any]]
    slices: list[dict[str, Any]]

    @property
    def folds(self) -> list[int]:
        """Folds that are finished."""
        return [result["fold"] for result in self.results]

    def overlap(self, channel: int) -> OverlapFigures:
        """Of one class, over the images with lesion whose classes are all known; or of any."""
        measure = Overlap()
        for row in self.images:
            if row["counts"][ANY][2] and (channel == ANY or row["known"]):
                hits, marked, truth = row["counts"][channel]
                # The smallest masks with these counts.
                places = np.arange(marked + truth - hits)
                measure.update(places < marked, places >= marked - hits, patient=row["patient"])
        return measure.compute()

    def gain(self, other: Judged) -> Interval | None:
        """Mean Dice of any lesion less that of ``other``, image by image; None: other images."""
        mine, theirs = _dice(self.images), _dice(other.images)
        if mine.keys() != theirs.keys() or not mine:
            return None
        names, index = patient_indices([patient for patient, _ in mine])
        values = np.array([mine[key] - theirs[key] for key in mine])
        sums = sums_by_patient(values, index, len(names))
        return ratio_interval(sums, sums_by_patient(np.ones(len(values)), index, len(names)))

    def classification(self) -> ClassificationFigures | None:
        """Of gate or classifier by the paper's rule; None where the run has neither."""
        if not self.slices:
            return None
        measure = Classification()
        for row in self.slices:
            measure.update(row["probability"], row["infected"], patient=row["patient"])
        return measure.compute()

    def false_marks(self) -> tuple[int, int, float]:
        """Images without lesion, how many of them got a mark, mean share of marked pixels."""
        shares = [
            row["counts"][ANY][1] / row["pixels"]
            for row in self.images
            if not row["counts"][ANY][2]
        ]
        return len(shares), sum(s > 0 for s in shares), float(np.mean(shares)) if shares else 0.0


def _dice(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    found = {}
    for row in rows:
        counts = PixelCounts(*row["counts"][ANY])
        if counts.truth and counts.dice is not None:
            found[row["patient"], row["image"]] = counts.dice
    return found


@dataclass(frozen=True, eq=False)
class Results:
    """What was found in an output folder.

    ``census`` is None where no data have been read yet; ``left_out`` says, run by run, why a
    result that is there was not used.
    """

    plan: Plan
    census: dict[str, Any] | None
    found: dict[str, Judged]
    left_out: list[str]

    @property
    def files(self) -> list[dict[str, Any]]:
        """Every result file that is used."""
        return [result for judged in self.found.values() for result in judged.results]


def gather(plan: Plan, output: Path) -> Results:
    """Read all results of ``plan`` in ``output``.

    The classes are those of the data. Results of another length or size than the plan's are
    taken, for the report tells it; other differences leave a result out, and so do folds of a run
    that differ among themselves.

    Raises
    ------
    InputError
        A file is damaged.
    """
    census = read_json(output / CENSUS_FILE)
    if census is not None:
        plan = plan.changed(classes=tuple(census["classes"]))
    found: dict[str, Judged] = {}
    left_out: list[str] = []
    for run in plan.runs.values():
        results = []
        for job in (Job(plan, run, fold) for fold in range(1, 6)):
            result = read_json(run_folder(output, job) / RESULT)
            if result is None:
                continue
            changed = [name for name in changes(result, job, {}) if name not in TOLD]
            if changed:
                left_out.append(f"{job.folder}: {', '.join(changed)} changed since it was run")
                continue
            results.append(result)
        if len({_length(result) for result in results}) > 1:
            left_out.append(f"{run.name}: its folds were trained differently")
        elif results:
            images = [row for result in results for row in result.get("images", ())]
            slices = [row for result in results for row in result.get("slices", ())]
            found[run.name] = Judged(run, results, images, slices)
    return Results(plan, census, found, left_out)


TOLD = ("schedule.steps", "schedule.epochs", "schedule.size")
"""Of the plan what a report tells as it was, and --steps and --size change."""


def _length(result: Mapping[str, Any]) -> tuple[Any, ...]:
    schedule = result["entry"]["schedule"]
    return tuple(schedule[name.partition(".")[2]] for name in TOLD)
