"""CTs and the masks that belong to them: paired from file patterns, checked to share a grid."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from CovidLesionSegLogic.ct.formats import detect_format
from CovidLesionSegLogic.ct.image_file import read_image_file
from CovidLesionSegLogic.ct.labels import read_labels
from CovidLesionSegLogic.ct.read import read_ct
from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.errors import InputError, RequestError


@dataclass(frozen=True)
class Case:
    """A CT (file or DICOM folder) and the masks that belong to it."""

    ct: Path
    lesion: Path
    lung: Path | None = None


def find_cases(
    ct: Sequence[str], lesion: Sequence[str], lung: Sequence[str] | None = None
) -> list[Case]:
    """Pair what the patterns match, each list in sorted order.

    Raises
    ------
    RequestError
        A pattern matches nothing, or the lists differ in length.
    """
    cts, lesions = _matches("--ct", ct), _matches("--lesion", lesion)
    lungs = _matches("--lung", lung) if lung else None
    counts = {"--ct": len(cts), "--lesion": len(lesions)}
    if lungs is not None:
        counts["--lung"] = len(lungs)
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{count} for {option}" for option, count in counts.items())
        raise RequestError(
            f"The files do not pair ({said}): give patterns that match one mask for each CT."
        )
    others: Sequence[Path | None] = lungs or [None] * len(cts)
    return [Case(*files) for files in zip(cts, lesions, others, strict=True)]


def _matches(option: str, patterns: Sequence[str]) -> list[Path]:
    found: set[Path] = set()
    for pattern in patterns:
        own = Path(pattern).expanduser()
        # A name may itself hold brackets.
        paths = [own] if own.exists() else [Path(p) for p in glob.glob(str(own), recursive=True)]
        if not paths:
            raise RequestError(f"{option} '{pattern}' matches no file: correct the pattern.")
        found.update(paths)
    return sorted(found)


def check_case(case: Case) -> None:
    """Read everything once; InputError names what cannot be used or lies on another grid."""
    ct = read_ct(case.ct)
    for mask in (case.lesion, case.lung):
        if mask is not None:
            check_grid(mask, case.ct, ct)
            read_labels(mask, ct)


def check_grid(mask: Path, ct_path: Path, ct: CTVolume) -> None:
    """InputError when ``mask`` is not on the grid of the CT: size, spacing and position.

    A tenth of the smallest voxel side is allowed for rounding in headers.
    """
    kind = detect_format(mask)
    if kind == "dicom":
        raise InputError(f"{mask} is DICOM: give the mask as .nii, .nii.gz, .nrrd or .mha.")
    image = read_image_file(mask, kind)
    if image.array.shape != ct.shape:
        sizes = [" x ".join(str(n) for n in s[::-1]) for s in (image.array.shape, ct.shape)]
        raise InputError(
            f"{mask} has {sizes[0]} voxels but {ct_path} has {sizes[1]}: give the mask made on "
            "this CT's grid (files pair in sorted order)."
        )
    affine = np.eye(4)
    affine[:3, :3] = image.direction * np.asarray(image.spacing)
    affine[:3, 3] = image.origin
    corners = np.array(
        [(i, j, k, 1) for k in (0, ct.shape[0]) for j in (0, ct.shape[1]) for i in (0, ct.shape[2])]
    )
    apart = float(np.linalg.norm(corners @ (affine - ct.affine).T, axis=1).max())
    if apart > 0.1 * min(ct.spacing):
        raise InputError(
            f"{mask} and {ct_path} lie on different grids (up to {apart:.3g} mm apart): give the "
            "mask made on this CT's grid (files pair in sorted order)."
        )
