"""Files of a result into their place, so that a process may be killed at any instant.

The hidden folder of a run has ``new``, the files as they are written. Once all are there it gets
the list of those to go and ``new`` is renamed to ``moving``: from then on the files are whole, and
whoever finds the folder of a killed run finishes what that one began.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Collection
from pathlib import Path

from CovidLesionSegLogic.outputs.claim import hold

PREFIX = ".partial-"
_GOING = "going.json"


def move_all(fresh: Path, folder: Path, work: Path, outdated: Collection[str]) -> None:
    """Move what is in ``fresh`` into ``folder``, and from there away what it replaces.

    Both lie in ``work``, the run's hidden folder. When a step fails, ``folder`` is as it was.
    """
    new = sorted(path.name for path in fresh.iterdir())
    replaced, moving = work / "old", work / "moving"
    replaced.mkdir()
    going = sorted(set(outdated).difference(new))
    (work / _GOING).write_text(json.dumps(going), encoding="utf-8")
    os.replace(fresh, moving)
    moved: list[str] = []
    kept: list[str] = []
    try:
        for name in sorted({*new, *outdated}):
            if (folder / name).exists():
                os.replace(folder / name, replaced / name)
                kept.append(name)
        for name in new:
            os.replace(moving / name, folder / name)
            moved.append(name)
    except BaseException:
        # Killed on this way back, it is finished by the next run all the same: nothing is lost.
        for name in moved:
            os.replace(folder / name, moving / name)
        for name in kept:
            os.replace(replaced / name, folder / name)
        os.replace(moving, fresh)
        raise


def settle(folder: Path) -> None:
    """Put right what killed runs have left in ``folder``, which nobody else may use meanwhile."""
    for work in sorted(folder.glob(f"{PREFIX}*")):
        with contextlib.suppress(OSError), hold(work, wait=False) as dead:
            if dead:
                _finish(work, folder)
                shutil.rmtree(work, ignore_errors=True)


def _finish(work: Path, folder: Path) -> None:
    moving = work / "moving"
    if not moving.is_dir():
        return  # killed before all of its files were written
    for name in json.loads((work / _GOING).read_text(encoding="utf-8")):
        (folder / name).unlink(missing_ok=True)
    for path in sorted(moving.iterdir()):
        os.replace(path, folder / path.name)
