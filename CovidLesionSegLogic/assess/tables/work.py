"""Runs one after the other, whoever else is at work on the same folder."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from CovidLesionSegLogic.engine import Cancel, Progress
from CovidLesionSegLogic.errors import CovidLesionSegError, RequestError
from CovidLesionSegLogic.outputs.claim import claim

CANCELLED = 130


class Task(Protocol):
    """One run that is to be done once, in a folder of its own."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def folder(self) -> Path:
        """Its own folder, which holds the claim."""

    @property
    def optional(self) -> bool:
        """Whether it may be left out where its file is missing."""

    def missing(self) -> str:
        """What the user would have to give for it: "needs --option FILE"; "" when nothing."""

    def changed(self) -> list[str]:
        """What is different since it was started or finished."""

    def finished(self) -> bool:
        """Whether nothing is left to do."""

    def clear(self) -> None:
        """Take an earlier run away."""

    def perform(self, progress: Progress, cancel: Cancel) -> None:
        """Do it, or go on with it."""


def check_names(
    plan: str, what: str, names: Collection[str] | None, known: Collection[str]
) -> None:
    """RequestError where ``names`` has a run or table (``what``) that the plan does not have."""
    for name in names or ():
        if name not in known:
            raise RequestError(
                f"The plan '{plan}' has no {what} '{name}'; it has {', '.join(known)}."
            )


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    ``state``: "done", "finished before", "in another process", "left out: why" (optional, and its
    file is missing) or "not run: why".
    """

    name: str
    state: str

    @property
    def failed(self) -> bool:
        """Whether it could not be done."""
        return self.state.startswith("not run")

    @property
    def worth_telling(self) -> bool:
        """Whether the user should know."""
        return self.state not in ("done", "finished before")


def refuse_changed(tasks: Sequence[Task], output: Path) -> None:
    """RequestError where a run was started or finished under another entry of the plan."""
    changed = {task.name: found for task in tasks if (found := task.changed())}
    if changed:
        name, found = next(iter(changed.items()))
        more = f", nor do {len(changed) - 1} others" if len(changed) > 1 else ""
        raise RequestError(
            f"The run '{name}' in {output} does not belong to this plan any more: "
            f"{', '.join(found[:4])} changed{more}. Give another output folder, or --restart to "
            "train it again."
        )


def do_all(
    tasks: Sequence[Task],
    *,
    restart: bool,
    progress: Progress,
    cancel: Cancel,
    tell: Callable[[str], None],
) -> list[Outcome]:
    """Do what is not done yet; processes that share the folders each take the next free run.

    Parameters
    ----------
    restart
        Do again those that changed.
    progress
        Stages "NAME: stage".
    tell
        One line for each run that begins or cannot be done.

    Raises
    ------
    CancelledError
        Stopping was asked for; what is done stays, and the next call goes on.
    """
    outcomes = []
    for number, task in enumerate(tasks, 1):
        cancel.check()
        where = f"{number} of {len(tasks)}: {task.name}"
        if missing := task.missing():
            state = "left out" if task.optional else "not run"
            outcomes.append(Outcome(task.name, f"{state}: {missing}"))
            tell(f"{where} is not run, it {missing}")
            continue
        with claim(task.folder) as mine:
            if not mine:
                outcomes.append(Outcome(task.name, "in another process"))
                tell(f"{where} is being run by another process")
                continue
            if restart and task.changed():
                task.clear()
            if task.finished():
                outcomes.append(Outcome(task.name, "finished before"))
                continue
            tell(where)

            def told(stage: str, done: int, total: int, name: str = task.name) -> None:
                progress(f"{name}: {stage}", done, total)

            try:
                task.perform(told, cancel)
            except CovidLesionSegError as error:
                if type(error).exit_code == CANCELLED:
                    raise
                # One run that cannot be done must not keep the others from being done.
                outcomes.append(Outcome(task.name, f"not run: {error}"))
                tell(f"{task.name} failed: {error}")
                continue
            outcomes.append(Outcome(task.name, "done"))
    return outcomes
