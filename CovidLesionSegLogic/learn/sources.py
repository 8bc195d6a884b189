"""Training slices from the public data sets, decoded once and kept in memory as 8-bit grey.

Everything is brought to one grey scale, the released window of ``WINDOW`` HU on 0..255, because
one network serves 8-bit slices and CT volumes in HU. ``zenodo20`` slices have neither HU nor one
window, so each case is mapped by two tissues of known density: aerated lung and soft tissue.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.engine import Box, lung_boxes
from CovidLesionSegLogic.models import InputSpec

WINDOW = (-1150.0, 250.0)
LUNG_HU, SOFT_TISSUE_HU = -860.0, 40.0
CROP_MARGIN, CROP_SMALLEST = 0.03, 0.6
UNKNOWN_CLASS = 255
"""Mask value of a lesion whose class nobody named, where masks have classes."""

# One patient stands in several data sets; a split must keep them on one side.
SAME_PATIENT = {
    "vol2": "radiopaedia_10_85902",
    "vol4": "radiopaedia_4_85506",
    "vol5": "radiopaedia_27_86410",
    "vol8": "radiopaedia_36_86526",
}


@dataclass(frozen=True, eq=False)
class Slice:
    """One axial slice with its masks.

    Attributes
    ----------
    image
        (H, W) uint8, ``WINDOW`` on 0..255.
    mask
        (H, W) uint8: for lesions 0 or 1, or with classes 0, 1 to n and ``UNKNOWN_CLASS``; for
        lungs 0, 1 right, 2 left, 3 lung of unknown side.
    patient
        Patients never stand on both sides of a split.
    source, name
        Data set and slice, for balancing and for messages.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    patient: str
    source: str
    name: str


def read_grey(path: Path) -> NDArray[np.uint8]:
    """An 8-bit grey image (H, W)."""
    from skimage import io

    image = io.imread(path)
    if image.ndim == 3:
        image = image[..., 0]
    return np.asarray(image, np.uint8)


def to_window(hu: NDArray[np.floating]) -> NDArray[np.uint8]:
    """HU to 8-bit grey in the released window."""
    low, high = WINDOW
    return np.clip((hu - low) * (255 / (high - low)), 0, 255).round().astype(np.uint8)


def crop_boxes(lungs: NDArray[Any]) -> dict[int, Box]:
    """The part of each slice with lung that a network sees: the engine's rule, as released."""
    spec = InputSpec(352, WINDOW, margin=CROP_MARGIN, smallest=CROP_SMALLEST)
    return lung_boxes(lungs, spec)


def sirm100(root: Path, *, classes: bool = False) -> list[Slice]:
    """The 50 published training slices of the 100-slice set; each is its own patient.

    ``classes``: masks of 1 ground-glass opacity and 2 consolidation, not of 1 lesion. Patient
    identities are not published. Images 10 and 43 are near-identical, 26 and 27 look like one
    patient; each pair gets one name.
    """
    same = {"43": "10", "27": "26"}
    slices = []
    for path in sorted((root / "images").glob("*.png"), key=lambda p: int(p.stem)):
        if classes:
            lesion = read_grey(root / "classes" / path.name)
        else:
            lesion = (read_grey(root / "lesion" / path.name) > 0).astype(np.uint8)
        patient = f"sirm_{same.get(path.stem, path.stem)}"
        slices.append(Slice(read_grey(path), lesion, patient, "sirm100", path.stem))
    return slices


def without_classes(slices: Iterable[Slice]) -> list[Slice]:
    """The same slices, their lesions marked as of unnamed class."""
    return [replace(s, mask=np.where(s.mask > 0, np.uint8(UNKNOWN_CLASS), 0)) for s in slices]


def _zenodo_patient(case: str) -> str:
    return re.sub(r"^(radiopaedia_\d+_\d+)_\d+$", r"\1", case)


