"""All runs of a Ref-Net plan, one after the other."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from CovidLesionSegLogic.assess.tables.fit import clear_run
from CovidLesionSegLogic.assess.tables.images import Images, load_images
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
from CovidLesionSegLogic.assess.tables.training import Place, perform
from CovidLesionSegLogic.assess.tables.work import Outcome, check_names, do_all, refuse_changed
from CovidLesionSegLogic.engine import Cancel, Progress, no_progress
from CovidLesionSegLogic.errors import RequestError

TEST_IMAGES = "test-images.npz"


def choose_jobs(
    plan: Plan, only: Collection[str] | None, tables: Collection[str] | None
) -> list[Job]:
    """The jobs of the named runs and tables; all of the plan's where neither is given.

    Raises
    ------
    RequestError
        A name is not in the plan.
    """
    check_names(plan.name, "run", only, plan.runs)
    check_names(plan.name, "table", tables, plan.tables)
    wanted = set(only or plan.runs)
    if tables:
        wanted &= {row.run for name in tables for row in plan.tables[name].rows}
    return [job for job in plan.jobs() if job.run.name in wanted]


@dataclass(frozen=True)
class JobTask:
    """A job as a task; ``load`` gives the plan's images."""

    job: Job
    place: Place
    load: Callable[[], Images]
    optional = False

    @property
    def name(self) -> str:
        """Name of its folder among the runs."""
        return self.job.folder

    @property
    def folder(self) -> Path:
        """Its own folder."""
        return self.place.folder(self.job)

    def missing(self) -> str:
        """Nothing is missing where it is trained already."""
        trained = read_json(self.folder / RESULT) is not None
        return "" if trained else self.place.starts.missing(self.job.run)

    def changed(self) -> list[str]:
        """Of the plan, of the given files, or that kept weights lack for a new evaluation."""
        job, result = self.job, read_json(self.folder / RESULT)
        found = changes(
            result or read_json(self.folder / ENTRY), job, self.place.starts.files(job.run)
        )
        kept: Collection[str] = (result or {}).get("weights", ("averaged", "raw"))
        if "raw" not in kept and any(not e.average for e in lacking(result, job.evaluations)):
            found.append("the weights to evaluate (those of the last step were not kept)")
        return found

    def finished(self) -> bool:
        """Trained and evaluated in every way that the tables want."""
        result = read_json(self.folder / RESULT)
        return result is not None and not lacking(result, self.job.evaluations)

    def clear(self) -> None:
        """Take an earlier run away."""
        clear_run(self.folder)

    def perform(self, progress: Progress, cancel: Cancel) -> None:
        """Stages "train" (steps) and "evaluate" (images)."""
        perform(self.job, self.load(), self.place, progress=progress, cancel=cancel)


def run_jobs(
    jobs: list[Job],
    place: Place,
    *,
    restart: bool = False,
    progress: Progress = no_progress,
    cancel: Cancel | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Outcome]:
    """Do what is not done yet, as :func:`~CovidLesionSegLogic.assess.tables.work.do_all` says.

    Raises
    ------
    RequestError
        A run was started or finished under another entry and ``restart`` is not given; nothing
        has been trained then.
    CancelledError
        Stopping was asked for; what is done stays, and the next call goes on.
    """
    if not jobs:
        raise RequestError("No run is both among those of --only and those of --tables.")
    load = functools.cache(lambda: load_images(place.data, jobs[0].plan.data))
    tasks = [JobTask(job, place, load) for job in jobs]
    if not restart:
        refuse_changed(tasks, place.output)
    keep_test_images(
        place.output,
        {f"image:{s.name}": s.image for s in load().test}
        | {f"mask:{s.name}": s.mask for s in load().test},
    )
    return do_all(tasks, restart=restart, progress=progress, cancel=cancel or Cancel(), tell=tell)


def keep_test_images(output: Path, arrays: dict[str, Any]) -> None:
    """Pictures are drawn later, perhaps where the data are not: keep what they need."""
    warn_of_images(output)
    write_arrays(output / WITH_IMAGES / TEST_IMAGES, arrays)


def warn_of_images(output: Path) -> None:
    """Make the folder of everything that shows images, with a note that says so."""
    folder = output / WITH_IMAGES
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / "README.txt"
    note.write_text(
        f"Everything in this folder shows images of patients: do not publish it.{os.linesep}",
        encoding="utf-8",
    )
