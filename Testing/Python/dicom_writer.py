"""Writes small synthetic CT series in DICOM, sound or flawed in the ways a test asks for."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
Change = Callable[[Dataset, int], None]


def make_hu(shape: tuple[int, int, int] = (6, 40, 36), seed: int = 0) -> NDArray[np.int16]:
    """Random HU (z, y, x) spanning air to bone; no two slices are equal."""
    rng = np.random.default_rng(seed)
    hu = rng.integers(-1000, 1500, shape)
    hu[:, 0] = -1000
    hu[:, :, 0] = -1000
    return hu.astype(np.int16)


def write_series(
    folder: Path,
    hu: NDArray[Any],
    *,
    spacing: tuple[float, float, float] = (0.75, 0.8, 2.0),
    origin: tuple[float, float, float] = (-10.0, -20.0, -100.0),
    orientation: Sequence[float] = AXIAL,
    heights: Sequence[float] | None = None,
    tilt_degrees: float = 0.0,
    slope: float = 1.0,
    intercept: float | Sequence[float] = -1024.0,
    signed: bool = False,
    bits_stored: int = 16,
    transfer_syntax: str = ExplicitVRLittleEndian,
    modality: str = "CT",
    image_type: Sequence[str] = ("ORIGINAL", "PRIMARY", "AXIAL"),
    description: str = "Thorax 2.0",
    series_uid: str | None = None,
    study_uid: str | None = None,
    acquisition: int = 1,
    monochrome1: bool = False,
    skip: Sequence[int] = (),
    shuffle: bool = True,
    prefix: str = "IM",
    seed: int = 0,
    change: Change | None = None,
) -> list[Path]:
    """Write ``hu`` (z, y, x) slice by slice; returns the files in the order of the slices.

    Slice k lies at ``heights[k]`` (default k * spacing[2]) mm along the normal from ``origin``.
    With ``tilt_degrees`` its rows drift along the column direction as under a tilted gantry.
    File names and InstanceNumbers are random unless ``shuffle`` is off. ``change(dataset, k)`` may
    alter any attribute before the file is compressed and written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    series_uid = series_uid or generate_uid()
    study_uid = study_uid or generate_uid()
    count = len(hu)
    numbers = list(range(1, count + 1))
    if shuffle:
        random.Random(seed).shuffle(numbers)
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    normal = np.cross(row, column)
    heights = [k * spacing[2] for k in range(count)] if heights is None else list(heights)
    files = []
    for k in range(count):
        if k in skip:
            continue
        drift = np.tan(np.radians(tilt_degrees)) * heights[k] * column
        position = np.array(origin) + heights[k] * normal + drift
        offset = intercept if isinstance(intercept, (int, float)) else intercept[k]
        dataset = _image(hu[k], slope, offset, signed, bits_stored, monochrome1)
        dataset.SOPClassUID = CT_IMAGE
        dataset.SOPInstanceUID = generate_uid()
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID = series_uid, study_uid
        dataset.Modality = modality
        dataset.ImageType = list(image_type)
        dataset.SeriesDescription = description
        dataset.PatientName, dataset.PatientID = "Secret^Person", "4711"
        dataset.Manufacturer, dataset.ConvolutionKernel = "Nobody", "B70f"
        dataset.SeriesNumber, dataset.AcquisitionNumber = 3, acquisition
        dataset.InstanceNumber = numbers[k]
        dataset.SliceThickness = spacing[2]
        dataset.PixelSpacing = [spacing[1], spacing[0]]
        dataset.ImageOrientationPatient = [float(v) for v in orientation]
        dataset.ImagePositionPatient = [round(float(v), 6) for v in position]
        if change is not None:
            change(dataset, k)
        path = folder / f"{prefix}{numbers[k]:04d}.dcm"
        save(dataset, path, transfer_syntax)
        files.append(path)
    return files


def write_multiframe(
    path: Path,
    hu: NDArray[Any],
    *,
    order: Sequence[int] | None = None,
    spacing: tuple[float, float, float] = (0.75, 0.8, 2.0),
    intercepts: Sequence[float] | None = None,
    transfer_syntax: str = ExplicitVRLittleEndian,
) -> Path:
    """Write one Enhanced CT file (PS3.3 A.38); frame n shows slice ``order[n]`` of ``hu``."""
    order = list(range(len(hu))) if order is None else list(order)
    intercepts = [-1024.0] * len(order) if intercepts is None else list(intercepts)
    frames = [hu[k].astype(np.int32) - int(b) for k, b in zip(order, intercepts, strict=True)]
    dataset = _image(np.stack(frames), 1.0, 0.0, False, 16, False)
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        delattr(dataset, keyword)
    dataset.NumberOfFrames = len(order)
    dataset.SOPClassUID, dataset.SOPInstanceUID = ENHANCED_CT, generate_uid()
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = generate_uid(), generate_uid()
    dataset.Modality, dataset.ImageType = "CT", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.SharedFunctionalGroupsSequence = [
        _item(
            PlaneOrientationSequence=[_item(ImageOrientationPatient=list(AXIAL))],
            PixelMeasuresSequence=[
                _item(PixelSpacing=[spacing[1], spacing[0]], SliceThickness=spacing[2])
            ],
        )
    ]
    dataset.PerFrameFunctionalGroupsSequence = [
        _item(
            PlanePositionSequence=[_item(ImagePositionPatient=[-10.0, -20.0, k * spacing[2]])],
            PixelValueTransformationSequence=[
                _item(RescaleSlope=1, RescaleIntercept=b, RescaleType="HU")
            ],
        )
        for k, b in zip(order, intercepts, strict=True)
    ]
    save(dataset, path, transfer_syntax)
    return path


def save(dataset: Dataset, path: Path, transfer_syntax: str = ExplicitVRLittleEndian) -> None:
    """Write ``dataset`` (native pixels) as a DICOM file, compressed where the syntax asks."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if transfer_syntax in NATIVE:
        dataset.file_meta.TransferSyntaxUID = transfer_syntax
    else:
        dataset.compress(transfer_syntax, generate_instance_uid=False)
    if dataset.file_meta.TransferSyntaxUID == BIG_ENDIAN:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    dataset.save_as(path, enforce_file_format=True)


BIG_ENDIAN = "1.2.840.10008.1.2.2"
NATIVE = ("1.2.840.10008.1.2", ExplicitVRLittleEndian, "1.2.840.10008.1.2.1.99", BIG_ENDIAN)


def _image(
    hu: NDArray[Any],
    slope: float,
    intercept: float,
    signed: bool,
    bits_stored: int,
    monochrome1: bool,
) -> Dataset:
    stored = np.rint((hu.astype(np.float64) - intercept) / slope)
    limits = (-(2 ** (bits_stored - 1)), 2 ** (bits_stored - 1)) if signed else (0, 2**bits_stored)
    if stored.min() < limits[0] or stored.max() >= limits[1]:
        raise ValueError(f"{stored.min()}..{stored.max()} do not fit into {bits_stored} bits")
    dataset = Dataset()
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if monochrome1 else "MONOCHROME2"
    dataset.Rows, dataset.Columns = hu.shape[-2:]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits_stored, bits_stored - 1
    dataset.PixelRepresentation = int(signed)
    dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
    dataset.RescaleType = "HU"
    dataset.PixelData = stored.astype("<i2" if signed else "<u2").tobytes()
    return dataset


def _item(**attributes: Any) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item
