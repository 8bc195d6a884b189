"""Locks that the operating system takes back when their process ends, however it ends."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

PATIENCE = 30.0
"""Seconds to wait for a folder: others hold it while they rename some files."""


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
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)  # no file elsewhere
    handle = os.open(folder / "claim.lock", flags, 0o644)
    try:
        mine = _lock(handle)
        try:
            yield mine
        finally:
            if mine:
                _unlock(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def hold(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Lock an existing folder itself, without a file in it; yield whether that was possible.

    It is not where another process holds the lock (unless ``wait``: then half a minute is waited
    for it, no longer, as it may be held for us, by ``flock FOLDER covid-lesion-seg ...``), where
    the folder cannot be read, and where the system cannot lock folders: on Windows, and on some
    network drives.
    """
    if os.name == "nt":
        yield False
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # it may be written all the same
        yield False
        return
    try:
        mine = _lock_folder(handle, PATIENCE if wait else 0.0)
        try:
            yield mine
        finally:
            if mine:
                _unlock(handle)  # a child that was forked meanwhile keeps its copy open
    finally:
        os.close(handle)


if os.name == "nt":
    import msvcrt

    def _lock_folder(handle: int, patience: float) -> bool:
        raise NotImplementedError

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

    def _lock_folder(handle: int, patience: float) -> bool:
        end = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= end:
                    return False
                time.sleep(0.02)
            except OSError:  # the file system knows no locks
                return False
            else:
                return True

    def _unlock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)
