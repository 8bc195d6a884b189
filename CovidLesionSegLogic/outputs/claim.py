"""One process per run: a lock that the operating system takes back when its process ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def claim(folder: Path) -> Iterator[bool]:
    """Yield whether ``folder`` is now this process's own; made if missing.

    The lock is on the open file ``claim.lock``, not on the file's being there, so a process that
    was killed holds nothing and needs no clearing up.

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / "claim.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        mine = _lock(handle)
        try:
            yield mine
        finally:
            if mine:
                _unlock(handle)
    finally:
        os.close(handle)


if os.name == "nt":
    import msvcrt

    def _lock(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError:
            return False
        return True

    def _unlock(handle: int) -> None:
        os.lseek(handle, 0, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined,unused-ignore]

else:
    import fcntl

    def _lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)
