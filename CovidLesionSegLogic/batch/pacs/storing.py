"""An instance sent to an archive, and what the archive says to it (STOW-RS, PS3.18 10.5)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from CovidLesionSegLogic.batch.pacs.connection import Connection
from CovidLesionSegLogic.batch.pacs.failures import named
from CovidLesionSegLogic.engine.cancel import Cancel
from CovidLesionSegLogic.errors import InputError, RequestError

DUPLICATE = 0x0111
"""Failure reason "duplicate SOP instance" (PS3.7 C.5.6): the archive has it already."""

_NOT_UNDERSTOOD = (
    ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError,
    SyntaxError, NotImplementedError,
)  # fmt: skip
"""What pydicom and the readers of JSON and XML raise for an answer that is none."""


def store_instance(connection: Connection, path: Path, cancel: Cancel) -> None:
    """Send one DICOM file; nothing happens where the archive has it already.

    Raises
    ------
    InputError
        The file is not DICOM, or the archive fails again and again.
    RequestError
        The archive refuses it, with its reason.
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    from CovidLesionSegLogic.ct.dicom_scan import quiet_pydicom

    try:
        dataset = dcmread(path)
        uid = str(dataset.SOPInstanceUID)
    except (InvalidDicomError, OSError, ValueError, EOFError, AttributeError):
        raise InputError(f"{path} cannot be stored, it is not a DICOM file: check it.") from None

    def attempt() -> None:
        with quiet_pydicom():
            reasons, stored = _told(_send(connection.client, dataset), uid)
        if reasons - {DUPLICATE}:
            reason = min(reasons - {DUPLICATE})
            raise RequestError(
                f"The archive did not store {path.name} ({meaning(reason)}): the file is kept; "
                "have the archive's rules checked and store it again."
            )
        if not reasons and not stored and not _is_there(connection, dataset):
            raise RequestError(
                f"The archive took {path.name} and does not have it: the file is kept; have the "
                "archive's rules checked and store it again."
            )

    connection.call(attempt, cancel=cancel)


def _send(client: Any, dataset: Any) -> Any:
    """The archive's answer as a dataset, also that to a refusal (HTTP 400 or 409).

    Empty where it cannot be understood: what became of the file is asked for then.
    """
    import requests
    from pydicom import Dataset

    try:
        return client.store_instances([dataset])
    except requests.HTTPError as error:
        response = error.response
        if response is None or response.status_code not in (400, 409):
            raise
        try:
            answer = Dataset.from_json(response.json())
        except _NOT_UNDERSTOOD:
            answer = Dataset()
        if not answer.get("FailedSOPSequence"):
            raise RequestError(
                "The archive refuses what was to be stored "
                f"({named(response.status_code)}): the file is kept; have the archive's "
                "rules checked and store it again."
            ) from None
        return answer
    except requests.JSONDecodeError:
        return Dataset()
    except requests.RequestException:
        raise
    except _NOT_UNDERSTOOD:
        return Dataset()


def _told(answer: Any, uid: str) -> tuple[set[int], bool]:
    """Reasons given for not storing (PS3.18 Table 10.5.3-1), and whether it is said to be stored.

    0x0110 where a failure has no reason, or one that is none.
    """
    try:
        reasons = {
            _reason(item.get("FailureReason"))
            for item in answer.get("FailedSOPSequence") or []
            if str(item.get("ReferencedSOPInstanceUID") or uid) == uid
        }
        items = answer.get("ReferencedSOPSequence") or []
        return reasons, any(str(item.get("ReferencedSOPInstanceUID")) == uid for item in items)
    except _NOT_UNDERSTOOD:
        return set(), False


def _reason(value: Any) -> int:
    known = isinstance(value, int) and 0 < value <= 0xFFFF
    return int(value) if known else 0x0110


def _is_there(connection: Connection, dataset: Any) -> bool:
    """Whether the archive lists the instance: asked where its answer does not speak of it."""
    found = connection.client.search_for_instances(
        str(dataset.StudyInstanceUID),
        str(dataset.SeriesInstanceUID),
        search_filters={"SOPInstanceUID": str(dataset.SOPInstanceUID)},
    )
    return any(
        str(dataset.SOPInstanceUID) in row.get("00080018", {}).get("Value", []) for row in found
    )


def meaning(reason: int) -> str:
    """What a failure reason means (PS3.18 Table I.2-2, PS3.7 C.5)."""
    texts = (
        (0x0110, 0x0110, "processing failure"),
        (0x0122, 0x0122, "it does not take this kind of object"),
        (0x0124, 0x0124, "not authorised"),
        (0xA700, 0xA7FF, "out of resources"),
        (0xA900, 0xA9FF, "the object does not fit its kind"),
        (0xC000, 0xCFFF, "it cannot understand the object"),
    )
    for first, last, text in texts:
        if first <= reason <= last:
            return f"{text}, reason {reason:04X}"
    return f"reason {reason:04X}"
