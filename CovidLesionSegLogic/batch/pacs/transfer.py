"""Instances of a series to files, one by one (WADO-RS, PS3.18 10.4)."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from CovidLesionSegLogic.batch.pacs.connection import Connection
from CovidLesionSegLogic.batch.pacs.failures import PassingError
from CovidLesionSegLogic.batch.pacs.multipart import only_part
from CovidLesionSegLogic.ct.atomic import atomic_path
from CovidLesionSegLogic.ct.dicom_open import open_dicom
from CovidLesionSegLogic.engine.cancel import Cancel
from CovidLesionSegLogic.errors import InputError

_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_DAMAGED, _ANOTHER = "an image came damaged", "another image came"
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
    if path.is_file() and _fault(path, place) is None:
        return
    absent = InputError(
        f"The archive lists an image of series {place[1]} and does not give it out (HTTP 404): "
        "have the archive checked."
    )

    def attempt() -> None:
        answer = connection.get_image(*place)
        try:
            image = only_part(answer.headers.get("Content-Type", ""), answer.content)
        except ValueError:
            raise PassingError(_DAMAGED) from None
        with atomic_path(path) as temporary:
            temporary.write_bytes(image)
            fault = _fault(temporary, place)
            if fault == _ANOTHER:
                raise InputError(
                    f"The archive sends another image than the one asked for in series {place[1]}: "
                    "have the archive checked."
                )
            if fault is not None:
                raise PassingError(fault)

    connection.call(attempt, cancel=cancel, absent=absent)


def remove_others(folder: Path, keep: set[str]) -> None:
    """Remove what an earlier or interrupted fetch left in ``folder`` besides the files to keep."""
    if folder.is_dir():
        for path in folder.iterdir():
            if path.name not in keep and _OURS.fullmatch(path.name):
                path.unlink()


def _fault(path: Path, place: tuple[str, str, str]) -> str | None:
    """Why a file is not the whole instance of these UIDs; None when it is."""
    from CovidLesionSegLogic.ct.dicom_scan import quiet_pydicom

    try:
        with quiet_pydicom():
            dataset, complete = open_dicom(path, force=False)
            got = [str(dataset.get(keyword) or "") for keyword in _UIDS]
            whole = "Rows" not in dataset or complete
    except Exception:  # noqa: BLE001 - pydicom raises many kinds on damaged files
        return _DAMAGED
    if not got[2]:
        return _DAMAGED
    if any(one and one != asked for one, asked in zip(got, place, strict=True)):
        return _ANOTHER
    return None if whole else "an image came cut"
