"""An output folder that a failed run leaves as it was."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from CovidLesionSegLogic.ct.itk import itk_name
from CovidLesionSegLogic.errors import InputError, RequestError
from CovidLesionSegLogic.outputs.claim import hold
from CovidLesionSegLogic.outputs.moves import PREFIX, move_all, settle, sign

_FULL = {errno.ENOSPC, errno.EDQUOT} if hasattr(errno, "EDQUOT") else {errno.ENOSPC}
_FULL_BYTES = 1_000_000
_HIDDEN = re.compile(re.escape(PREFIX) + r"[a-z0-9_]{8}/new/")


def check_output_folder(folder: str | Path) -> Path:
    """Make sure, before any work, that files can be written into ``folder``.

    It need not exist yet; nothing is created. Returns the absolute path; raises RequestError.
    """
    folder = Path(folder).absolute()
    try:
        itk_name(folder)
    except InputError as error:
        raise RequestError(f"The output folder cannot be used: {error}") from error
    there = _existing(folder)
    if not there.is_dir():
        raise RequestError(
            f"The output folder {folder} cannot be used: {there} is not a folder; choose another."
        )
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise write_error(folder, error) from error
    return folder


def _existing(folder: Path) -> Path:
    """``folder`` or the closest one above it that exists; RequestError when none does."""
    try:
        for path in (folder, *folder.parents):
            if path.exists():
                return path
    except OSError as error:  # no right to look, or no possible name
        raise write_error(folder, error) from error
    raise RequestError(  # a drive or share of Windows
        f"The output folder {folder} cannot be used: {folder.anchor} does not exist; "
        "choose another."
    )


def write_error(folder: Path, error: OSError) -> RequestError:
    """A sentence for an error of the file system; exit code 2, as the output was badly chosen."""
    if error.errno in _FULL:
        return RequestError(
            f"The disk that holds {folder} is full; free some space or choose another output "
            "folder."
        )
    return RequestError(
        f"The output folder {folder} cannot be written ({error.strerror or error}); choose "
        "another or change its rights."
    )


def _disk_is_full(folder: Path) -> bool:
    return shutil.disk_usage(_existing(folder)).free < _FULL_BYTES


Outdated = Callable[[], Collection[str]]


@contextlib.contextmanager
def staged_folder(folder: str | Path, outdated: Outdated = frozenset) -> Iterator[Path]:
    """Yield an empty hidden folder inside ``folder``; on success its files move into ``folder``.

    When the body or a move fails, ``folder`` is as it was: new files are taken away, replaced ones
    put back, and folders made for the purpose removed. Of several processes one after the other
    moves its files, so that those of a result belong together; what one that was killed has left
    behind is put right by the next.

    Parameters
    ----------
    folder
        Made if missing.
    outdated
        Called when nobody else moves files: names of files in ``folder`` that go where the body
        writes none of that name. What it raises leaves ``folder`` as it was.

    Raises
    ------
    RequestError
        The folder cannot be written or its disk is full.
    """
    folder = Path(folder).absolute()
    there = _existing(folder)
    made = list(itertools.takewhile(lambda p: p != there, (folder, *folder.parents)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            with hold(folder) as alone:
                if alone:
                    settle(folder)
                work = Path(
                    stack.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX, dir=folder))
                )
                stack.enter_context(hold(work))  # as long as this process lives, it is in use
                sign(work)
            fresh = work / "new"
            fresh.mkdir()
            yield fresh
            with hold(folder):
                move_all(fresh, folder, work, outdated())
    except BaseException as error:
        for path in made:  # innermost first; one that is in use by now stays
            with contextlib.suppress(OSError):
                path.rmdir()
        if isinstance(error, OSError):
            raise write_error(folder, error) from error
        if isinstance(error, RequestError):  # that names a file where it never was for anyone
            raise RequestError(_HIDDEN.sub("", str(error))) from error
        if isinstance(error, RuntimeError) and _disk_is_full(folder):
            # Writers in C++ say only that a write failed.
            raise write_error(folder, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) from error
        raise
