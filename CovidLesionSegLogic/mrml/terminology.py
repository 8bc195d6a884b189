"""Coded meaning of segments, in the form Slicer and DICOM SEG use.

The codes of the lesions stand in ``Resources/Terminologies`` (its README says where each was
checked); the lungs use Slicer's own list. A segment's tag is Slicer's serialised terminology entry

    context~category~type~type modifier~region context~region~region modifier

where each code is ``scheme^value^meaning`` (empty: ``^^``). DICOM PS3.3 C.8.20.4 (Segment
Description Macro) has the same triplets.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from CovidLesionSegLogic.errors import InputError
from CovidLesionSegLogic.mrml.host import get_host

FILE_NAME = "SegmentationCategoryTypeModifier-CovidLesionSeg.term.json"
CONTEXT = "Segmentation category and type - CovidLesionSeg"
SLICER_CONTEXT = "Segmentation category and type - 3D Slicer General Anatomy list"
REGION_CONTEXT = "Anatomic codes - DICOM master list"

_log = logging.getLogger(__name__)
_PACKAGE = Path(__file__).resolve().parents[1]
_RESERVED = str.maketrans("~^|", "---")  # separators of Slicer's entry and of its list of tags


def tag_text(text: str) -> str:
    """``text`` without the separators of Slicer's entries and of its list of tags."""
    return text.translate(_RESERVED)


class Code(NamedTuple):
    """A coded concept (DICOM PS3.3 8.8): scheme designator, value, meaning."""

    scheme: str = ""
    value: str = ""
    meaning: str = ""

    def __str__(self) -> str:
        return "^".join(tag_text(part) for part in self)


MORPHOLOGY = Code("SCT", "49755003", "Morphologically Altered Structure")
ANATOMY = Code("SCT", "123037004", "Anatomical Structure")
LESION = Code("SCT", "52988006", "Lesion")
LUNG = Code("SCT", "39607008", "Lung")
RIGHT = Code("SCT", "24028007", "Right")
LEFT = Code("SCT", "7771000", "Left")


class Entry(NamedTuple):
    """What a segment is; ``str(entry)`` is Slicer's serialised form."""

    context: str
    category: Code
    type: Code
    modifier: Code = Code()
    region: Code = Code()
    region_modifier: Code = Code()

    def __str__(self) -> str:
        parts = (
            tag_text(self.context),
            self.category,
            self.type,
            self.modifier,
            REGION_CONTEXT,
            self.region,
            self.region_modifier,
        )
        return "~".join(str(part) for part in parts)


RIGHT_LUNG = Entry(SLICER_CONTEXT, ANATOMY, LUNG, RIGHT)
LEFT_LUNG = Entry(SLICER_CONTEXT, ANATOMY, LUNG, LEFT)


def terminology_file() -> Path:
    """The shipped terminology; InputError when it is missing."""
    for root in (_PACKAGE.parent, _PACKAGE):
        path = root / "Resources" / "Terminologies" / FILE_NAME
        if path.is_file():
            return path
    raise InputError(f"The terminology file {FILE_NAME} is missing; reinstall the extension.")


def load_terminology() -> bool:
    """Make the shipped terms selectable in Slicer; True where they are loaded afterwards."""
    import vtk

    logic = get_host().logics["terminologies"]
    names = vtk.vtkStringArray()
    logic.GetLoadedTerminologyNames(names)
    if CONTEXT in {names.GetValue(i) for i in range(names.GetNumberOfValues())}:
        return True
    try:
        path = terminology_file()
    except InputError as error:
        _log.warning("%s", error)
        return False
    return bool(logic.LoadTerminologyFromFile(str(path)))


def entry_for(name: str, terminology: Mapping[str, Any] | None = None) -> Entry:
    """The coded meaning of a lesion class.

    Parameters
    ----------
    name
        The class's name, e.g. "ground-glass opacity"; looked up in the shipped terminology where
        ``terminology`` is empty. A name that is not there becomes a lesion of the lung, so that
        every segment can be exported as DICOM SEG.
    terminology
        ``category``, ``type``, ``modifier``, ``region``, ``region_modifier``: each an object with
        ``CodingSchemeDesignator``, ``CodeValue`` and ``CodeMeaning`` (the shorter ``scheme``,
        ``value``, ``meaning`` are understood too). Only ``type`` is required.

    Raises
    ------
    InputError
        ``terminology`` lacks a part or holds something that is not a code.
    """
    if terminology:
        return _entry_from(name, terminology)
    return _shipped_entries().get(_key(name), Entry(CONTEXT, MORPHOLOGY, LESION, region=LUNG))


def _entry_from(name: str, terminology: Mapping[str, Any]) -> Entry:
    if not terminology.get("type"):
        raise InputError(
            f"The terminology of the class '{name}' has no 'type'; correct the model card."
        )
    codes = {
        part: _code(name, part, terminology[part])
        for part in ("category", "type", "modifier", "region", "region_modifier")
        if terminology.get(part)
    }
    return Entry(CONTEXT, **({"category": MORPHOLOGY, "region": LUNG} | codes))


def _code(name: str, part: str, value: Any) -> Code:
    keys = (
        ("CodingSchemeDesignator", "scheme"),
        ("CodeValue", "value"),
        ("CodeMeaning", "meaning"),
    )
    if isinstance(value, Mapping):
        found = [value.get(long, value.get(short)) for long, short in keys]
        if all(isinstance(text, str) and text for text in found):
            return Code(*found)
    raise InputError(
        f"The terminology of the class '{name}' is not valid: '{part}' must hold "
        "CodingSchemeDesignator, CodeValue and CodeMeaning; correct the model card."
    )


def _key(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


@lru_cache(maxsize=1)
def _shipped_entries() -> dict[str, Entry]:
    """Entries of the shipped file by the label their class has here (key '3dSlicerLabel')."""
    try:
        path = terminology_file()
        codes = json.loads(path.read_text(encoding="utf-8"))["SegmentationCodes"]["Category"]
    except (InputError, OSError, ValueError, KeyError) as error:
        _log.warning("Segments are coded as lesions of the lung only: %s", error)
        return {}
    return {
        _key(kind["3dSlicerLabel"]): Entry(
            CONTEXT,
            _code(kind["CodeMeaning"], "category", category),
            _code(kind["CodeMeaning"], "type", kind),
            region=LUNG,
        )
        for category in codes
        for kind in category["Type"]
    }
