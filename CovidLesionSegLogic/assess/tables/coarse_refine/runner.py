"""All runs of a coarse-refine plan on a user's table of images."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from CovidLesionSegLogic.assess.tables.build import sha256
from CovidLesionSegLogic.assess.tables.coarse_refine.data import Data, load_data, write_census
from CovidLesionSegLogic.assess.tables.coarse_refine.lungs import BESIDE, lung_areas
from CovidLesionSegLogic.assess.tables.coarse_refine.place import Place
from CovidLesionSegLogic.assess.tables.coarse_refine.plan import Plan
from CovidLesionSegLogic.assess.tables.coarse_refine.tasks import RunTask
from CovidLesionSegLogic.assess.tables.runner import warn_of_images
from CovidLesionSegLogic.assess.tables.work import Outcome, check_names, do_all, refuse_changed
from CovidLesionSegLogic.engine import Cancel, Progress, no_progress

TABLES = ("T1", "T2", "T3", "T4", "T5", "T6", "T7", "levers")


def choose_runs(
    plan: Plan, only: Collection[str] | None, tables: Collection[str] | None
) -> set[str]:
    """Names of the runs of ``only`` and ``tables``; all where neither is given.

    Tables 1 to 3 need no run. RequestError for names that are not in the plan.
    """
    check_names(plan.name, "run", only, plan.runs)
    check_names(plan.name, "table", tables, TABLES)
    wanted = set(only or plan.runs)
    if tables:
        wanted &= plan.of_tables(list(tables))
    return wanted


def load(plan: Plan, table: Path, output: Path, *, folds: Path | None, lungs: Path | None) -> Data:
    """The user's data; the errors are those of ``load_data`` and ``lung_areas``."""
    data = load_data(table, plan.classes, output, folds=folds, seed=plan.seed)
    if lungs is None and (table.parent / BESIDE).is_file():
        lungs = table.parent / BESIDE
    if lungs is None:
        return data
    areas = lung_areas(lungs, data.images)
    return replace(data, lungs=areas, files=data.files | {"lungs": sha256(lungs)})


def run_plan(
    plan: Plan,
    wanted: Collection[str],
    data: Data,
    place: Place,
    *,
    phantoms: bool = False,
    restart: bool = False,
    progress: Progress = no_progress,
    cancel: Cancel | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Outcome]:
    """Do what is not done yet, as :func:`~CovidLesionSegLogic.assess.tables.work.do_all` says.

    Parameters
    ----------
    wanted
        Names of runs.
    phantoms
        The images were made by a program: pictures of them may be published.

    Raises
    ------
    RequestError
        A run was started or finished under another entry and ``restart`` is not given; nothing
        has been trained then.
    CancelledError
        Stopping was asked for; what is done stays, and the next call goes on.
    """
    plan = plan.changed(classes=data.classes)
    tasks = [RunTask(job, place, data) for job in plan.jobs() if job.run.name in wanted]
    if not restart:
        refuse_changed(tasks, place.output)
    write_census(data, place.output, phantoms=phantoms)
    if not phantoms:
        warn_of_images(place.output)
    return do_all(tasks, restart=restart, progress=progress, cancel=cancel or Cancel(), tell=tell)
