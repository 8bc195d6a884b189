"""What kind of input a path is, and the study's name."""

from __future__ import annotations

import gzip
import os
import re
import stat
import zlib
from pathlib import Path

import numpy as np

from CovidLesionSegLogic.ct.dicom_file import looks_like_dicom
from CovidLesionSegLogic.errors import InputError

SUFFIXES = {
    ".nii.gz": "nifti",
    ".nii": "nifti",
    ".nrrd": "nrrd",
    ".nhdr": "nrrd",
    ".mha": "metaimage",
    ".mhd": "metaimage",
}
READABLE = "a DICOM folder or file, .nii, .nii.gz, .nrrd, .nhdr, .mha or .mhd"
NIFTI_MARKS = tuple(np.array(n, order).tobytes() for n in (348, 540) for order in ("<i4", ">i4"))
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif")


def suffix_of(path: Path) -> str:
    """The suffix that decides the format, lower case: ".nii.gz" counts as one."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def detect_format(path: Path) -> str:
    """ "dicom", "nifti", "nrrd" or "metaimage", by suffix and then by what the file holds.

    Raises
    ------
    InputError
        When the path is absent, empty, not readable, or nothing this program reads.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return "dicom"
        if not stat.S_ISREG(mode):
            raise InputError(f"{path} is neither a file nor a folder: give {READABLE}.")
        with path.open("rb") as stream:
            head = stream.read(352)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise InputError(f"{path} does not exist: check the path.") from error
    except OSError as error:
        raise InputError(
            f"{path} cannot be opened ({error.strerror or error}): check the path and its access "
            "rights."
        ) from error
    if not head:
        raise InputError(f"{path} is empty (0 bytes): copy the file again.")
    suffix = suffix_of(path)
    kind = SUFFIXES.get(suffix)
    if kind is None:
        return _by_content(path, head, suffix)
    marks = {"nifti": _is_nifti, "nrrd": _is_nrrd, "metaimage": _is_metaimage}
    if not marks[kind](path, head):
        raise InputError(
            f"{path} is named like a {kind} file but does not hold one: "
            f"export the CT again, or give {READABLE}."
        )
    return kind


def _by_content(path: Path, head: bytes, suffix: str) -> str:
    if looks_like_dicom(path):
        return "dicom"
    if suffix in PICTURES:
        raise InputError(
            f"{path} is a picture without Hounsfield units or spacing: give the CT it was made "
            f"from, as {READABLE}."
        )
    if suffix == ".zip" or head[:4] == b"PK\x03\x04":
        raise InputError(f"{path} is a zip archive: unpack it and give the folder.")
    raise InputError(f"{path} is in no format this program reads: give {READABLE}.")


def _is_nifti(path: Path, head: bytes) -> bool:
    if head[:2] == b"\x1f\x8b":
        try:
            with gzip.open(path) as stream:
                head = stream.read(352)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(
                f"{path} cannot be unpacked ({error}), it is damaged or cut short: copy or export "
                "it again."
            ) from error
    return head[:4] in NIFTI_MARKS


def _is_nrrd(path: Path, head: bytes) -> bool:
    return head[:4] == b"NRRD"


def _is_metaimage(path: Path, head: bytes) -> bool:
    return re.match(rb"\s*[A-Za-z]+\s*=", head) is not None


def study_name(path: Path) -> str:
    """A name for files and nodes from the file or folder name; never from the patient's name."""
    path = Path(os.path.realpath(path))  # unlike resolve, not stopped by links in a circle
    name = path.name
    if not os.path.isdir(path):  # unlike Path.is_dir, False for a name that cannot be
        suffix = suffix_of(path)
        if suffix in (*SUFFIXES, ".dcm", ".dicom", ".ima") and len(name) > len(suffix):
            name = name[: -len(suffix)]
    name = re.sub(r"[^\w.\-]+", "_", name).strip("._-")[:80].rstrip("._-")
    if re.fullmatch(r"(?i)con|prn|aux|nul|com\d|lpt\d", name):
        name = f"{name}_ct"  # reserved on Windows
    return name or "ct"
