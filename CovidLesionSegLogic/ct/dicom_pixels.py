"""Decoding of DICOM pixels to Hounsfield units.

One decoder for every transfer syntax: GDCM inside SimpleITK, which ships with Slicer, decodes JPEG
(lossless and lossy), JPEG-LS, JPEG 2000 and RLE, and lets other threads run meanwhile.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct.dicom_header import FrameHeader
from CovidLesionSegLogic.ct.itk import itk_name, quiet_itk, reason
from CovidLesionSegLogic.ct.values import AIR_HU, HIGHEST_HU
from CovidLesionSegLogic.ct.voxels import MOST_VOXELS
from CovidLesionSegLogic.errors import InputError

Progress = Callable[[str, int, int], None]
TISSUE_HU = (-900.0, 3000.0)
"""A padding value in this range is also a tissue's: it counts only where it reaches the edge."""


@dataclass(frozen=True)
class DecodedPlanes:
    """HU of shape (n, rows, columns), int16 or float32, with what was noticed."""

    array: NDArray[Any]
    warnings: tuple[str, ...]


def check_decodable(frame: FrameHeader) -> None:
    """Refuse, before any pixel is read, what cannot become Hounsfield units.

    Raises
    ------
    InputError
        For colour images, cut-off files and headers without a rescale; names the attribute.
    """
    if frame.samples != 1:
        raise InputError(
            f"{frame.path} is a colour image (SamplesPerPixel {frame.samples}, "
            f"{frame.photometric}), not a CT slice: give the original CT series."
        )
    if frame.photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise InputError(
            f"{frame.path} has PhotometricInterpretation {frame.photometric or '(none)'}, not "
            "MONOCHROME2: give the original CT series."
        )
    if not frame.complete:
        raise InputError(
            f"{frame.path} is cut short (its pixel data ends early): copy or export it again."
        )
    if frame.representation not in (None, 0, 1):
        raise InputError(
            f"{frame.path} has a PixelRepresentation of {frame.representation}, which says neither "
            "that its values are signed (1) nor that they are not (0): export the series again."
        )
    if frame.slope == 0:
        raise InputError(
            f"{frame.path} has a RescaleSlope of 0, which makes every pixel the same: export the "
            "series again."
        )
    if (frame.slope is None or frame.intercept is None) and not frame.signed:
        missing = "RescaleSlope" if frame.slope is None else "RescaleIntercept"
        raise InputError(
            f"{frame.path} has no {missing}, so its stored values (from 0 up) cannot become "
            "Hounsfield units: export the series again with complete headers."
        )
    if frame.rescale_type not in ("", "HU", "US"):
        raise InputError(
            f"{frame.path} holds values of RescaleType {frame.rescale_type}, not Hounsfield units "
            "(HU): give the CT series in HU."
        )


def decode_planes(
    frames: tuple[FrameHeader, ...], *, progress: Progress | None = None, threads: int | None = None
) -> DecodedPlanes:
    """Decode the planes in order, several at a time, straight into one array.

    int16 where every slope and intercept is a whole number, float32 otherwise.

    Raises
    ------
    InputError
        When a file cannot be decoded; names it and its transfer syntax.
    """
    for frame in frames:
        check_decodable(frame)
    whole = all(float(v).is_integer() for f in frames for v in (f.slope or 1, f.intercept or 0))
    first = frames[0]
    if len(frames) * first.rows * first.columns > MOST_VOXELS:
        raise InputError(
            f"{first.path} and the other slices of its series state {len(frames)} x {first.rows} x "
            f"{first.columns} voxels, more than any CT has: export the series again."
        )
    out = np.empty(
        (len(frames), first.rows, first.columns), dtype=np.int16 if whole else np.float32
    )
    files: dict[Any, list[int]] = {}
    for index, frame in enumerate(frames):
        files.setdefault(frame.path, []).append(index)

    def decode(indices: list[int]) -> int:
        planes = _decode_file(frames[indices[0]])
        for index in indices:
            frame = frames[index]
            out[index] = _hounsfield(planes[frame.frame], frame)
        return len(indices)

    workers = threads or min(8, os.cpu_count() or 1)
    with quiet_itk(), ThreadPoolExecutor(workers) as pool:
        done = 0
        try:
            for count in pool.map(decode, files.values()):
                done += count
                if progress is not None:
                    progress("read", done, len(frames))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return DecodedPlanes(out, _remarks(frames, out))


