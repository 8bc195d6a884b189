"""Studies and series as an archive lists them, and which series may be the CT to read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from CovidLesionSegLogic.batch.pacs.query import is_uid
from CovidLesionSegLogic.errors import InputError

SERIES_FIELDS = ("SeriesDescription", "BodyPartExamined", "NumberOfSeriesRelatedInstances")
"""Asked for besides those that come by themselves (PS3.18 Table 10.6.3-4)."""

_LOCALISER = re.compile(
    r"\b(locali[sz]er|scout|topo(gram)?|surview|scano(gram)?|scanogram|pilot|loc)\b", re.IGNORECASE
)
_NOT_AS_ACQUIRED = re.compile(
    r"\b(dose|report|protocol|screen ?save|mip|minip|vrt?|3d|cor(onal)?|sag(ittal)?|mpr|"
    r"monitoring|premonitoring|bolus|smart ?prep|timing|test ?bolus)\b",
    re.IGNORECASE,
)
_CHEST = ("CHEST", "THORAX", "LUNG")
FEW = 10
"""A series of fewer images is a fragment, or is one of multi-frame files."""


@dataclass(frozen=True)
class RemoteSeries:
    """A series of an archive; ``instances`` is None where the archive does not count."""

    uid: str
    modality: str
    description: str
    body_part: str
    number: int | None
    instances: int | None


@dataclass(frozen=True)
class RemoteStudy:
    """A study of an archive; without series where the archive has none of that UID."""

    uid: str
    series: tuple[RemoteSeries, ...]


def candidates(study: RemoteStudy) -> tuple[RemoteSeries, ...]:
    """CT series of a study, the likeliest chest volume first.

    By what an archive tells of a series: its modality is CT and it has images. Then come, in this
    order: what is not called a localiser; what is not called a reformat, a bolus timing or a dose
    report; what has 10 images or more; a chest, or a body part that is not stated; the most
    images; the lowest series number. The reader of the fetched images has the last word.

    Raises
    ------
    InputError
        The archive has no such study, or it holds no CT.
    """
    if not study.series:
        raise InputError(
            f"The archive has no study {study.uid}: check the UID, and whether you may see it."
        )
    found = [one for one in study.series if one.modality == "CT" and one.instances != 0]
    if not found:
        modalities = ", ".join(sorted({one.modality or "not stated" for one in study.series}))
        raise InputError(
            f"Study {study.uid} holds no CT images (modality {modalities}): choose a CT study."
        )
    return tuple(sorted(found, key=_rank))


def _rank(series: RemoteSeries) -> tuple[object, ...]:
    count = series.instances
    words = series.description.replace("_", " ")
    part = series.body_part.upper()
    return (
        _LOCALISER.search(words) is not None,
        _NOT_AS_ACQUIRED.search(words) is not None,
        count is not None and count < FEW,
        bool(part) and not any(name in part for name in _CHEST),
        -(count or 0),
        float("inf") if series.number is None else series.number,
        series.uid,
    )


def listed_study(row: Mapping[str, Any]) -> tuple[str, bool]:
    """Study Instance UID of an answer in the DICOM JSON model (PS3.18 F.2), and what it may hold.

    That is whether it names CT among its modalities, or names none. ValueError without a UID, as
    with the answers below.
    """
    modalities = row.get("00080061", {}).get("Value") or ["CT"]
    return _uid(row, "0020000D"), "CT" in modalities


def listed_instance(row: Mapping[str, Any]) -> tuple[str, None]:
    """SOP Instance UID of an answer."""
    return _uid(row, "00080018"), None


def listed_series(row: Mapping[str, Any]) -> tuple[str, RemoteSeries]:
    """Series Instance UID of an answer, and the series."""
    uid = _uid(row, "0020000E")
    return uid, RemoteSeries(
        uid=uid,
        modality=str(_value(row, "00080060") or "").strip().upper(),
        description=str(_value(row, "0008103E") or "").strip(),
        body_part=str(_value(row, "00180015") or "").strip(),
        number=_integer(row, "00200011"),
        instances=_integer(row, "00201209"),
    )


def _uid(row: Mapping[str, Any], tag: str) -> str:
    uid = _value(row, tag)
    if not is_uid(uid):
        raise ValueError(f"an answer without a valid UID in {tag}")
    return str(uid)


def _value(row: Mapping[str, Any], tag: str) -> Any:
    """First value of an attribute; None where it is absent or empty."""
    values = row[tag].get("Value") if tag in row else None
    return values[0] if values else None


def _integer(row: Mapping[str, Any], tag: str) -> int | None:
    try:
        return int(_value(row, tag))
    except (TypeError, ValueError, OverflowError):
        return None
