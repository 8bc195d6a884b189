"""True lesion classes of 8-bit slices: class maps, plain lesion masks, or a folder per class."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.assess.pictures import (
    MASK_RULE,
    Pair,
    find_pairs,
    read_grey,
    read_pair,
)
from CovidLesionSegLogic.assess.slice_maps import folder_names
from CovidLesionSegLogic.errors import InputError, RequestError
from CovidLesionSegLogic.learn.sources import UNKNOWN_CLASS
from CovidLesionSegLogic.models import LesionClass

CLASS_MAP_RULE = (
    "class maps: 0 background, else the label of a class of the model; 255 is lesion of unknown "
    "class, and images that hold it are judged for any lesion alone"
)


@dataclass(frozen=True)
class ClassPair:
    """An image and its masks: one, or one for each class; ``name`` is the stem they share."""

    name: str
    image: Path
    masks: tuple[Path, ...]


@dataclass(frozen=True, eq=False)
class ClassTruth:
    """Masks (H, W): of any lesion, and of each class, None where the classes are not known."""

    any_lesion: NDArray[np.bool_]
    classes: tuple[NDArray[np.bool_], ...] | None


@dataclass(frozen=True)
class ClassMasks:
    """The pictures of two folders, paired.

    ``rule`` says how a mask is read; ``others`` are folders of classes that the model does not
    have: they are not looked at.
    """

    pairs: tuple[ClassPair, ...]
    classes: tuple[LesionClass, ...]
    rule: str
    others: tuple[str, ...] = ()

    def read(self, pair: ClassPair) -> tuple[NDArray[np.uint8], ClassTruth]:
        """The grey image (H, W) and its truth.

        Raises
        ------
        InputError
            A picture is not 8-bit grey, differs in size, or a class map holds another label.
        """
        if len(pair.masks) > 1 or len(self.classes) == 1:
            read = [read_pair(Pair(pair.name, pair.image, mask)) for mask in pair.masks]
            masks = tuple(mask for _, mask in read)
            return read[0][0], ClassTruth(np.logical_or.reduce(masks), masks)
        image, _ = read_pair(Pair(pair.name, pair.image, pair.masks[0]))
        values = read_grey(pair.masks[0])
        self._check_labels(values, pair.masks[0])
        if (values == UNKNOWN_CLASS).any():
            return image, ClassTruth(values != 0, None)
        return image, ClassTruth(values != 0, tuple(values == c.label for c in self.classes))

    def _check_labels(self, values: NDArray[np.uint8], path: Path) -> None:
        known = {0, UNKNOWN_CLASS, *(c.label for c in self.classes)}
        strange = [int(v) for v in np.unique(values) if v not in known]
        if strange:
            said = ", ".join(f"{c.label} {c.name}" for c in self.classes)
            raise InputError(
                f"{path} holds the value {strange[0]}, which is no label of the model (0 "
                f"background, {said}, 255 lesion of unknown class): give such maps, or a folder "
                "of masks for each class."
            )


def find_class_masks(images: Path, masks: Path, classes: Sequence[LesionClass]) -> ClassMasks:
    """Pair images with class maps, or with the masks in a folder for each class, by stem.

    A folder is a class's when it has its name, with spaces or underscores.

    Raises
    ------
    RequestError
        A folder does not exist, only some of the classes have one, or two of them the same.
    InputError
        A folder has no pictures, two of one stem, or one without its partner.
    """
    folders = _class_folders(masks, classes)
    if not any(folders.values()):
        pairs = [ClassPair(p.name, p.image, (p.mask,)) for p in find_pairs(images, masks)]
        rule = MASK_RULE if len(classes) == 1 else CLASS_MAP_RULE
        return ClassMasks(tuple(pairs), tuple(classes), rule)
    missing = [name for name, folder in folders.items() if folder is None]
    if missing:
        raise RequestError(
            f"{masks} has folders for some classes of the model but none for '{missing[0]}': add "
            "one (with black masks where there is no such lesion)."
        )
    by_class = [find_pairs(images, folder) for folder in folders.values() if folder is not None]
    pairs = [
        ClassPair(one[0].name, one[0].image, tuple(p.mask for p in one))
        for one in zip(*by_class, strict=True)
    ]
    used = set(folders.values())
    others = sorted(
        p.name for p in masks.iterdir() if p.is_dir() and p not in used and p.name[0] != "."
    )
    rule = f"one folder of masks per class; in each, {MASK_RULE}"
    return ClassMasks(tuple(pairs), tuple(classes), rule, tuple(others))


def _class_folders(masks: Path, classes: Sequence[LesionClass]) -> dict[str, Path | None]:
    if not masks.is_dir():
        raise RequestError(f"{masks} is not a folder: give the folder with the masks.")
    there = {_folded(p.name): p for p in sorted(masks.iterdir()) if p.is_dir()}
    names = folder_names(classes)
    found = {
        c.name: there.get(_folded(own)) or there.get(_folded(c.name))
        for c, own in zip(classes, names, strict=True)
    }
    folders = [folder for folder in found.values() if folder is not None]
    shared = [folder for folder in folders if folders.count(folder) > 1]
    if shared:
        raise RequestError(
            f"{shared[0]} has the name of {len(shared)} classes of the model: name the folders "
            f"{', '.join(names)}."
        )
    return found


def _folded(name: str) -> str:
    return re.sub(r"[\s_]+", "_", name).casefold()