def same_pixels(one: FrameHeader, other: FrameHeader) -> bool:
    """Whether two planes decode to the same Hounsfield units."""
    return np.array_equal(decode_planes((one,)).array, decode_planes((other,)).array)


def _decode_file(frame: FrameHeader) -> NDArray[Any]:
    """What GDCM makes of a file, shape (frames, rows, columns).

    ITK applies one rescale to the whole file: that of its (first) frame.
    """
    try:
        if frame.photometric == "MONOCHROME1":
            with tempfile.TemporaryDirectory() as folder:
                array = _read(_as_monochrome2(frame.path, Path(folder)))
        else:
            array = _read(frame.path)
    except RuntimeError as error:
        raise InputError(
            f"{frame.path} cannot be decoded (transfer syntax {syntax_name(frame)}; "
            f"{reason(error)}): export the series uncompressed or as JPEG Lossless."
        ) from error
    if array.ndim == 2:
        array = array[None]
    if array.shape != (frame.frames, frame.rows, frame.columns):
        raise InputError(
            f"{frame.path} decodes to values of shape {array.shape}, but its header says "
            f"{frame.frames} x {frame.rows} x {frame.columns}: export the series again."
        )
    return array


def _read(path: Path) -> NDArray[Any]:
    import SimpleITK as sitk  # noqa: N813

    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(itk_name(path))
    return sitk.GetArrayFromImage(reader.Execute())


def _as_monochrome2(path: Path, folder: Path) -> Path:
    """A copy that GDCM does not invert.

    MONOCHROME1 only says that low values are shown bright; Hounsfield units follow from the stored
    values and the rescale all the same (PS3.3 C.7.6.3.1.2, C.11.1), but ITK inverts them.
    """
    copy = folder / "plane.dcm"
    copy.write_bytes(path.read_bytes().replace(b"MONOCHROME1", b"MONOCHROME2", 1))
    return copy


def _hounsfield(plane: NDArray[Any], frame: FrameHeader) -> NDArray[Any]:
    """HU of one plane: its own rescale in place of the file's, padding to -1024 HU."""
    slope, intercept = frame.rescale
    file_slope, file_intercept = frame.file_rescale
    if (slope, intercept) != (file_slope, file_intercept):
        stored = np.rint((plane.astype(np.float64) - file_intercept) / file_slope)
        plane = stored * slope + intercept
    if frame.padding is not None:
        ends = sorted(end * slope + intercept for end in frame.padding)
        margin = 0.25 * abs(slope)
        pad = (plane >= ends[0] - margin) & (plane <= ends[1] + margin)
        if ends[1] > TISSUE_HU[0] and ends[0] < TISSUE_HU[1]:
            pad = _touching_edge(pad)
        plane = np.where(pad, AIR_HU, plane)
    return np.clip(plane, AIR_HU, HIGHEST_HU)


def _touching_edge(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The connected parts of a 2-D mask that reach its border."""
    from scipy import ndimage

    regions, _ = ndimage.label(mask)
    edge = np.unique(np.concatenate((regions[0], regions[-1], regions[:, 0], regions[:, -1])))
    return np.isin(regions, edge[edge > 0])


def _remarks(frames: tuple[FrameHeader, ...], array: NDArray[Any]) -> tuple[str, ...]:
    messages: list[str] = []
    first = frames[0]
    if any(f.photometric == "MONOCHROME1" for f in frames):
        border = np.concatenate((array[:, 0].ravel(), array[:, -1].ravel()))
        if float(np.median(border)) > 300:
            raise InputError(
                f"{first.path} is MONOCHROME1 and its air is brighter than tissue, so its stored "
                "values are inverted and not Hounsfield units: export the original series."
            )
        messages.append("The slices are MONOCHROME1 (shown inverted); their HU were kept.")
    if any(f.slope is None or f.intercept is None for f in frames):
        messages.append(
            "RescaleSlope or RescaleIntercept is missing; the stored values were taken as HU."
        )
    if any(f.rescale_type == "US" for f in frames):
        messages.append("RescaleType is unspecified (US); the rescaled values were taken as HU.")
    if any(f.lossy for f in frames):
        messages.append("The slices were compressed with loss; small lesions may be blurred.")
    return tuple(messages)


def syntax_name(frame: FrameHeader) -> str:
    """The transfer syntax in words, for messages and provenance."""
    from pydicom.uid import UID

    return UID(frame.transfer_syntax).name if frame.transfer_syntax else "not stated"
