"""What a CT volume needs to know about each DICOM image, read without its pixels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pydicom import Dataset

CT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT Image Storage",
}

KEYWORDS = (
    "SpecificCharacterSet ImageType SOPClassUID SOPInstanceUID Modality Manufacturer "
    "ManufacturerModelName SeriesDescription SliceThickness ConvolutionKernel ContentTime "
    "AcquisitionTime StudyInstanceUID SeriesInstanceUID SeriesNumber AcquisitionNumber "
    "InstanceNumber ImagePositionPatient ImageOrientationPatient TemporalPositionIdentifier "
    "SamplesPerPixel PhotometricInterpretation NumberOfFrames Rows Columns PixelSpacing "
    "BitsAllocated BitsStored PixelRepresentation PixelPaddingValue PixelPaddingRangeLimit "
    "RescaleIntercept RescaleSlope RescaleType LossyImageCompression "
    "SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence"
).split()


@dataclass(frozen=True)
class FrameHeader:
    """One image plane: a single-frame file or one frame of a multi-frame file (DICOM PS3.3).

    ``position`` and the two unit vectors of ``orientation`` (along a row, along a column) are
    LPS mm; ``spacing`` is (between rows, between columns) mm; ``padding`` is the inclusive range
    of stored values that mark "no data"; ``file_rescale`` is the first frame's slope and intercept. A value that is absent or malformed is None.
    """

    path: Path
    frame: int
    frames: int
    transfer_syntax: str
    complete: bool
    sop_class: str
    sop_uid: str
    series_uid: str
    study_uid: str
    modality: str
    image_type: tuple[str, ...]
    description: str
    series_number: int | None
    instance_number: int | None
    rows: int
    columns: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    signed: bool
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
        normal = np.cross(self.orientation[:3], self.orientation[3:])
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
    """
    import pydicom

    with path.open("rb") as stream:
        try:
            dataset = pydicom.dcmread(
                stream, stop_before_pixels=True, specific_tags=list(KEYWORDS), force=True
            )
            complete = _pixels_complete(stream, dataset)
            return list(_frames(path, dataset, complete))
        except Exception as error:  # pydicom raises many kinds on damaged files
            raise ValueError(f"{type(error).__name__}: {error}") from error


def looks_like_dicom(path: Path) -> bool:
    """Whether the file has the DICOM mark, or starts as old files without preamble do."""
    try:
        with path.open("rb") as stream:
            head = stream.read(132)
    except OSError:
        return False
    if head[128:132] == b"DICM":
        return True
    # group 0002 or 0008 first, then a small even-group element: written before Part 10 existed
    return len(head) == 132 and head[0] in (2, 8) and head[1] == 0 and head[3] == 0 and (
        head[4:6] in (b"UI", b"UL", b"CS", b"LO", b"SH", b"DA") or head[6:8] == b"\0\0"
    )


def _pixels_complete(stream: BinaryIO, dataset: Dataset) -> bool:
    """Whether the pixel data that starts here is all there, judged by the lengths it declares."""
    syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    if syntax is not None and syntax.is_deflated:
        return True  # zlib itself notices
    start = stream.tell()
    size = os.fstat(stream.fileno()).st_size
    if start >= size:
        return False
    if syntax is None or not syntax.is_encapsulated:
        frames = int(dataset.get("NumberOfFrames") or 1)
        bits = int(dataset.get("BitsAllocated") or 16) * int(dataset.get("SamplesPerPixel") or 1)
        pixels = int(dataset.get("Rows") or 0) * int(dataset.get("Columns") or 0) * frames
        return start + 8 + pixels * bits // 8 <= size
    stream.seek(start + 12)  # tag, VR, reserved, undefined length
    while True:
        item = stream.read(8)
        if len(item) < 8:
            return False
        if item[:4] == b"\xfe\xff\xdd\xe0":
            return True
        end = stream.tell() + int.from_bytes(item[4:], "little")
        if item[:4] != b"\xfe\xff\x00\xe0" or end > size:
            return False
        stream.seek(end)


