"""A data set as a table of images: any user's data, for segmentation and classification alike.

The table is a CSV file (UTF-8, comma or semicolon), one row per axial slice, with the columns

``image``
    8-bit grey picture, its path from the table's folder.
``patient``
    Name of the patient. Images of one patient, and near-identical images, must share it.
``label``
    "COVID-19", or another kind in the user's words ("healthy", "bacterial pneumonia", ...), the
    same for all images of a patient.
``mask`` (may be missing or empty)
    Picture of the image's size that holds 0, the classes 1, 2, ... and 255 for lesion of unnamed
    class; with a single class every value over 0 is lesion. Empty: nobody outlined the image.
``mask_1``, ``mask_2``, ... (instead of ``mask``)
    One picture for each class, lesion where it is not 0; pixels of two get the higher class.
``severity`` (may be missing or empty)
    "mild", "moderate" or "severe", of patients with COVID-19 only.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.errors import InputError

from .folder import Unusable, read_image, read_mask
from .sources import UNKNOWN_CLASS, Slice, read_grey

COVID = "COVID-19"
SEVERITIES = ("mild", "moderate", "severe")
NEEDED, OPTIONAL = ("image", "patient", "label"), ("mask", "severity")


@dataclass(frozen=True)
class ImageRecord:
    """One image of a table.

    Attributes
    ----------
    image
        Path of the picture.
    patient, label
        As in the table.
    masks
        Class number to path; class 0 stands for one picture that holds all classes. Empty: nobody
        outlined the image.
    severity
        One of ``SEVERITIES``, or None.
    """

    image: Path
    patient: str
    label: str
    masks: Mapping[int, Path] = field(default_factory=dict)
    severity: str | None = None

    @property
    def positive(self) -> bool:
        """Whether the patient has COVID-19."""
        return self.label == COVID

    @property
    def segments(self) -> bool:
        """Whether a segmentation learns from it.

        As in the paper (section 2.2): outlined images, and all of patients without COVID-19,
        whose "images do not contain the infected region of COVID-19".
        """
        return bool(self.masks) or not self.positive


def read_image_table(path: str | Path) -> list[ImageRecord]:
    """The images that a table names, checked as far as is possible without opening them.

    Raises
    ------
    InputError
        The table or a row of it cannot be used; the message names the row (the header is row 1)
        and the remedy.
    """
    path = Path(path)
    rows = _rows(path)
    records: list[ImageRecord] = []
    first_row: dict[Path, int] = {}
    of_patient: dict[str, tuple[int, ImageRecord]] = {}
    for number, row in rows:
        try:
            record = _record(row, path.parent)
            if record.image in first_row:
                raise ValueError(f"row {first_row[record.image]} names the same image: keep one")
            earlier, one = of_patient.setdefault(record.patient, (number, record))
            for name in ("label", "severity"):
                if getattr(one, name) != getattr(record, name):
                    raise ValueError(
                        f"the patient '{record.patient}' has another {name} in row {earlier}: "
                        "give all images of a patient the same"
                    )
        except ValueError as error:
            raise InputError(f"Row {number} of {path} cannot be used: {error}.") from error
        first_row[record.image] = number
        records.append(record)
    if not records:
        raise InputError(f"{path} names no image: add a row for each image.")
    return records


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(
            f"The table {path} cannot be read ({error.strerror}): correct the name."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"The table {path} is not UTF-8 text: save it as CSV in UTF-8.") from error
    header = text.split("\n", 1)[0]
    reader = csv.reader(
        io.StringIO(text), delimiter=";" if header.count(";") > header.count(",") else ","
    )
    names = [name.strip() for name in next(reader, [])]
    missing = [name for name in NEEDED if name not in names]
    if missing:
        raise InputError(
            f"Row 1 of {path} names no column '{missing[0]}': name the columns "
            f"{', '.join(NEEDED)} and, where there are some, {', '.join(OPTIONAL)}."
        )
    for name in names:
        if name not in (*NEEDED, *OPTIONAL) and not re.fullmatch(r"mask_[1-9]\d{0,2}", name):
            raise InputError(
                f"Row 1 of {path} names an unknown column '{name}': take it out or correct it "
                f"(known: {', '.join((*NEEDED, *OPTIONAL))}, mask_1, mask_2, ...)."
            )
        if names.count(name) > 1:
            raise InputError(f"Row 1 of {path} names the column '{name}' twice: take one out.")
    rows = []
    for values in reader:
        if not any(value.strip() for value in values):
            continue
        if len(values) != len(names):
            raise InputError(
                f"Row {reader.line_num} of {path} has {len(values)} values for {len(names)} "
                "columns: quote values that hold the separator."
            )
        rows.append((reader.line_num, dict(zip(names, map(str.strip, values), strict=True))))
    return rows


def _record(row: Mapping[str, str], folder: Path) -> ImageRecord:
    for name in NEEDED:
        if not row[name]:
            raise ValueError(f"its {name} is empty: fill it in")
    masks = {
        int(name.partition("_")[2] or 0): folder / value
        for name, value in row.items()
        if name.startswith("mask") and value
    }
    if 0 in masks and len(masks) > 1:
        raise ValueError("it has both a mask of all classes and masks of single ones: keep one")
    severity, label = row.get("severity", ""), row["label"]
    if severity and severity not in SEVERITIES:
        raise ValueError(
            f"its severity is '{severity}': write {', '.join(SEVERITIES)} or leave it empty"
        )
    if label != COVID and label.replace(" ", "-").upper() in (COVID, "COVID19", "COVID"):
        raise ValueError(f"its label is '{label}': write '{COVID}'")
    if severity and label != COVID:
        raise ValueError(
            f"it has a severity, but its label is not '{COVID}': leave the severity empty"
        )
    record = ImageRecord(folder / row["image"], row["patient"], label, masks, severity or None)
    for file in (record.image, *masks.values()):
        if not file.is_file():
            raise ValueError(
                f"{file} is no file: correct the path, which starts from the table's folder"
            )
    return record


def segmentation_slices(records: Iterable[ImageRecord], n_classes: int) -> list[Slice]:
    """The images that a segmentation learns from (``ImageRecord.segments``), with their masks.

    ``Slice.source`` is the label; masks of patients without COVID-19 are empty.

    Raises
    ------
    InputError
        A picture cannot be used; the message names it, why, and the remedy.
    """
    return [read_slice(record, n_classes) for record in records if record.segments]


def read_slice(record: ImageRecord, n_classes: int) -> Slice:
    """One image with its mask, which is empty where nobody outlined it; InputError as above."""
    image = _picture(record.image, read_image)
    mask = np.zeros_like(image)
    for number, path in sorted(record.masks.items()):
        values = _picture(path, partial(_classes, number=number, n_classes=n_classes))
        if values.shape != mask.shape:
            raise InputError(
                f"{path} has {values.shape[1]} x {values.shape[0]} pixels but its image "
                f"{mask.shape[1]} x {mask.shape[0]}: give a mask of the image's size."
            )
        np.copyto(mask, values, where=values > 0)
    return Slice(image, mask, record.patient, record.label, record.image.stem)


def _picture(path: Path, read: Callable[[Path], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    try:
        return read(path)
    except Unusable as error:
        raise InputError(f"{path} cannot be used: {error}.") from error


def _classes(path: Path, number: int, n_classes: int) -> NDArray[np.uint8]:
    """(H, W): the class ``number`` where it is not 0, else all classes of one picture."""
    lesion = read_mask(path)  # checks what kind of picture it is
    if number > n_classes:
        raise Unusable(f"it is of class {number}, but there are {n_classes}: take it out")
    values = lesion * np.uint8(number) if number else read_grey(path)
    if n_classes == 1:  # whatever its class, it is lesion
        return (values > 0).astype(np.uint8)
    unknown = np.setdiff1d(values, [*range(n_classes + 1), UNKNOWN_CLASS])
    if unknown.size:
        raise Unusable(
            f"it marks the class {unknown[0]}, but there are {n_classes}: use 1 to {n_classes}, or "
            f"{UNKNOWN_CLASS} for lesion of unnamed class"
        )
    return values
