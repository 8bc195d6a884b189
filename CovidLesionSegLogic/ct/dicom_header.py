"""What a CT volume needs to know about each DICOM image, read without its pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.dicom_attributes import floats, integer, number, strings, text, upper
from CovidLesionSegLogic.ct.dicom_names import name_words
from CovidLesionSegLogic.ct.dicom_open import open_dicom
from CovidLesionSegLogic.ct.volume import FARTHEST_MM
from CovidLesionSegLogic.errors import quoted

if TYPE_CHECKING:
    from pydicom import Dataset

CT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT Image Storage",
}

KEYWORDS = (
    "SpecificCharacterSet",
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "FrameOfReferenceUID",
    "Modality",
    "Manufacturer",
    "ManufacturerModelName",
    "SeriesDescription",
    "BodyPartExamined",
    "PatientName",
    "SliceThickness",
    "ConvolutionKernel",
    "ContentTime",
    "AcquisitionTime",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "AcquisitionNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "TemporalPositionIdentifier",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "BitsAllocated",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "LossyImageCompression",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)


LARGEST_COSINE = 2.0
"""What lies beyond is malformed; smaller faults are told apart where slices are placed."""


@dataclass(frozen=True)
class FrameHeader:
    """One image plane: a single-frame file or one frame of a multi-frame file (DICOM PS3.3).

    ``position`` and the two unit vectors of ``orientation`` (along a row, along a column) are
    LPS mm; ``spacing`` is (between rows, between columns) mm; ``padding`` is the inclusive range
    of stored values that mark "no data"; ``file_rescale`` is the slope and intercept of the file's
    first frame; ``phase`` holds the attributes that tell volumes within a series apart;
    ``name_words`` are the words of the patient's name in small letters, read for nothing but to
    keep them out of texts. A value that is absent or malformed is None.
    """

    path: Path
    frame: int
    frames: int
    transfer_syntax: str
    complete: bool
    sop_class: str
    sop_instance: str
    frame_of_reference: str
    series_uid: str
    study_uid: str
    modality: str
    image_type: tuple[str, ...]
    description: str
    body_part: str
    name_words: frozenset[str]
    series_number: int | None
    rows: int
    columns: int
    samples: int
    photometric: str
    signed: bool
    representation: int | None
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    slope: float | None
    intercept: float | None
    file_rescale: tuple[float, float]
    rescale_type: str
    padding: tuple[int, int] | None
    lossy: bool
    manufacturer: str
    model: str
    kernel: str
    thickness: float | None
    phase: tuple[tuple[str, str], ...]

    @property
    def normal(self) -> NDArray[np.float64] | None:
        """Unit vector across the slice: row x column direction, LPS."""
        if self.orientation is None:
            return None
        normal = np.cross(self.orientation[:3], self.orientation[3:]).astype(np.float64)
        length = float(np.linalg.norm(normal))
        return normal / length if length > 0 else None

    @property
    def rescale(self) -> tuple[float, float]:
        """Slope and intercept from stored values to HU; 1 and 0 where the header has none."""
        return (
            self.slope if self.slope is not None else 1.0,
            self.intercept if self.intercept is not None else 0.0,
        )

    @property
    def is_localizer(self) -> bool:
        """Whether this is a scout view, which is never part of a volume."""
        return "LOCALIZER" in self.image_type

    @property
    def is_derived(self) -> bool:
        """Whether the image was computed from others (PS3.3 C.7.6.1.1.2: reformats, captures)."""
        return "DERIVED" in self.image_type[:1] or "SECONDARY" in self.image_type[1:2]


def read_headers(path: Path) -> list[FrameHeader]:
    """The frames of one DICOM file.

    Raises
    ------
    ValueError
        When the file carries the DICOM mark but cannot be parsed; the message is the reason.
    OSError
        When it cannot be read.
    """
    try:
        dataset, complete = open_dicom(path, KEYWORDS)
        return list(_frames(path, dataset, complete))
    except Exception as error:  # pydicom raises many kinds on damaged files
        if isinstance(error, OSError) and error.errno is not None:  # and OSError where data end
            raise
        raise ValueError(quoted(f"{type(error).__name__}: {error}")) from error


def _frames(path: Path, dataset: Dataset, complete: bool) -> Iterator[FrameHeader]:
    get = dataset.get
    meta = getattr(dataset, "file_meta", None)
    signed = integer(get("PixelRepresentation")) == 1
    header = FrameHeader(
        path=path,
        frame=0,
        frames=max(1, integer(get("NumberOfFrames")) or 1),
        transfer_syntax=text(meta.get("TransferSyntaxUID") if meta else None),
        complete=complete,
        sop_class=text(get("SOPClassUID")),
        sop_instance=text(get("SOPInstanceUID")),
        frame_of_reference=text(get("FrameOfReferenceUID")),
        series_uid=text(get("SeriesInstanceUID")),
        study_uid=text(get("StudyInstanceUID")),
        modality=text(get("Modality")).upper(),
        image_type=upper(get("ImageType")),
        description=text(get("SeriesDescription")),
        body_part=text(get("BodyPartExamined")).upper(),
        name_words=name_words(str(get("PatientName") or "")),
        series_number=integer(get("SeriesNumber")),
        rows=integer(get("Rows")) or 0,
        columns=integer(get("Columns")) or 0,
        samples=integer(get("SamplesPerPixel")) or 1,
        photometric=text(get("PhotometricInterpretation")),
        signed=signed,
        representation=integer(get("PixelRepresentation")),
        position=floats(get("ImagePositionPatient"), 3, FARTHEST_MM),
        orientation=floats(get("ImageOrientationPatient"), 6, LARGEST_COSINE),
        spacing=floats(get("PixelSpacing"), 2),
        slope=number(get("RescaleSlope")),
        intercept=number(get("RescaleIntercept")),
        file_rescale=(1.0, 0.0),
        rescale_type=text(get("RescaleType")).upper(),
        padding=_padding(dataset, signed),
        lossy=text(get("LossyImageCompression")) == "01",
        manufacturer=text(get("Manufacturer")),
        model=text(get("ManufacturerModelName")),
        kernel="\\".join(strings(get("ConvolutionKernel"))),
        thickness=number(get("SliceThickness")),
        phase=tuple(
            (keyword, text(get(keyword)))
            for keyword in (
                "AcquisitionNumber",
                "TemporalPositionIdentifier",
                "AcquisitionTime",
                "ContentTime",
                "ImageType",
                "ConvolutionKernel",
            )
        ),
    )
    shared = (get("SharedFunctionalGroupsSequence") or [None])[0]
    groups = get("PerFrameFunctionalGroupsSequence") or []
    if not groups:
        if header.frames > 1:  # the one position in the header cannot be that of every frame
            header = replace(header, position=None)
        yield replace(header, file_rescale=header.rescale)
        return
    if len(groups) != header.frames:
        raise ValueError(
            f"it describes {len(groups)} frames (PerFrameFunctionalGroupsSequence) but has "
            f"{header.frames} (NumberOfFrames)"
        )
    for index, group in enumerate(groups):
        frame = _enhanced(replace(header, frame=index), group, shared)
        header = header if index else replace(header, file_rescale=frame.rescale)
        yield replace(frame, file_rescale=header.file_rescale)


def _enhanced(header: FrameHeader, group: Dataset, shared: Dataset | None) -> FrameHeader:
    """The frame's own values from the functional groups (PS3.3 C.7.6.16, A.38)."""

    def value(sequence: str, keyword: str) -> Any:
        for source in (group, shared):
            items = source.get(sequence) if source is not None else None
            if items and items[0].get(keyword) is not None:
                return items[0].get(keyword)
        return None

    slope = number(value("PixelValueTransformationSequence", "RescaleSlope"))
    frame_type = upper(value("CTImageFrameTypeSequence", "FrameType"))
    kernel = strings(value("CTReconstructionSequence", "ConvolutionKernel"))
    return replace(
        header,
        position=floats(value("PlanePositionSequence", "ImagePositionPatient"), 3, FARTHEST_MM),
        orientation=floats(
            value("PlaneOrientationSequence", "ImageOrientationPatient"), 6, LARGEST_COSINE
        ),
        spacing=floats(value("PixelMeasuresSequence", "PixelSpacing"), 2),
        thickness=number(value("PixelMeasuresSequence", "SliceThickness")),
        slope=slope if slope is not None else header.slope,
        intercept=(
            number(value("PixelValueTransformationSequence", "RescaleIntercept"))
            if slope is not None
            else header.intercept
        ),
        rescale_type=text(value("PixelValueTransformationSequence", "RescaleType")).upper()
        or header.rescale_type,
        image_type=frame_type or header.image_type,
        kernel="\\".join(kernel) or header.kernel,
        phase=tuple(
            (keyword, text(value("FrameContentSequence", keyword)))
            for keyword in ("TemporalPositionIndex", "FrameAcquisitionNumber", "StackID")
        ),
    )


def _padding(dataset: Dataset, signed: bool) -> tuple[int, int] | None:
    """Stored values that mean "outside the scan" (PS3.3 C.7.5.1.1.2), lowest and highest."""
    keywords = "PixelPaddingValue", "PixelPaddingRangeLimit"
    ends = [integer(dataset.get(keyword)) for keyword in keywords]
    if ends[0] is None:
        return None
    # often written as US although the pixels are signed: 63536 stands for -2000
    fixed = [
        value - 65536 if signed and value > 32767 else value for value in ends if value is not None
    ]
    return min(fixed), max(fixed)
