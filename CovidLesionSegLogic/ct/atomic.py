"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from CovidLesionSegLogic.errors import RequestError

_FULL_OR_FORBIDDEN = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` on success.

    The temporary name ends like the final one (writers choose the format by suffix), starts with a
    dot, and lies in the same folder, so the rename is atomic. When the body raises, the temporary
    file is removed and whatever stood at ``path`` stays as it was. Missing folders are created.

    Raises
    ------
    RequestError
        When the folder cannot be created or written, or the disk is full.
    FileNotFoundError
        When the body succeeded without writing the file: a mistake of the caller.
    """
    final = Path(path)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(
            f"The folder {final.parent} cannot be created ({error.strerror or error}): "
            "choose another output folder."
        ) from error
    if final.is_dir():
        raise RequestError(f"{final} is a folder, not a file: choose another output name.")
    if not os.access(final.parent, os.W_OK):
        raise RequestError(
            f"The folder {final.parent} cannot be written: choose another output folder."
        )
    temporary = final.with_name(f".{uuid.uuid4().hex[:12]}.{final.name}")
    try:
        yield temporary
        if not temporary.exists():
            raise FileNotFoundError(f"nothing was written for {final}")
        os.replace(temporary, final)
    except OSError as error:
        if error.errno not in _FULL_OR_FORBIDDEN:
            raise
        raise RequestError(
            f"{final} cannot be written ({error.strerror}): free some space or choose another "
            "output folder."
        ) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
