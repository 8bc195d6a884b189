"""The one door for DICOM headers: what a hostile file states costs no more memory than it holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from CovidLesionSegLogic.ct.dicom_deflated import (
    DEFLATED,
    packed_part,
    pixels_unpacked,
    plain_header,
)
from CovidLesionSegLogic.ct.dicom_file import BoundedFile, native_length, pixels_complete

if TYPE_CHECKING:
    from pydicom import Dataset

SIZE = ("Rows", "Columns", "NumberOfFrames", "BitsAllocated", "SamplesPerPixel")
"""Without them nobody can tell whether the pixels are all there."""


def open_dicom(
    path: Path, keywords: Sequence[str] | None = None, *, force: bool = True
) -> tuple[Dataset, bool]:
    """The attributes of a file, and whether its pixels are all there (they are not read).

    Parameters
    ----------
    keywords
        The only attributes to read, beside the size of the pixels; None: all but the pixels.
    force
        Read files without the DICOM mark too.

    Raises
    ------
    ValueError
        A deflated file unpacks to far more than it states. pydicom raises many other kinds of
        errors on damaged files.
    OSError
        The file cannot be read.
    """
    from pydicom import dcmread
    from pydicom.uid import UID

    wanted = None if keywords is None else [*keywords, *SIZE]
    with BoundedFile(path) as stream:
        start = packed_part(stream)
        header = stream if start is None else plain_header(stream, start)
        dataset = dcmread(header, stop_before_pixels=True, specific_tags=wanted, force=force)
        if start is None:
            return dataset, pixels_complete(stream, dataset)
        dataset.file_meta.TransferSyntaxUID = UID(DEFLATED)
        before = header.tell() - start
        return dataset, pixels_unpacked(stream, start, before, native_length(dataset))
