"""A result as a DICOM Segmentation (SEG), which refers to the CT images it was made from.

DICOM PS3.3 A.51 (Segmentation IOD), C.8.20 (its modules). BINARY, one frame for every segment and
slice that has voxels, at the CT's full matrix. highdicom packs the pixels and builds the modules.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from highdicom import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence
from highdicom.seg import Segmentation
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pydicom.valuerep import DA, DT, TM, format_number_as_ds

import CovidLesionSegLogic
from CovidLesionSegLogic.ct.atomic import atomic_path
from CovidLesionSegLogic.ct.volume import CTVolume, SourcePlane
from CovidLesionSegLogic.pipeline import SegmentationResult
from CovidLesionSegLogic.pipeline.provenance import now
from CovidLesionSegLogic.report.dicom_segments import (
    MANUFACTURER,
    PRODUCT,
    Segment,
    named_uid,
    segments_of,
)
from CovidLesionSegLogic.report.dicom_source import REQUIRED_EMPTY, DicomSource, dicom_source

CONTENT_LABEL = "LUNG_LESIONS"
CONTENT_DESCRIPTION = "Lung lesions; research software, not for clinical use"
SERIES_NUMBER_OFFSET = 1000
"""Puts the segmentation behind the scanner's own series in the lists of viewers."""


def write_dicom_seg(result: SegmentationResult, path: str | Path) -> Path:
    """Write lesions and lungs as a DICOM Segmentation; the file appears whole or not at all.

    Its UIDs follow from the result (pixels, source images, provenance with the time of the run)
    and its dates are the run's, so writing one result twice gives the same file, byte for byte,
    and another run gives another instance.

    Parameters
    ----------
    result
        Its CT must come from DICOM, and the images must still be where they were read.
    path
        Usually ends in ``.seg.dcm``.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    RequestError
        The CT does not come from DICOM, or the folder cannot be written.
    InputError
        The result holds neither lesions nor lungs, or the source's headers lack what a reference
        needs (:func:`.dicom_source.dicom_source`).
    """
    path = Path(path)
    seg = build_dicom_seg(result)
    with atomic_path(path) as temporary:
        seg.save_as(temporary, enforce_file_format=True)
    return path


