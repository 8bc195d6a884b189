"""A user's own slices: a folder of images and one of masks, checked whole before any training."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.engine import Cancel, Progress, no_progress
from CovidLesionSegLogic.errors import InputError, RequestError

from .class_values import ClassValues
from .pictures import SMALLEST, Unusable, read_class_mask, read_image, read_mask
from .sources import Slice

__all__ = [
    "FREE_SOURCE",
    "SMALLEST",
    "SOURCE",
    "SUFFIXES",
    "Problems",
    "Unusable",
    "listed",
    "load_folder",
    "patient_rule",
    "read_image",
    "read_mask",
]

logger = logging.getLogger(__name__)

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
SOURCE, FREE_SOURCE = "own", "own_free"
"""Slices with lesion, and those without."""
NAMED = 5


@dataclass
class Problems:
    """What is wrong, gathered so that everything is told at once."""

    what: str
    sentences: list[str] = field(default_factory=list)
    by_reason: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, name: str) -> None:
        """Note why ``name`` cannot be used; files with one reason are told together."""
        self.by_reason.setdefault(reason, []).append(name)

    def check(self) -> None:
        """Raise InputError when there is any."""
        told = self.sentences + [f"{listed(n)}: {reason}" for reason, n in self.by_reason.items()]
        if len(told) == 1:
            raise InputError(f"{self.what} cannot be used: {told[0]}.")
        if told:
            lines = "".join(f"\n  - {one}." for one in told)
            raise InputError(f"{self.what} cannot be used, for {len(told)} reasons:{lines}")


def listed(names: Sequence[str]) -> str:
    """The first five names and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def patient_rule(pattern: str | None) -> Callable[[str], str | None]:
    """Name of a slice or volume to its patient, None where the pattern does not match.

    The first group of the regular expression ``pattern`` is the patient, the whole match where
    there is no group (nothing found counts as no match); without a pattern everything is its own
    patient. RequestError when the pattern is not valid.
    """
    if pattern is None:
        return lambda name: name
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise RequestError(
            f"'{pattern}' is not a regular expression ({error}): correct --patient."
        ) from error

    def patient(name: str) -> str | None:
        match = expression.search(name)
        found = (match.group(1) if expression.groups else match.group()) if match else None
        return found or None

    return patient


def load_folder(
    images: Path,
    masks: Path,
    *,
    classes: ClassValues | None = None,
    patient: str | None = None,
    progress: Progress = no_progress,
    cancel: Cancel | None = None,
    notice: Callable[[str], None] = logger.warning,
) -> list[Slice]:
    """Slices from a folder of 8-bit grey images and one of masks, paired by stem, decoded once.

    Parameters
    ----------
    classes
        What the values of the masks mean; None: lesion is where a mask is over 0, in a mask of
        more than 16 grey levels (soft borders, JPEG) where it is over half of its largest value.
    patient
        Regular expression that finds the patient in a file's stem; None: each image is a patient.
    progress
        Stage "read" counts images.
    notice
        Told in a sentence what is doubtful but used.

    Raises
    ------
    RequestError
        A folder does not exist, or ``patient`` is no regular expression.
    InputError
        Anything cannot be used; all problems of the folders are told at once.
    """
    rule, cancel = patient_rule(patient), cancel or Cancel()
    problems = Problems("The training data")
    ours, theirs = _pictures(images, problems), _pictures(masks, problems)
    if ours and theirs:
        for these, those, what, where in (
            (ours, theirs, "mask", masks),
            (theirs, ours, "image", images),
        ):
            alone = [these[stem].name for stem in sorted(these.keys() - those.keys())]
            if alone:
                problems.sentences.append(
                    f"{len(alone)} of {len(these)} files have no {what} of the same name in "
                    f"{where} ({listed(alone)}): add the {what} or take the file away"
                )
    slices: list[Slice] = []
    stems = sorted(ours.keys() & theirs.keys())
    for done, stem in enumerate(stems):
        cancel.check()
        progress("read", done, len(stems))
        found = _read_pair(ours[stem], theirs[stem], rule(stem), problems, classes)
        if found is not None:
            slices.append(found)
    progress("read", len(stems), len(stems))
    black = [s.name for s in slices if s.source == FREE_SOURCE]
    if slices and len(black) == len(slices):
        problems.sentences.append(
            f"every mask in {masks} is black, so there is no lesion to learn from: give masks "
            "with lesion over 0"
        )
    unnamed = classes.unnamed_only(slices) if classes else None
    if unnamed:
        problems.sentences.append(f"in {masks} {unnamed}")
    problems.check()
    if black:
        notice(
            f"{len(black)} of {len(slices)} masks are black and count as free of lesion: "
            f"{listed(black)}."
        )
    if patient is None:
        notice(
            "Every image counts as a patient of its own; if some patients have several, name them "
            "with --patient, or the validation will look better than it is."
        )
    return slices


def _pictures(folder: Path, problems: Problems) -> dict[str, Path]:
    if not folder.is_dir():
        raise RequestError(f"{folder} is not a folder: give the folder with the pictures.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in SUFFIXES or not path.is_file():
            continue
        # macOS writes letters with accents in another form than Linux and Windows do.
        stem = unicodedata.normalize("NFC", path.stem)
        if stem in found:
            problems.sentences.append(
                f"{path} and {found[stem].name} have the same name without suffix: keep one of them"
            )
        found[stem] = path
    if not found:
        problems.sentences.append(
            f"{folder} holds no picture ({', '.join(SUFFIXES)}): give the right folder"
        )
    return found


def _read_pair(
    image: Path, mask: Path, patient: str | None, problems: Problems, classes: ClassValues | None
) -> Slice | None:
    def read_lesion(path: Path) -> NDArray[np.uint8]:
        return read_mask(path) if classes is None else read_class_mask(path, classes)

    grey, lesion = (
        _tried(function, path, problems)
        for function, path in ((read_image, image), (read_lesion, mask))
    )
    if patient is None:
        problems.add("--patient matches nothing in the name: correct the expression", image.name)
    if grey is None or lesion is None:
        return None
    if grey.shape != lesion.shape:
        problems.sentences.append(
            f"{mask.name} has {_size(lesion)} pixels but its image {_size(grey)}: give a mask of "
            "the image's size"
        )
        return None
    if patient is None:
        return None
    source = SOURCE if lesion.any() else FREE_SOURCE
    return Slice(grey, lesion, patient, source, image.stem)


def _tried(
    function: Callable[[Path], NDArray[np.uint8]], path: Path, problems: Problems
) -> NDArray[np.uint8] | None:
    try:
        return function(path)
    except Unusable as error:
        problems.add(str(error), f"{path.parent.name}/{path.name}")
        return None


def _size(picture: NDArray[np.uint8]) -> str:
    return f"{picture.shape[1]} x {picture.shape[0]}"