def zenodo20(root: Path) -> list[Slice]:
    """Lesion slices of 16 volumes, cropped to the lungs, mapped to the released window."""
    cases: dict[str, list[tuple[str, NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]]] = {}
    with (root / "index.csv").open() as file:
        for row in csv.DictReader(file):
            name = row["file"]
            image = read_grey(root / "images" / f"{name}.jpg")
            lesion = read_grey(root / "lesion" / f"{name}.png") > 0
            lungs = read_grey(root / "lung" / f"{name}.png") > 0
            cases.setdefault(row["case"], []).append((name, image, lesion, lungs))
    slices = []
    for case, members in cases.items():
        air = np.median([np.median(i[u & ~m]) for _, i, m, u in members if (u & ~m).any()])
        bright = [i[~u & (i > air + 30)] for _, i, _, u in members]
        soft = np.median([np.median(values) for values in bright if values.size])
        gain = (SOFT_TISSUE_HU - LUNG_HU) / (soft - air)
        for name, image, lesion, _ in members:
            grey = to_window((image.astype(np.float32) - air) * gain + LUNG_HU)
            slices.append(
                Slice(grey, lesion.astype(np.uint8), _zenodo_patient(case), "zenodo20", name)
            )
    return slices


def medseg(root: Path) -> Iterable[tuple[str, NDArray[np.float32], NDArray[Any], NDArray[Any]]]:
    """(volume name, HU, lesion classes, lungs) of each whole-frame volume, arrays (z, y, x)."""
    import SimpleITK

    for path in sorted(root.glob("vol*_ct.nii.gz")):
        name = path.name.split("_")[0]
        arrays = [
            SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(root / f"{name}_{kind}.nii.gz")))
            for kind in ("ct", "lesion", "lung")
        ]
        # The reader of the product knows nothing below -1024 HU either.
        yield name, np.maximum(arrays[0].astype(np.float32), -1024), arrays[1], arrays[2]


def medseg_lesions(root: Path, *, classes: bool = False, minimum_lung: int = 800) -> list[Slice]:
    """Every slice with lung of the volumes, lesion or not, cropped to the lungs.

    ``classes``: masks of 1 ground-glass opacity and 2 consolidation, not of 1 lesion.
    """
    slices = []
    for name, hu, lesion, lungs in medseg(root):
        boxes = crop_boxes(lungs)
        for k in range(len(hu)):
            if (lungs[k] > 0).sum() < minimum_lung:
                continue
            hu_box, lesion_box = hu[k][boxes[k].slices], lesion[k][boxes[k].slices]
            mask = (lesion_box if classes else lesion_box > 0).astype(np.uint8)
            source = "medseg" if mask.any() else "medseg_free"
            patient = SAME_PATIENT[name]
            slices.append(Slice(to_window(hu_box), mask, patient, source, f"{name}_{k:03d}"))
    return slices


def covid_ct_md(
    root: Path, *, infected: bool, every: int = 1, minimum_lung_mm2: float = 1500
) -> list[Slice]:
    """Slices of the true-HU DICOM volumes with or without infection, cropped to the lungs.

    Whether a slice shows infection is a radiologist's label (top slice first); nobody outlined
    the lesions, so every mask is empty: right for ``infected=False`` only. The lung box needs no
    more than the air-filled lung, so the mask is made by density.
    """
    from CovidLesionSegLogic.ct import read_ct, to_canonical
    from CovidLesionSegLogic.lungs.classical import air_filled_lungs

    source = "covid_ct_md" if infected else "covid_ct_md_free"
    labels = json.loads((root / "slice_labels.json").read_text())["labels"]
    slices = []
    for name, infection in labels.items():
        ct, _ = to_canonical(read_ct(root / name))
        lungs = air_filled_lungs(ct.array, ct.spacing)
        pixel = ct.spacing[0] * ct.spacing[1]
        boxes = crop_boxes(lungs)
        for index in range(0, len(infection), every):
            k = len(infection) - 1 - index  # canonical slices run upwards
            if bool(infection[index]) != infected or lungs[k].sum() * pixel < minimum_lung_mm2:
                continue
            image = to_window(ct.array[k][boxes[k].slices].astype(np.float32))
            empty = np.zeros(image.shape, np.uint8)
            slices.append(Slice(image, empty, name, source, f"{name}_{index:03d}"))
    return slices


def unlabelled(root: Path) -> list[Slice]:
    """Slices of a "COVID or not" collection (folders ``covid`` and ``noncovid``), without masks.

    A patient number ``pNNN`` in the file name is used where there is one; otherwise every slice
    is its own patient.
    """
    slices = []
    for path in sorted(root.glob("*covid/*.jpg")):
        number = re.search(r"_(p\d+)_", path.name)
        patient = f"{root.name}_{path.parent.name}_{number.group(1) if number else path.stem}"
        image = read_grey(path)
        slices.append(Slice(image, np.zeros_like(image), patient, root.name, path.name))
    return slices
