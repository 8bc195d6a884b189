"""The segments of a DICOM Segmentation: what each is, by which algorithm, in which colour.

DICOM PS3.3 C.8.20.4 (Segment Description Macro) and 10.16 (Algorithm Identification Macro).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import SegmentDescription
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.codedict import codes

import CovidLesionSegLogic
from CovidLesionSegLogic.errors import InputError
from CovidLesionSegLogic.mrml.segments import LUNG_COLOR, segment_name
from CovidLesionSegLogic.mrml.terminology import LEFT_LUNG, RIGHT_LUNG, Code, Entry, entry_for
from CovidLesionSegLogic.pipeline import SegmentationResult

MANUFACTURER = "CovidLesionSeg contributors"
PRODUCT = "CovidLesionSeg"
LONGEST = 64
"""Characters of a value of the representation LO, and of a code's meaning."""


@dataclass(frozen=True)
class Segment:
    """One segment before it is written: the voxels of ``labels`` that are ``label``.

    ``labels`` has shape (z, y, x); ``color`` is sRGB, 0...255; ``kind`` is "AUTOMATIC" or
    "SEMIAUTOMATIC" (PS3.3 C.8.20.2).
    """

    name: str
    labels: NDArray[np.uint8]
    label: int
    color: tuple[int, int, int]
    entry: Entry
    kind: str
    algorithm: AlgorithmIdentificationSequence

    def description(self, number: int, series_uid: str) -> SegmentDescription:
        """The item of the Segment Sequence; ``number`` counts from 1.

        The tracking identifiers name the finding, not the run: the same class of the same CT
        series always has the same.
        """
        identity = f"{self.name} of CT series {series_uid}"
        region = self.entry.region
        description = SegmentDescription(
            segment_number=number,
            segment_label=self.name,
            segmented_property_category=_concept(self.entry.category),
            segmented_property_type=_concept(self.entry.type),
            algorithm_type=self.kind,
            algorithm_identification=self.algorithm,
            tracking_uid=named_uid("segment", identity),
            tracking_id=identity,
            anatomic_regions=[_concept(region)] if region.value else None,
            display_color=CIELabColor.from_rgb(*self.color),
        )
        _add_modifier(
            description.SegmentedPropertyTypeCodeSequence[0],
            "SegmentedPropertyTypeModifierCodeSequence",
            self.entry.modifier,
        )
        if region.value:
            _add_modifier(
                description.AnatomicRegionSequence[0],
                "AnatomicRegionModifierSequence",
                self.entry.region_modifier,
            )
        return description


def segments_of(result: SegmentationResult) -> list[Segment]:
    """The lesion classes that have voxels, then the lungs that have.

    Raises
    ------
    InputError
        There is no voxel at all, or a class's code does not fit into DICOM.
    """
    lesions = [
        Segment(
            segment_name(one.name)[:LONGEST].replace("\\", "/"),
            result.labels,
            one.label,
            one.color,
            entry_for(one.name, one.terminology),
            "AUTOMATIC",
            _by_model(result.provenance.get("model"), "lesions"),
        )
        for one in result.classes
    ]
    kind, algorithm = _lung_algorithm(result.provenance.get("lungs") or {})
    lungs = [
        Segment(name, result.lungs, label, LUNG_COLOR, entry, kind, algorithm)
        for name, label, entry in (("Right lung", 1, RIGHT_LUNG), ("Left lung", 2, LEFT_LUNG))
    ]
    found = [s for s in (*lesions, *lungs) if any((p == s.label).any() for p in s.labels)]
    if not found:
        raise InputError(
            f"The result of '{result.ct.name}' holds neither lesions nor lungs, and a DICOM "
            "Segmentation cannot be empty: choose another format."
        )
    return found


def named_uid(*parts: str) -> str:
    """A UID that is the same for the same ``parts`` (a UUID as PS3.5 B.2 has it)."""
    name = "\n".join((PRODUCT, *parts))
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, name).int}"


def _by_model(record: Mapping[str, Any] | None, what: str) -> AlgorithmIdentificationSequence:
    record = record or {}
    name = f"{PRODUCT} {record.get('name') or what}"
    version = str(record.get("version") or CovidLesionSegLogic.__version__)
    return _algorithm(name, version, codes.cid7162.ArtificialIntelligence)


def _lung_algorithm(record: Mapping[str, Any]) -> tuple[str, AlgorithmIdentificationSequence]:
    """How the lungs were found, by the provenance's record of it."""
    if record.get("model"):
        return "AUTOMATIC", _by_model(record["model"], "lungs")
    family = codes.cid7162.MorphologicalOperations
    if record.get("method") == "given":
        # Who made the mask, and how, is not known here; a user's hand is in it in any case.
        algorithm = _algorithm("Lung mask given by the user", "not known", family)
        return "SEMIAUTOMATIC", algorithm
    version = CovidLesionSegLogic.__version__
    return "AUTOMATIC", _algorithm(f"{PRODUCT} lungs by density", version, family)


def _algorithm(name: str, version: str, family: Any) -> AlgorithmIdentificationSequence:
    return AlgorithmIdentificationSequence(
        name=name[:LONGEST], family=family, version=version[:LONGEST], source=MANUFACTURER
    )


def _concept(code: Code) -> CodedConcept:
    if len(code.scheme) > 16 or len(code.meaning) > LONGEST or "\\" in "".join(code):
        raise InputError(
            f"The code {code} does not fit into DICOM (16 characters of scheme, {LONGEST} of "
            "meaning, no backslash); correct the terminology in the model card."
        )
    return CodedConcept(code.value, code.scheme, code.meaning)


def _add_modifier(item: Dataset, keyword: str, code: Code) -> None:
    if code.value:
        setattr(item, keyword, [_concept(code)])
