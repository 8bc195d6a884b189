"""Files of a result into their place, so that a process may be killed at any instant.

The hidden folder of a run has ``new``, the files as they are written. Once all are there it gets
the list of those to go and ``new`` is renamed to ``moving``: from then on the files are whole, and
whoever finds the folder of a killed run finishes what that one began.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import time
from collections.abc import Collection
from pathlib import Path

from CovidLesionSegLogic.outputs.claim import hold

PREFIX = ".partial-"
_GOING, _HOST = "going.json", "host"
LONGEST_RUN_S = 86_400.0
"""A hidden folder that another machine has left alone for so long is no run's any more."""


def sign(work: Path) -> None:
    """Note in a run's hidden folder whose it is: many network drives lock within a machine only."""
    (work / _HOST).write_text(platform.node(), encoding="utf-8", errors="backslashreplace")


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
    with contextlib.suppress(OSError):
        moving.rmdir()  # done: what is left of the run has no say any more in what shall go


def settle(folder: Path) -> None:
    """Put right what killed runs have left in ``folder``, which nobody else may use meanwhile."""
    for work in sorted(folder.glob(f"{PREFIX}*")):
        with contextlib.suppress(OSError), hold(work, wait=False) as dead:
            if dead and _is_left(work):
                _finish(work, folder)
                shutil.rmtree(work, ignore_errors=True)


def _is_left(work: Path) -> bool:
    """Whether no run can be at work in a hidden folder, however far its lock reaches."""
    if (work / "moving").is_dir():  # moves take no time: to be finished now or by nobody
        return True
    try:
        here = platform.node().encode(errors="backslashreplace")
        if (work / _HOST).read_bytes() == here:
            return True
    except FileNotFoundError:
        pass
    changed = max(path.lstat().st_mtime for path in (work, *work.iterdir()))
    return time.time() - changed > LONGEST_RUN_S


def _finish(work: Path, folder: Path) -> None:
    moving = work / "moving"
    if not moving.is_dir():
        return  # killed before all of its files were written
    for name in json.loads((work / _GOING).read_text(encoding="utf-8")):
        (folder / name).unlink(missing_ok=True)
    for path in sorted(moving.iterdir()):
        os.replace(path, folder / path.name)
