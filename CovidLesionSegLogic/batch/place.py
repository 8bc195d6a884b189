"""The folder of a batch's results: a folder per study that comes whole or not at all.

A study is written into a hidden folder beside and renamed into its place, one step for the file
system. Whatever a killed run leaves behind is put right when the next one begins.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from CovidLesionSegLogic.batch.record import Record, read_record
from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.outputs.claim import claim
from CovidLesionSegLogic.outputs.folder import check_output_folder, write_error

HIDDEN = ".batch"
_NEW, _OLD = "new-", "old-"
_TEMPORARY = re.compile(r"\.[0-9a-f]{12}\.")
"""How the names of :func:`~CovidLesionSegLogic.ct.atomic.atomic_path` begin."""


class Results:
    """The results in the folder ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.hidden = self.root / HIDDEN

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other run out, and put right what a killed one left.

        Raises
        ------
        RequestError
            The folder cannot be written, or another run is at work in it.
        """
        check_output_folder(self.root)
        if self.hidden.is_symlink():  # a run takes away what it finds in there
            raise RequestError(
                f"{self.hidden} is a link: remove it, or choose another output folder."
            )
        with contextlib.ExitStack() as stack:
            try:
                if not stack.enter_context(claim(self.hidden)):
                    raise RequestError(
                        f"Another run is at work in {self.root}: wait for its end or choose "
                        "another output folder."
                    )
                self._recover()
            except OSError as error:
                raise write_error(self.root, error) from error
            yield

    def record(self, name: str) -> Record | None:
        """The record of the study of that name; None where it is not finished."""
        return read_record(self.root / name)

    @contextlib.contextmanager
    def staged(self, name: str) -> Iterator[Path]:
        """Yield an empty folder called ``name``; on success it takes its place among the results.

        Files that others put into an earlier folder of that name stay in it.

        Raises
        ------
        RequestError
            The folder cannot be written or the disk is full.
        """
        work = self.hidden / f"{_NEW}{uuid.uuid4().hex[:12]}"
        try:
            fresh = work / name
            work.mkdir()  # and no more: where the results' folder is gone, the run is to end
            fresh.mkdir()
            yield fresh
            _to_disk(fresh)
            self._put_in_place(fresh)
        except OSError as error:
            raise write_error(self.root, error) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _put_in_place(self, fresh: Path) -> None:
        final = self.root / fresh.name
        if not os.path.lexists(final):
            os.replace(fresh, final)
            return
        old = self.hidden / f"{_OLD}{uuid.uuid4().hex[:12]}"
        old.mkdir()
        os.replace(final, old / fresh.name)
        os.replace(fresh, final)
        self._settle(old)

    def _settle(self, old: Path) -> None:
        """Bring back what is not ours from a replaced folder, or all where nothing replaced it.

        Not ours is a file that we did not write, and one of ours that somebody has worked on.
        """
        for before in list(old.iterdir()):
            final = self.root / before.name
            if not os.path.lexists(final):
                os.replace(before, final)
                continue
            if before.is_symlink():  # what it leads to is not ours to move
                before.unlink()
                continue
            if not before.is_dir():
                os.replace(before, _free(final, before.name))
                continue
            record = read_record(before)
            ours = {f"{before.name}_batch.json": None}
            if record is not None:
                ours |= {one["file"]: one["bytes"] for one in record.outputs.values()}
            for path in list(before.iterdir()):
                size = path.lstat().st_size
                if path.name not in ours or ours[path.name] not in (None, size):
                    os.replace(path, _free(final, path.name))
        # Under this name the next run takes it away, should this one end half-way.
        done = self.hidden / f"{_NEW}{uuid.uuid4().hex[:12]}"
        os.replace(old, done)
        shutil.rmtree(done, ignore_errors=True)

    def _recover(self) -> None:
        for path in list(self.hidden.iterdir()):
            if path.name.startswith(_OLD):
                if path.is_dir() and not path.is_symlink():
                    self._settle(path)
            elif path.name.startswith(_NEW):
                shutil.rmtree(path, ignore_errors=True)
            elif path.name.startswith(("stop-", "probe-")) and not path.is_dir():
                path.unlink(missing_ok=True)
        for path in [*self.root.glob(".*.summary.*"), *self.root.glob("*/.*_batch.json")]:
            if _TEMPORARY.match(path.name):
                path.unlink(missing_ok=True)


def _free(folder: Path, name: str) -> Path:
    """A path in the folder that nothing has, by this name or one that says that it is earlier."""
    names = itertools.chain([name], (f"earlier-{n}-{name}" for n in itertools.count(1)))
    return next(folder / one for one in names if not os.path.lexists(folder / one))


def _to_disk(folder: Path) -> None:
    """Have the files written to the disk itself: after a power cut names may outlive contents."""
    for path in folder.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())
