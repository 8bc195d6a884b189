"""Readers and validators of DICOM Segmentations that share no code with the writer."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from CovidLesionSegLogic.ct.volume import CTVolume


def read_with_pydicom(path: Path, ct: CTVolume) -> dict[int, np.ndarray]:
    """Segment number -> mask on the grid of ``ct``, unpacked here, bit by bit (PS3.5 8.1.1, D)."""
    seg = pydicom.dcmread(path)
    assert seg.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert (seg.BitsAllocated, seg.BitsStored, seg.HighBit) == (1, 1, 0)
    count = seg.NumberOfFrames * seg.Rows * seg.Columns
    data = np.frombuffer(seg.PixelData, np.uint8)
    assert len(data) == -(-count // 8) + (-(-count // 8)) % 2
    bits = np.unpackbits(data, bitorder="little")
    assert not bits[count:].any()
    frames = bits[:count].reshape(seg.NumberOfFrames, seg.Rows, seg.Columns).astype(bool)
    shared = seg.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    normal = np.cross(cosines[:3], cosines[3:])
    np.testing.assert_allclose(cosines.reshape(2, 3).T, ct.direction[:, :2], atol=1e-6)
    measures = shared.PixelMeasuresSequence[0]
    spacing = [*measures.PixelSpacing[::-1], measures.SpacingBetweenSlices]
    np.testing.assert_allclose([float(v) for v in spacing], ct.spacing, rtol=1e-6)
    masks = {s.SegmentNumber: np.zeros(ct.shape, bool) for s in seg.SegmentSequence}
    for frame, group in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        height = float((position - ct.origin) @ normal) / ct.spacing[2]
        expected = ct.origin + ct.direction[:, 2] * ct.spacing[2] * round(height)
        np.testing.assert_allclose(position, expected, atol=1e-4)
        number = segment_number(seg, group)
        assert not masks[number][round(height)].any(), "two frames at one place"
        masks[number][round(height)] = frame
    return masks


def segment_number(seg: Any, group: Any) -> int:
    """Of a frame; the identification is shared where there is one segment only."""
    groups = [group, seg.SharedFunctionalGroupsSequence[0]]
    found = [
        g.SegmentIdentificationSequence for g in groups if "SegmentIdentificationSequence" in g
    ]
    return int(found[0][0].ReferencedSegmentNumber)


def read_with_dcmqi(
    path: Path, ct: CTVolume, folder: Path
) -> tuple[dict[int, np.ndarray], dict[int, dict[str, Any]]]:
    """Masks by segment number on the grid of ``ct``, and what dcmqi (on DCMTK) says of each."""
    folder.mkdir()
    command = [_dcmqi("segimage2itkimage"), "--inputDICOM", path, "--outputDirectory", folder]
    done = subprocess.run([*command, "-t", "nrrd"], capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert not [line for line in output.splitlines() if line.startswith(("E:", "W:", "F:"))], output
    told = json.loads((folder / "meta.json").read_text())["segmentAttributes"]
    segments = {item["labelID"]: item for group in told for item in group}
    masks = {number: np.zeros(ct.shape, bool) for number in segments}
    for number, mask in masks.items():
        image = sitk.ReadImage(str(folder / f"{number}.nrrd"))
        ends = [[0, 0, 0], [n - 1 for n in image.GetSize()]]
        points = [image.TransformIndexToPhysicalPoint(end) for end in ends]
        places = (np.array(points) - ct.origin) @ ct.direction / ct.spacing
        np.testing.assert_allclose(places, np.rint(places), atol=0.01)
        there = sitk.Resample(image, _grid(ct), sitk.Transform(), sitk.sitkNearestNeighbor, 0)
        mask[:] = sitk.GetArrayViewFromImage(there) > 0
        assert mask.sum() == (sitk.GetArrayViewFromImage(image) > 0).sum(), "cut off"
    return masks, segments


def _grid(ct: CTVolume) -> sitk.Image:
    image = sitk.Image(ct.shape[::-1], sitk.sitkUInt8)
    image.SetOrigin(ct.origin)
    image.SetSpacing(ct.spacing)
    image.SetDirection(ct.direction.ravel().tolist())
    return image


def _dcmqi(name: str) -> Path:
    """A program of the wheel, which lies beside its Python package."""
    pytest.importorskip("dcmqi", reason="dcmqi is not installed")
    files = metadata.files("dcmqi") or []
    return next(Path(f.locate()) for f in files if f.parent.name == "bin" and f.stem == name)


def dicom3tools(name: str, *files: Path) -> list[str]:
    """All that dciodvfy or dcentvfy says, line by line; skipped where it is not installed."""
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} (dicom3tools) is not installed")
    done = subprocess.run([program, *files], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 0 or any(line.startswith("Error") for line in lines), lines
    return lines