def _frames(path: Path, dataset: Dataset, complete: bool) -> Iterator[FrameHeader]:
    get = dataset.get
    meta = getattr(dataset, "file_meta", None)
    signed = _integer(get("PixelRepresentation")) == 1
    header = FrameHeader(
        path=path,
        frame=0,
        frames=max(1, _integer(get("NumberOfFrames")) or 1),
        transfer_syntax=str((meta.get("TransferSyntaxUID") if meta else None) or ""),
        complete=complete,
        sop_class=str(get("SOPClassUID") or ""),
        sop_uid=str(get("SOPInstanceUID") or ""),
        series_uid=str(get("SeriesInstanceUID") or ""),
        study_uid=str(get("StudyInstanceUID") or ""),
        modality=str(get("Modality") or "").strip().upper(),
        image_type=_upper(get("ImageType")),
        description=str(get("SeriesDescription") or "").strip(),
        series_number=_integer(get("SeriesNumber")),
        instance_number=_integer(get("InstanceNumber")),
        rows=_integer(get("Rows")) or 0,
        columns=_integer(get("Columns")) or 0,
        samples=_integer(get("SamplesPerPixel")) or 1,
        photometric=str(get("PhotometricInterpretation") or "").strip(),
        bits_allocated=_integer(get("BitsAllocated")) or 16,
        bits_stored=_integer(get("BitsStored")) or _integer(get("BitsAllocated")) or 16,
        signed=signed,
        position=_floats(get("ImagePositionPatient"), 3),
        orientation=_floats(get("ImageOrientationPatient"), 6),
        spacing=_floats(get("PixelSpacing"), 2),
        slope=_number(get("RescaleSlope")),
        intercept=_number(get("RescaleIntercept")),
        file_rescale=(1.0, 0.0),
        rescale_type=str(get("RescaleType") or "").strip().upper(),
        padding=_padding(dataset, signed),
        lossy=str(get("LossyImageCompression") or "").strip() == "01",
        manufacturer=str(get("Manufacturer") or "").strip(),
        model=str(get("ManufacturerModelName") or "").strip(),
        kernel="\\".join(_strings(get("ConvolutionKernel"))),
        thickness=_number(get("SliceThickness")),
        phase=tuple(
            (keyword, str(get(keyword) if get(keyword) is not None else ""))
            for keyword in ("AcquisitionNumber", "TemporalPositionIdentifier", "AcquisitionTime",
                            "ContentTime", "ImageType", "ConvolutionKernel")
        ),
    )
    shared = (get("SharedFunctionalGroupsSequence") or [None])[0]
    groups = get("PerFrameFunctionalGroupsSequence") or []
    if not groups:
        yield replace(header, file_rescale=header.rescale)
        return
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

    slope = _number(value("PixelValueTransformationSequence", "RescaleSlope"))
    frame_type = _upper(value("CTImageFrameTypeSequence", "FrameType"))
    kernel = _strings(value("CTReconstructionSequence", "ConvolutionKernel"))
    return replace(
        header,
        position=_floats(value("PlanePositionSequence", "ImagePositionPatient"), 3),
        orientation=_floats(value("PlaneOrientationSequence", "ImageOrientationPatient"), 6),
        spacing=_floats(value("PixelMeasuresSequence", "PixelSpacing"), 2),
        thickness=_number(value("PixelMeasuresSequence", "SliceThickness")),
        slope=slope if slope is not None else header.slope,
        intercept=(
            _number(value("PixelValueTransformationSequence", "RescaleIntercept"))
            if slope is not None
            else header.intercept
        ),
        rescale_type=str(
            value("PixelValueTransformationSequence", "RescaleType") or header.rescale_type
        ),
        image_type=frame_type or header.image_type,
        kernel="\\".join(kernel) or header.kernel,
        phase=(
            ("TemporalPositionIndex", str(value("FrameContentSequence", "TemporalPositionIndex"))),
            (
                "FrameAcquisitionNumber",
                str(value("FrameContentSequence", "FrameAcquisitionNumber")),
            ),
            ("StackID", str(value("FrameContentSequence", "StackID"))),
        ),
    )


def _padding(dataset: Dataset, signed: bool) -> tuple[int, int] | None:
    """Stored values that mean "outside the scan" (PS3.3 C.7.5.1.1.2), lowest and highest."""
    ends = [
        _integer(dataset.get(keyword)) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")
    ]
    if ends[0] is None:
        return None
    # often written as US although the pixels are signed: 63536 stands for -2000
    fixed = [
        value - 65536 if signed and value > 32767 else value for value in ends if value is not None
    ]
    return min(fixed), max(fixed)


def _strings(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    values = [value] if isinstance(value, str) else list(value)
    return tuple(str(one).strip() for one in values)


def _upper(value: Any) -> tuple[str, ...]:
    return tuple(one.upper() for one in _strings(value))


def _convert(value: Any, kind: Callable[[Any], Any]) -> Any:
    try:
        return kind(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _number(value: Any) -> float | None:
    number = None if value is None else _convert(value, float)
    return number if number is not None and np.isfinite(number) else None


def _integer(value: Any) -> int | None:
    return None if value is None else _convert(value, int)


def _floats(value: Any, count: int) -> tuple[float, ...] | None:
    if value is None:
        return None
    numbers = _convert(value, lambda values: tuple(float(one) for one in values))
    if numbers is None or len(numbers) != count or not np.isfinite(numbers).all():
        return None
    return tuple(numbers)
