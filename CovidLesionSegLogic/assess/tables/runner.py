"""All runs of a plan, one after the other, whoever else is at work on the same folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from CovidLesionSegLogic.assess.tables.claim import claim
from CovidLesionSegLogic.assess.tables.images import load_images
from CovidLesionSegLogic.assess.tables.plan import Job, Plan
from CovidLesionSegLogic.assess.tables.result import (
    ENTRY,
    RESULT,
    WITH_IMAGES,
    changes,
    lacking,
    read_json,
    write_arrays,
)
from CovidLesionSegLogic.assess.tables.training import Place, clear, perform
from CovidLesionSegLogic.engine import Cancel, Progress, no_progress
from CovidLesionSegLogic.errors import CovidLesionSegError, RequestError

TEST_IMAGES = "test-images.npz"


@dataclass(frozen=True)
class Outcome:
    """What became of a run: "done", "finished before", "in another process" or "not run: why"."""

    job: Job
    state: str


def choose_jobs(
    plan: Plan, only: Collection[str] | None, tables: Collection[str] | None
) -> list[Job]:
    """The jobs of the named runs and tables; all of the plan's where neither is given.

    Raises
    ------
    RequestError
        A name is not in the plan.
    """
    for names, known, what in ((only, plan.runs, "run"), (tables, plan.tables, "table")):
        for name in names or ():
            if name not in known:
                raise RequestError(
                    f"The plan '{plan.name}' has no {what} '{name}'; it has {', '.join(known)}."
                )
    wanted = set(only or plan.runs)
    if tables:
        wanted &= {row.run for name in tables for row in plan.tables[name].rows}
    return [job for job in plan.jobs() if job.run.name in wanted]


def run_jobs(
    jobs: list[Job],
    place: Place,
    *,
    restart: bool = False,
    progress: Progress = no_progress,
    cancel: Cancel | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Outcome]:
    """Do what is not done yet; processes that share ``place.output`` each take the next free run.

    Parameters
    ----------
    restart
        Train again those runs whose entry in the plan, or whose files, changed since.
    progress
        Stages "NAME: train" (steps) and "NAME: evaluate" (images).
    tell
        One line for each run that begins or cannot be run.

    Raises
    ------
    RequestError
        A run was started or finished under another entry and ``restart`` is not given; nothing
        has been trained then.
    CancelledError
        Stopping was asked for; what is done stays, and the next call goes on.
    """
    cancel = cancel or Cancel()
    if not jobs:
        raise RequestError("No run is both among those of --only and those of --tables.")
    changed = {job.folder: found for job in jobs if (found := _changed(job, place))}
    if changed and not restart:
        name, found = next(iter(changed.items()))
        more = f", nor do {len(changed) - 1} others" if len(changed) > 1 else ""
        raise RequestError(
            f"The run '{name}' in {place.output} does not belong to this plan any more: "
            f"{', '.join(found[:4])} changed{more}. Give another output folder, or --restart to "
            "train it again."
        )
    images = load_images(place.data, jobs[0].plan.data)
    _keep_test_images(place, images.test)
    outcomes = []
    for number, job in enumerate(jobs, 1):
        cancel.check()
        missing = place.starts.missing(job.run)
        if missing and read_json(place.folder(job) / RESULT) is None:
            outcomes.append(Outcome(job, f"not run: {missing}"))
            tell(f"{number} of {len(jobs)}: {job.folder} is not run, it {missing}")
            continue
        with claim(place.folder(job)) as mine:
            if not mine:
                outcomes.append(Outcome(job, "in another process"))
                tell(f"{number} of {len(jobs)}: {job.folder} is being run by another process")
                continue
            if restart and _changed(job, place):
                clear(place, job)
            if not _open(job, place):
                outcomes.append(Outcome(job, "finished before"))
                continue
            tell(f"{number} of {len(jobs)}: {job.folder}")

            def told(stage: str, done: int, total: int, name: str = job.folder) -> None:
                progress(f"{name}: {stage}", done, total)

            try:
                perform(job, images, place, progress=told, cancel=cancel)
            except CovidLesionSegError as error:
                if type(error).exit_code == 130:
                    raise
                # One run that cannot be done must not keep the others from being done.
                outcomes.append(Outcome(job, f"not run: {error}"))
                tell(f"{job.folder} failed: {error}")
                continue
            outcomes.append(Outcome(job, "done"))
    return outcomes


def _open(job: Job, place: Place) -> bool:
    result = read_json(place.folder(job) / RESULT)
    return result is None or bool(lacking(result, job.evaluations))


def _changed(job: Job, place: Place) -> list[str]:
    folder = place.folder(job)
    result = read_json(folder / RESULT)
    found = changes(result or read_json(folder / ENTRY), job, _files(job, place))
    kept: Collection[str] = (result or {}).get("weights", ("averaged", "raw"))
    if "raw" not in kept and any(not e.average for e in lacking(result, job.evaluations)):
        found.append("the weights to evaluate (those of the last step were not kept)")
    return found


def _files(job: Job, place: Place) -> dict[str, str]:
    return place.starts.files(job.run)


def _keep_test_images(place: Place, test: list[Any]) -> None:
    """Pictures are drawn later, perhaps where the data are not: keep what they need."""
    folder = place.output / WITH_IMAGES
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {f"image:{s.name}": s.image for s in test}
    arrays |= {f"mask:{s.name}": s.mask for s in test}
    write_arrays(folder / TEST_IMAGES, arrays)
    note = folder / "README.txt"
    note.write_text(
        f"Everything in this folder shows images of patients: do not publish it.{os.linesep}",
        encoding="utf-8",
    )
