"""CTs from DICOM files of several kinds, and results on them to write as segmentations."""

from __future__ import annotations

import numpy as np
import pydicom
import shown_result
from dicom_writer import make_hu, write_multiframe, write_series
from pydicom.uid import JPEG2000Lossless

from CovidLesionSegLogic.ct import read_ct
from CovidLesionSegLogic.models import LesionClass

STARTED = "2025-03-01T23:30:00+00:00"
CLASSES = (
    LesionClass("ground-glass opacity", 1, color=(220, 50, 50)),
    LesionClass("consolidation", 2, color=(60, 180, 75)),
    LesionClass("fibrosis", 3, color=(60, 110, 220)),
    LesionClass("crazy paving", 5, color=(240, 200, 40)),  # in no terminology
)
LUNG_MODEL = {"name": "lungs", "version": "7", "sha256": "b" * 64}
PROVENANCE = {
    **shown_result.PROVENANCE,
    "lungs": {"method": "network", "model": LUNG_MODEL},
    "started": STARTED,
}
SHAPE = (9, 40, 37)  # no multiple of 8 pixels in a frame
NOT_IN_SOURCE = "Missing attribute or value that would be needed to build DICOMDIR - "
OBLIQUE = tuple(np.array([[0.96, 0.28, 0.0], [-0.2688, 0.9216, 0.28]]).ravel())


def usual_headers(dataset, k):
    """Attributes that a conforming CT has and the writer of test series leaves out."""
    dataset.FrameOfReferenceUID = "1.2.826.0.1.3680043.8.498.77"
    dataset.StudyID, dataset.AccessionNumber = "S7", "A-12"
    dataset.StudyDate, dataset.StudyTime = "20200102", "131415"
    dataset.PatientBirthDate, dataset.PatientSex, dataset.PatientAge = "19500102", "F", "070Y"
    dataset.ReferringPhysicianName = "House^Gregory"
    dataset.StudyDescription = "Thorax"


def axial(folder):
    write_series(folder, make_hu(SHAPE), change=usual_headers)
    return read_ct(folder)


def oblique(folder):
    write_series(folder, make_hu(SHAPE), orientation=OBLIQUE, change=usual_headers)
    return read_ct(folder)


def feet_up(folder):
    """Rows run to the right and columns to the back: slices rise towards the feet."""
    write_series(folder, make_hu(SHAPE), orientation=(1, 0, 0, 0, -1, 0), change=usual_headers)
    return read_ct(folder)


def gap(folder):
    write_series(folder, make_hu(SHAPE), skip=[4], change=usual_headers)
    return read_ct(folder, allow_missing_slices=True)


def tilted(folder):
    write_series(folder, make_hu(SHAPE), tilt_degrees=15, change=usual_headers)
    return read_ct(folder)


def enhanced(folder):
    folder.mkdir()
    order = [3, 0, 8, 1, 7, 2, 6, 4, 5]
    return read_ct(write_multiframe(folder / "all.dcm", make_hu(SHAPE), order=order))


def compressed(folder):
    write_series(folder, make_hu(SHAPE), transfer_syntax=JPEG2000Lossless, change=usual_headers)
    return read_ct(folder)


SOURCES = [axial, oblique, feet_up, gap, tilted, enhanced, compressed]


def made_up(ct, **more):
    """Lesions of three classes in boxes and specks, and two lungs; overlapping, at the edges."""
    y, x = ct.shape[1:]
    lungs = np.zeros(ct.shape, np.uint8)
    lungs[:, y // 8 : -y // 8, 2 : x // 2 - 1] = 1
    lungs[1:, y // 8 : -y // 8, x // 2 + 1 :] = 2
    labels = np.zeros(ct.shape, np.uint8)
    labels[np.random.default_rng(1).random(ct.shape) < 0.02] = 1
    labels[1:-2, y // 4 : y // 2, 5:15] = 2
    labels[0, 0, 0] = labels[-1, -1, -1] = 3
    more = {"classes": CLASSES, "provenance": PROVENANCE} | more
    return shown_result.shown(ct, labels, lungs, **more)


SIDES = (("24028007", "Right"), ("7771000", "Left"))
EXPECTED = [("labels", 1), ("labels", 2), ("labels", 3), ("lungs", 1), ("lungs", 2)]
"""The segments in their order; crazy paving has no voxel."""


def expected_masks(result):
    return {n: getattr(result, a) == v for n, (a, v) in enumerate(EXPECTED, 1)}


def assert_same_masks(found, result):
    expected = expected_masks(result)
    assert found.keys() == expected.keys()
    for number, mask in expected.items():
        np.testing.assert_array_equal(found[number], mask, str(number))


def missing_names(ct):
    """Of attributes that the source leaves empty, as the standard allows (type 2)."""
    header = pydicom.dcmread(ct.planes[0].path, stop_before_pixels=True)
    names = {"PatientID": "Patient ID", "StudyDate": "Study Date", "StudyID": "Study ID"}
    names["StudyTime"] = "Study Time"
    return sorted(name for keyword, name in names.items() if not header.get(keyword))
