"""Which studies are asked for: ``Keyword=value`` pairs of QIDO-RS (PS3.18 10.6)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

from CovidLesionSegLogic.errors import RequestError

# An archive ignores a key it does not match, and so would answer with every study: only those
# that each must match are taken (PS3.18 Table 10.6.1-5).
KEYWORDS = (
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ModalitiesInStudy",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "StudyInstanceUID",
    "StudyID",
)
MODALITIES = "ModalitiesInStudy"
_DATES = re.compile(r"\d{8}|\d{8}-\d{8}|\d{8}-|-\d{8}")
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


def is_uid(text: object) -> bool:
    """Whether it has the form of a UID (PS3.5 9.1; leading zeros, which occur, are let by)."""
    return isinstance(text, str) and len(text) <= 64 and _UID.fullmatch(text) is not None


def parse_query(pairs: Sequence[str]) -> dict[str, str] | None:
    """Search keys from ``Keyword=value`` pairs; None where there are no pairs.

    ``ModalitiesInStudy=CT`` is taken and not sent, as studies without CT are left out anyway: with
    it some archives (Orthanc 1.10) lose studies between the pages of their answer.

    Raises
    ------
    RequestError
        A keyword that archives need not match, a pair without value, a date that is none. No
        message repeats a value, which may be a patient's name.
    """
    keys: dict[str, str] = {}
    for pair in pairs:
        keyword, _, value = (part.strip() for part in pair.partition("="))
        if keyword not in KEYWORDS:
            raise RequestError(_unknown(keyword, has_value="=" in pair))
        if not value:
            raise RequestError(
                f"The query has no value for {keyword}: write {keyword}=VALUE without spaces "
                "around the sign."
            )
        if keyword in keys:
            raise RequestError(f"The query names {keyword} twice: give it once.")
        if keyword == "StudyDate" and _DATES.fullmatch(value) is None:
            raise RequestError(
                "The query's StudyDate is neither a date nor a range: write 20200301 or "
                "20200301-20200331."
            )
        if keyword == "StudyInstanceUID" and not is_uid(value):
            raise RequestError("The query's StudyInstanceUID is not a UID: check it.")
        if keyword == MODALITIES and value != "CT":
            raise RequestError(
                f"The query's {MODALITIES} is not CT: leave it out, only CT studies are asked for."
            )
        keys[keyword] = value
    if not keys:
        return None
    return {keyword: value for keyword, value in keys.items() if keyword != MODALITIES}


def _unknown(keyword: str, *, has_value: bool) -> str:
    if not has_value:  # it may be a value, and so a name: say nothing of it
        return "A query must have the form Keyword=value, such as StudyDate=20200301-20200331."
    near = get_close_matches(keyword, KEYWORDS, 1)
    hint = f"did you mean {near[0]}?" if near else f"choose among {', '.join(KEYWORDS)}."
    return f"Archives need not search by '{keyword}': {hint}"
