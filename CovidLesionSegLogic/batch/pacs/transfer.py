"""Instances of a series to files, one by one (WADO-RS, PS3.18 10.4)."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from CovidLesionSegLogic.batch.pacs.connection import Connection
from CovidLesionSegLogic.batch.pacs.failures import PassingError
from CovidLesionSegLogic.ct.atomic import atomic_path
from CovidLesionSegLogic.ct.dicom_open import open_dicom
from CovidLesionSegLogic.engine.cancel import Cancel
from CovidLesionSegLogic.errors import InputError

AS_STORED = (("application/dicom", "*"),)
"""In the transfer syntax that the archive keeps, so that nothing is recoded on the way."""
_OURS = re.compile(r"\.?([0-9a-f]{12}\.)?[0-9a-f]{24}\.dcm")


def file_name(uid: str) -> str:
    """A name that tells nothing of the patient and is the same every time."""
    return hashlib.sha256(uid.encode()).hexdigest()[:24] + ".dcm"


def fetch_instance(
    connection: Connection, place: tuple[str, str, str], path: Path, cancel: Cancel
) -> None:
    """Fetch the instance of (study, series, instance) UID into ``path``, unless it is there whole.

    Raises
    ------
    InputError
        The archive has it no more, sends another one, or fails again and again.
    """
    if path.is_file() and _fault(path, place[2]) is None:
        return
    absent = InputError(
        f"The archive lists an image of series {place[1]} and does not give it out (HTTP 404): "
        "have the archive checked."
    )

    def attempt() -> None:
        dataset = _retrieve(connection.client, place)
        got = str(dataset.get("SOPInstanceUID", ""))
        if got and got != place[2]:
            raise InputError(
                f"The archive sends another image than the one asked for in series {place[1]}: "
                "have the archive checked."
            )
        with atomic_path(path) as temporary:
            dataset.save_as(temporary)
            fault = _fault(temporary, place[2])
            if fault is not None:
                raise PassingError(fault)

    connection.call(attempt, cancel=cancel, absent=absent)


def remove_others(folder: Path, keep: set[str]) -> None:
    """Remove what an earlier or interrupted fetch left in ``folder`` besides the files to keep."""
    if folder.is_dir():
        for path in folder.iterdir():
            if path.name not in keep and _OURS.fullmatch(path.name):
                path.unlink()


def _retrieve(client: Any, place: tuple[str, str, str]) -> Any:
    """The instance; PassingError where what came is none."""
    import requests
    from pydicom.errors import InvalidDicomError

    try:
        return client.retrieve_instance(*place, media_types=AS_STORED)
    except requests.RequestException:
        raise
    except (InvalidDicomError, EOFError, ValueError, LookupError):
        raise PassingError("an image came damaged") from None


def _fault(path: Path, uid: str) -> str | None:
    """Why a file is not the whole instance ``uid``; None when it is."""
    from pydicom.errors import InvalidDicomError

    try:
        dataset, complete = open_dicom(path, force=False)
        whole = "Rows" not in dataset or complete
    except (InvalidDicomError, OSError, ValueError, EOFError):
        return "an image came damaged"
    if str(dataset.get("SOPInstanceUID", "")) != uid:
        return "an image came damaged"
    return None if whole else "an image came cut"