def build_dicom_seg(result: SegmentationResult) -> Segmentation:
    """The dataset that :func:`write_dicom_seg` writes; errors as there."""
    source = dicom_source(result.ct)
    segments = segments_of(result)
    when = _run_time(result, source)
    uid = partial(named_uid, _fingerprint(result, source, when))
    filled = [k for k in range(len(result.labels)) if _has_voxels(segments, k)]
    model = result.provenance.get("model") or {}
    seg = Segmentation(
        source_images=[_stand_in(result.ct, source, uid("frame of reference"))],
        pixel_array=_frames(segments, filled),
        segmentation_type="BINARY",
        segment_descriptions=[
            segment.description(number, source.series_uid)
            for number, segment in enumerate(segments, 1)
        ],
        series_instance_uid=uid("series"),
        series_number=_series_number(source.series_number),
        sop_instance_uid=uid("instance"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=PRODUCT,
        software_versions=CovidLesionSegLogic.__version__,
        # Software has no serial number: the weights tell one installed model from another.
        device_serial_number=str(model.get("sha256") or "none")[:16],
        content_label=CONTENT_LABEL,
        content_description=CONTENT_DESCRIPTION,
        series_description=f"Lung lesions ({PRODUCT} {model.get('name') or ''}".rstrip()[:63] + ")",
        # Bit-packed pixels have one encoding that every reader knows: RLE and JPEG-LS do not take
        # one bit per pixel, and deflated or JPEG 2000 Segmentations are read by few.
        transfer_syntax_uid=ExplicitVRLittleEndian,
        specific_character_set="ISO_IR 192",
        pixel_measures=_measures(result.ct),
        plane_orientation=_orientation(result.ct),
        plane_positions=[PlanePositionSequence("PATIENT", _position(result.ct, k)) for k in filled],
    )
    seg.update(source.subject)
    _refer_to_images(seg, source)
    _refer_to_planes(seg, result.ct)
    _state_times(seg, when)
    seg.ContentCreatorName = ""  # type 2; highdicom leaves it out
    seg.BodyPartExamined = "CHEST"
    seg.DimensionOrganizationSequence[0].DimensionOrganizationUID = uid("dimensions")
    for index in seg.DimensionIndexSequence:
        index.DimensionOrganizationUID = uid("dimensions")
    _end_in_zero(seg)
    return seg


def _has_voxels(segments: Sequence[Segment], k: int) -> bool:
    return any((segment.labels[k] == segment.label).any() for segment in segments)


def _frames(segments: Sequence[Segment], filled: Sequence[int]) -> NDArray[np.uint8]:
    """Shape (filled slices, y, x, segments), 0 or 1; in memory, each segment's slices are whole."""
    frames = np.empty((len(segments), len(filled), *segments[0].labels.shape[1:]), np.uint8)
    for segment, planes in zip(segments, frames, strict=True):
        for plane, k in zip(planes, filled, strict=True):
            np.equal(segment.labels[k], segment.label, out=plane)
    return np.moveaxis(frames, 0, -1)


def _position(ct: CTVolume, k: int) -> list[float]:
    """Centre of the first voxel of slice ``k``, LPS mm."""
    position = np.asarray(ct.origin) + ct.direction[:, 2] * ct.spacing[2] * k
    return [float(value) for value in position]


def _orientation(ct: CTVolume) -> PlaneOrientationSequence:
    cosines = [*ct.direction[:, 0], *ct.direction[:, 1]]
    return PlaneOrientationSequence("PATIENT", [float(value) for value in cosines])


def _measures(ct: CTVolume) -> PixelMeasuresSequence:
    """Spacing of the CT's grid, which is also how thick a voxel is."""
    x, y, z = ct.spacing
    return PixelMeasuresSequence(pixel_spacing=[y, x], slice_thickness=z, spacing_between_slices=z)


def _stand_in(ct: CTVolume, source: DicomSource, own_frame_of_reference: str) -> Dataset:
    """What highdicom is given as the source: a CT image of the study, on the CT's grid.

    The real headers may be flawed, enhanced multi-frame, or of another grid; and highdicom warns of
    odd patient names, which no log may hold, so patient and references are added later. A CT
    without a Frame of Reference gets one of its own: the standard wants one, and the references
    say which images the frames lie on.
    """
    image = Dataset()
    image.update(source.image)
    for keyword in REQUIRED_EMPTY:
        setattr(image, keyword, None)
    image.StudyInstanceUID = source.subject.StudyInstanceUID
    image.SeriesInstanceUID = source.series_uid
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, source.images[0].sop_instance
    image.Modality = "CT"
    image.FrameOfReferenceUID = source.frame_of_reference or own_frame_of_reference
    image.Rows, image.Columns = ct.shape[1:]
    image.ImagePositionPatient = [format_number_as_ds(v) for v in _position(ct, 0)]
    image.update(_orientation(ct)[0])
    image.update(_measures(ct)[0])
    return image


def _series_number(of_ct: int | None) -> int:
    if of_ct is None or not 0 <= of_ct < 10**8:
        return SERIES_NUMBER_OFFSET
    return SERIES_NUMBER_OFFSET + of_ct


def _refer_to_images(seg: Segmentation, source: DicomSource) -> None:
    """Common Instance Reference and General Image Modules, PS3.3 C.12.2 and C.7.6.1."""
    images = [_reference(plane) for plane in source.images]
    series = Dataset()
    series.SeriesInstanceUID = source.series_uid
    series.ReferencedInstanceSequence = images
    seg.ReferencedSeriesSequence = [series]
    seg.SourceImageSequence = images


def _refer_to_planes(seg: Segmentation, ct: CTVolume) -> None:
    """Name the image that each frame was drawn on; none for a slice that was interpolated.

    Derivation Image Macro, PS3.3 C.7.6.16.2.6: Spatial Locations Preserved is NO where slices of a
    tilted gantry were shifted within their plane.
    """
    origin, normal = np.asarray(ct.origin), ct.direction[:, 2]
    for frame in seg.PerFrameFunctionalGroupsSequence:
        position = np.asarray(frame.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        plane = ct.planes[round(float((position - origin) @ normal) / ct.spacing[2])]
        frame.DerivationImageSequence = [] if plane is None else [_derivation(plane)]


def _reference(plane: SourcePlane) -> Dataset:
    image = Dataset()
    image.ReferencedSOPClassUID = plane.sop_class
    image.ReferencedSOPInstanceUID = plane.sop_instance
    return image


def _derivation(plane: SourcePlane) -> Dataset:
    image = _reference(plane)
    if plane.frames > 1:
        image.ReferencedFrameNumber = plane.frame + 1
    image.PurposeOfReferenceCodeSequence = [
        CodedConcept.from_code(codes.cid7202.SourceImageForImageProcessingOperation)
    ]
    image.SpatialLocationsPreserved = "YES" if plane.aligned else "NO"
    derivation = Dataset()
    derivation.SourceImageSequence = [image]
    derivation.DerivationCodeSequence = [
        CodedConcept.from_code(codes.cid7203.SegmentationImageDerivation)
    ]
    return derivation


def _run_time(result: SegmentationResult, source: DicomSource) -> datetime.datetime:
    """When the run began, in the time zone that holds for the object's other times."""
    started = result.provenance.get("started") or now()
    when = datetime.datetime.fromisoformat(started)
    if offset := source.subject.get("TimezoneOffsetFromUTC"):
        return when.astimezone(datetime.datetime.strptime(offset, "%z").tzinfo)
    return when.astimezone()  # this computer's, as the study's times are the scanner's


def _state_times(seg: Segmentation, when: datetime.datetime) -> None:
    seg.ContentDate = seg.InstanceCreationDate = seg.SeriesDate = DA(when.date())
    seg.ContentTime = seg.InstanceCreationTime = seg.SeriesTime = TM(when.strftime("%H%M%S"))
    for equipment in seg.ContributingEquipmentSequence:
        if "ContributionDateTime" in equipment:
            equipment.ContributionDateTime = DT(when.strftime("%Y%m%d%H%M%S%z"))


def _end_in_zero(seg: Segmentation) -> None:
    """Clear the bits behind the last pixel; highdicom fills up with the character "0"."""
    bits = seg.NumberOfFrames * seg.Rows * seg.Columns
    used = -(-bits // 8)
    seg.PixelData = seg.PixelData[:used] + b"\0" * (used % 2)


def _fingerprint(result: SegmentationResult, source: DicomSource, when: datetime.datetime) -> str:
    """Hash of all that the object says."""
    digest = hashlib.sha256()
    for array in (result.labels, result.lungs):
        for plane in array:
            digest.update(np.ascontiguousarray(plane).tobytes())
    told = [
        result.provenance,
        [plane.sop_instance for plane in source.images],
        [(c.name, c.label, c.color, c.terminology) for c in result.classes],
        CovidLesionSegLogic.__version__,
        when.isoformat(),
    ]
    digest.update(json.dumps(told, sort_keys=True, default=str).encode())
    return digest.hexdigest()
