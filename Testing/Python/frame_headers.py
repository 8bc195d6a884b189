"""Headers of image planes without files, for tests of how a stack is built."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from CovidLesionSegLogic.ct.dicom_header import FrameHeader

_FIRST = FrameHeader(
    path=Path("series/1.dcm"),
    frame=0,
    frames=1,
    transfer_syntax="1.2.840.10008.1.2.1",
    complete=True,
    sop_class="1.2.840.10008.5.1.4.1.1.2",
    sop_instance="1.2.3.1",
    frame_of_reference="1.2.3",
    series_uid="1.2.3.4",
    study_uid="1.2.3.5",
    modality="CT",
    image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
    description="",
    body_part="CHEST",
    name_words=frozenset(),
    series_number=1,
    rows=40,
    columns=36,
    samples=1,
    photometric="MONOCHROME2",
    signed=True,
    representation=1,
    position=(-10.0, -20.0, 0.0),
    orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    spacing=(0.8, 0.7),
    slope=1.0,
    intercept=0.0,
    file_rescale=(1.0, 0.0),
    rescale_type="HU",
    padding=None,
    lossy=False,
    manufacturer="",
    model="",
    kernel="",
    thickness=2.0,
    phase=(),
)


def plane(z: float, x: float = -10.0, y: float = -20.0, **changes: Any) -> FrameHeader:
    """An axial plane of 40 rows of 0.8 mm and 36 columns of 0.7 mm with its first voxel at LPS."""
    name = changes.pop("name", f"{z:06.2f}")
    here = {"path": Path("series") / f"{name}.dcm", "position": (x, y, z)}
    return replace(_FIRST, **(here | changes))
