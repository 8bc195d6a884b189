"""Results of runs gathered into the rows of a table: means, intervals, differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.assess import intervals
from CovidLesionSegLogic.assess.intervals import Interval
from CovidLesionSegLogic.assess.tables.metrics import METRICS
from CovidLesionSegLogic.assess.tables.plan import Evaluation, Job, Plan, Row
from CovidLesionSegLogic.assess.tables.result import RESULT, changes, read_arrays, read_json


@dataclass(frozen=True, eq=False)
class Judged:
    """A run as one kind of evaluation judges it, over all its seeds that are finished.

    Attributes
    ----------
    results
        The result files, one per seed.
    images
        Names of the test images.
    values
        Metric to one value per image, the mean over the seeds; None where it is not defined.
    curves
        Name to (images, 256), the mean over the seeds.
    by_seed
        Mean Dice over the images, one per seed.
    """

    results: list[dict[str, Any]]
    images: list[str]
    values: dict[str, list[float | None]]
    curves: dict[str, NDArray[np.float64]]
    by_seed: list[float]

    def interval(self, metric: str) -> Interval:
        """Mean over the images with its bootstrap interval."""
        if metric == "dice_max":
            return intervals.max_of_mean_interval(self.curves["dice"])[0]
        return intervals.mean_interval(self.values[metric])

    def difference(self, other: Judged, metric: str) -> Interval | None:
        """This minus ``other``, image by image; None where the images are not the same."""
        if self.images != other.images or metric not in self.values:
            return None
        pairs = zip(self.values[metric], other.values[metric], strict=True)
        return intervals.mean_interval(
            [None if a is None or b is None else a - b for a, b in pairs]
        )


@dataclass(frozen=True, eq=False)
class Results:
    """What was found of a plan's runs in an output folder.

    ``found`` maps (run, evaluation key) to what was judged; ``left_out`` says, run by run, why a
    result that is there was not used.
    """

    plan: Plan
    found: dict[tuple[str, str], Judged]
    left_out: list[str]

    def of(self, row: Row) -> Judged | None:
        """The row's figures; None when it was not run."""
        return self.found.get((row.run, row.evaluation.key))

    @property
    def all_results(self) -> list[dict[str, Any]]:
        """Each result file that is used, once."""
        return list({id(r): r for judged in self.found.values() for r in judged.results}.values())


def gather(plan: Plan, output: Path) -> Results:
    """Read all results of ``plan`` in ``output``.

    Results with another number of steps than the plan's are taken: the report tells it. Other
    differences leave a result out.

    Raises
    ------
    InputError
        A file is damaged.
    """
    found: dict[tuple[str, str], Judged] = {}
    left_out: list[str] = []
    for run in plan.runs.values():
        finished: list[tuple[Job, dict[str, Any]]] = []
        for job in (Job(plan, run, seed) for seed in plan.seeds):
            result = read_json(output / "runs" / job.folder / RESULT)
            if result is None:
                continue
            changed = changes(result, job, {}, steps=False)
            if changed:
                left_out.append(f"{job.folder}: {', '.join(changed)} changed since it was run")
                continue
            finished.append((job, result))
        steps = {r["entry"]["schedule"]["steps"] for _, r in finished}
        if len(steps) > 1:
            left_out.append(f"{run.name}: its seeds have different numbers of steps")
            continue
        keys = {k for _, result in finished for k in result["evaluations"]}
        for key in sorted(keys):
            those = [(j, r) for j, r in finished if key in r["evaluations"]]
            found[run.name, key] = _judge(those, key, output)
    return Results(plan, found, left_out)


def _judge(finished: Sequence[tuple[Job, dict[str, Any]]], key: str, output: Path) -> Judged:
    rows = [result["evaluations"][key]["images"] for _, result in finished]
    names = [row["image"] for row in rows[0]]
    metrics = [m for m in METRICS if m in rows[0][0]]
    values = {m: [_mean([seed[i][m] for seed in rows]) for i in range(len(names))] for m in metrics}
    arrays = [
        read_arrays(output / "runs" / job.folder / f"scores-{key}.npz") for job, _ in finished
    ]
    curves = {name: np.mean([a[name] for a in arrays], axis=0) for name in arrays[0]}
    by_seed = [float(np.mean([row["dice_mean_256"] for row in seed])) for seed in rows]
    return Judged([r for _, r in finished], names, values, curves, by_seed)


def _mean(values: Sequence[float | None]) -> float | None:
    there = [v for v in values if v is not None]
    return float(np.mean(there)) if there else None


def printed_number(text: str) -> float:
    """The number in front of a printed "0.755 ± 0.005"."""
    return float(text.split("±")[0])


def counted(number: int, what: str) -> str:
    """ "1 step", "1,200 steps"."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def schedule_text(schedule: Mapping[str, Any]) -> str:
    """A schedule as it was used, in words."""
    sizes = {"three": "three scales of", "one": "one random scale of", "fixed": "fixed size of"}
    return (
        f"{counted(schedule['steps'], 'optimiser step')} of {schedule['batch_size']} slices, "
        f"{sizes[schedule['scales']]} {schedule['size']} pixels, "
        f"{schedule['optimiser']} at {schedule['learning_rate']:g} ({schedule['decay']} decay), "
        f"{schedule['precision']}, {schedule['choose']} weights"
    )


PLAIN = Evaluation().key
