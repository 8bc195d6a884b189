"""What a derived DICOM object takes over from its CT: patient, study and the images it shows.

Headers of real CTs are often not quite to the standard. What is taken over is checked against the
standard's value representations (DICOM PS3.5 6.2) and left empty where it fails; what makes an
object findable and its references true (UIDs, Patient ID) is refused instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.config import RAISE
from pydicom.datadict import dictionary_VR
from pydicom.multival import MultiValue
from pydicom.uid import UID
from pydicom.valuerep import validate_value

from CovidLesionSegLogic.ct.dicom_attributes import strings
from CovidLesionSegLogic.ct.dicom_open import open_dicom
from CovidLesionSegLogic.ct.dicom_scan import quiet_pydicom
from CovidLesionSegLogic.ct.volume import CTVolume, SourcePlane
from CovidLesionSegLogic.errors import InputError, RequestError

REQUIRED_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
"""Type 2: there in any case, empty where unknown (PS3.3 C.7.1.1, C.7.2.1)."""

OPTIONAL = (
    "IssuerOfPatientID",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "StudyDescription",
    "TimezoneOffsetFromUTC",
)
UTC_OFFSET = re.compile(r"[+-](0\d|1[0-4])[0-5]\d\Z")
"""PS3.3 C.12.1.1.8, Timezone Offset From UTC."""

OTHERS = (
    "SpecificCharacterSet",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "PositionReferenceIndicator",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
    "Manufacturer",
    "ManufacturerModelName",
)


@dataclass(frozen=True)
class DicomSource:
    """Where a CT comes from.

    Parameters
    ----------
    subject
        Attributes of patient and study, all valid, to be copied as they are (text, UTF-8).
    image
        The same of the images: position reference, loss of compression, the scanner's maker.
    series_uid, series_number
        Of the CT's series; the number is None where the header has none.
    frame_of_reference
        Frame of Reference UID; "" where the headers have none.
    images
        One plane of every image (file) used, in the order of the slices.
    """

    subject: Dataset
    image: Dataset
    series_uid: str
    series_number: int | None
    frame_of_reference: str
    images: tuple[SourcePlane, ...]


def dicom_source(ct: CTVolume) -> DicomSource:
    """Patient, study, series and images of a CT read from DICOM.

    Reads one file's header again; the rest was noted when the CT was read.

    Raises
    ------
    RequestError
        The CT does not come from DICOM.
    InputError
        The images are no longer there, or lack an identifier without which nothing can refer to
        them; the sentence names the attribute.
    """
    planes = [plane for plane in ct.planes if plane is not None]
    if not planes:
        raise RequestError(
            f"A DICOM Segmentation (dicom-seg) needs a CT read from DICOM, but {_called(ct)} is "
            f"{ct.source.get('format') or 'none'}: give the DICOM series, or choose another format."
        )
    header = _header(planes[0].path)
    path = planes[0].path
    images = _images(planes)
    frames = {plane.frame_of_reference for plane in planes}
    if len(frames) > 1:
        raise InputError(
            f"The slices of the series in {path.parent} have different FrameOfReferenceUIDs, so a "
            "DICOM Segmentation cannot place them together: export the series again."
        )
    frame_of_reference = frames.pop()
    if frame_of_reference:
        _check_uid(frame_of_reference, "FrameOfReferenceUID", path)
    series_uid = str(header.get("SeriesInstanceUID") or "")
    if series_uid != ct.source.get("series_uid"):
        raise InputError(
            f"{path} is no longer the image that was read (its SeriesInstanceUID differs): run "
            "again."
        )
    _check_uid(series_uid, "SeriesInstanceUID", path)
    number = _valid(header, "SeriesNumber")
    return DicomSource(
        subject=_subject(header, path),
        image=_image(header, path),
        series_uid=series_uid,
        series_number=int(number) if number else None,
        frame_of_reference=frame_of_reference,
        images=images,
    )


def _called(ct: CTVolume) -> str:
    return str(ct.source.get("path") or f"'{ct.name}'")


def _header(path: Path) -> Dataset:
    wanted = [*REQUIRED_EMPTY, *OPTIONAL, *OTHERS]
    try:
        with quiet_pydicom():
            return open_dicom(path, wanted)[0]
    except Exception as error:  # pydicom raises many kinds on damaged files
        raise InputError(
            f"{path} cannot be read again for a DICOM Segmentation ({error}): keep the images in "
            "place until the files are written."
        ) from error


def _images(planes: list[SourcePlane]) -> tuple[SourcePlane, ...]:
    images: dict[str, SourcePlane] = {}
    for plane in planes:
        _check_uid(plane.sop_instance, "SOPInstanceUID", plane.path)
        other = images.setdefault(plane.sop_instance, plane)
        if other.path != plane.path:
            raise InputError(
                f"{other.path} and {plane.path} have the same SOPInstanceUID, so a DICOM "
                "Segmentation cannot refer to either: export the series again."
            )
    return tuple(images.values())


def _check_uid(uid: str, keyword: str, path: Path) -> None:
    if not UID(uid).is_valid:
        raise InputError(
            f"{path} has no valid {keyword} ({uid or 'none'}), so no DICOM Segmentation can refer "
            "to it: export the series again, or choose another format."
        )


def _subject(header: Dataset, path: Path) -> Dataset:
    subject = Dataset()
    study_uid = str(header.get("StudyInstanceUID") or "")
    _check_uid(study_uid, "StudyInstanceUID", path)
    subject.StudyInstanceUID = study_uid
    for keyword in REQUIRED_EMPTY:
        setattr(subject, keyword, _valid(header, keyword))
    for keyword in OPTIONAL:
        if value := _valid(header, keyword):
            setattr(subject, keyword, value)
    if not subject.PatientID and _has_value(header, "PatientID"):
        # An empty one would file the segmentation under another patient than its CT.
        raise InputError(
            f"{path} has a PatientID that the DICOM standard does not allow: correct it in the "
            "images, or choose another format."
        )
    if not UTC_OFFSET.match(subject.get("TimezoneOffsetFromUTC", "+0000")):
        del subject.TimezoneOffsetFromUTC
    if subject.PatientSex not in ("", "F", "M", "O"):
        subject.PatientSex = ""
    if _valid(header, "PatientIdentityRemoved") == "YES":
        subject.PatientIdentityRemoved = "YES"
        method = _valid(header, "DeidentificationMethod", several=True)
        subject.DeidentificationMethod = method or "as the source images"
    return subject


def _image(header: Dataset, path: Path) -> Dataset:
    image = Dataset()
    image.PositionReferenceIndicator = _valid(header, "PositionReferenceIndicator")
    for keyword in ("Manufacturer", "ManufacturerModelName"):
        if value := _valid(header, keyword):
            setattr(image, keyword, value)
    # What is derived from an image compressed with loss says so too (PS3.3 C.7.6.1.1.5).
    image.LossyImageCompression = "00"
    if _valid(header, "LossyImageCompression") != "01":
        return image
    image.LossyImageCompression = "01"
    ratio = _valid(header, "LossyImageCompressionRatio", several=True)
    method = _valid(header, "LossyImageCompressionMethod", several=True)
    if not ratio or not method or len(strings(ratio)) != len(strings(method)):
        raise InputError(
            f"{path} was compressed with loss, but its header does not say how strongly and how "
            "(LossyImageCompressionRatio, LossyImageCompressionMethod), as a DICOM Segmentation "
            "must repeat: export the series again, or choose another format."
        )
    image.LossyImageCompressionRatio = ratio
    image.LossyImageCompressionMethod = method
    return image


def _has_value(header: Dataset, keyword: str) -> bool:
    """Whether the file has anything there, valid or not."""
    element = header.get_item(keyword)
    value = b"" if element is None else element.value
    return bool(value.strip(b" \0") if isinstance(value, bytes) else value)


def _valid(header: Dataset, keyword: str, *, several: bool = False) -> Any:
    """The value as text where the standard allows it, else ""; a list where it has several."""
    try:
        values = _values(header, keyword)
        for text in values:
            validate_value(dictionary_VR(keyword), text, RAISE)
    except (ValueError, TypeError):
        return ""
    if len(values) == 1:
        return values[0]
    return list(values) if several and all(values) else ""


def _values(header: Dataset, keyword: str) -> tuple[str, ...]:
    """All values as text; ValueError where the value is not of the kind that the header says."""
    value = header.get(keyword)
    if value is None or isinstance(value, (str, MultiValue)):
        return strings(value)
    return (str(value).strip(),)  # a name or a number, of which pydicom makes classes of its own
