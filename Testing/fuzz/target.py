"""What is done with an input, and what of it may happen: run in a process of its own."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import traceback
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from seeds import SHAPE

from CovidLesionSegLogic import ct as readers
from CovidLesionSegLogic.batch.find import find_studies
from CovidLesionSegLogic.batch.naming import named
from CovidLesionSegLogic.errors import InputError, RequestError
from CovidLesionSegLogic.quantify.regions import name_lobes, parse_region_names, read_regions

READ, REFUSED, FINDING = "read", "refused", "finding"
MEMORY_WORDS = ("to allocate", "bad_alloc", "memory", "default_append")
LONGEST_MESSAGE = 4000


@dataclass(frozen=True)
class Verdict:
    """How an input ended: read, refused with a sentence, or a finding with what tells it apart."""

    outcome: str
    message: str = ""
    kind: str = ""


class Broken(Exception):
    """The reader returned, but with what it must not return."""


def judge(kind: str, folder: Path) -> Verdict:
    """Read what lies in ``folder`` in every way that the product reads such a thing."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        verdict = _each(kind, folder)
    noise = [w for w in heard if issubclass(w.category, (RuntimeWarning, UserWarning))]
    if noise and verdict.outcome != FINDING:
        first = noise[0]
        where = f"{Path(first.filename).name}:{first.lineno}"
        return Verdict(FINDING, f"{first.message}", f"noise {where} {first.category.__name__}")
    return verdict


def _each(kind: str, folder: Path) -> Verdict:
    verdicts = [_one(way, folder) for way in WAYS[kind]]
    for wanted in (FINDING, REFUSED):
        for verdict in verdicts:
            if verdict.outcome == wanted:
                return verdict
    return verdicts[0]


def _one(way: Callable[[Path], None], folder: Path) -> Verdict:
    try:
        way(folder)
    except (InputError, RequestError) as error:
        return _refusal(str(error))
    except Broken as error:
        return Verdict(FINDING, str(error), f"broken: {error}"[:80])
    except Exception as error:  # noqa: BLE001 - whatever else comes is what is looked for
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if "CovidLesionSegLogic" in f.filename] or frames
        where = f"{Path(own[-1].filename).name}:{own[-1].lineno}"
        text = "".join(traceback.format_exception(error))[-3000:]
        return Verdict(FINDING, text, f"{type(error).__name__} {where}")
    return Verdict(READ)


def _refusal(message: str) -> Verdict:
    fault = text_fault(message)
    if fault is None and any(word in message.lower() for word in MEMORY_WORDS):
        fault = "memory was asked for"
    if fault is None and not message.endswith("."):
        fault = "no full stop"
    if fault is not None:
        return Verdict(FINDING, message[:LONGEST_MESSAGE], f"message: {fault}")
    return Verdict(REFUSED, message)


def text_fault(text: str) -> str | None:
    """Why a person should not be shown this text; None where nothing is wrong with it."""
    if len(text) > LONGEST_MESSAGE:
        return "too long"
    if any(unicodedata.category(c) in ("Cc", "Zl", "Zp") or c == "\u202e" for c in text):
        return "control character"
    return None


def _check_ct(volume: readers.CTVolume) -> None:
    if volume.array.dtype not in (np.int16, np.float32) or not np.isfinite(volume.array).all():
        raise Broken("voxels are no finite int16 or float32")
    if volume.array.min() < -1024 or min(volume.shape) < 2:
        raise Broken("voxels outside of what a CTVolume holds")
    if not np.isfinite(volume.affine).all():
        raise Broken("the affine is not finite")
    json.dumps(volume.source, allow_nan=False)
    for text in (*volume.warnings, volume.name, *map(str, volume.source.values())):
        fault = text_fault(text)
        if fault is not None and text != volume.source.get("path"):
            raise Broken(f"a text with a fault: {fault}")
    canonical, _ = readers.to_canonical(volume)
    if canonical.array.size != volume.array.size:
        raise Broken("canonical axes lose voxels")


def _like() -> readers.CTVolume:
    return readers.CTVolume(
        np.zeros(SHAPE, np.int16), (-10.0, -20.0, -100.0), (0.75, 0.8, 2.0), name="like"
    )


def _file(folder: Path) -> Path:
    (file,) = (f for f in sorted(folder.iterdir()) if not f.name.endswith((".raw", ".zraw", ".gz"))
               or f.name.endswith(".nii.gz"))  # fmt: skip
    return file


def _ct(folder: Path) -> None:
    _check_ct(readers.read_ct(_file(folder)))


def _dicom(folder: Path) -> None:
    _check_ct(readers.read_ct(folder, allow_missing_slices=True))


def _series(folder: Path) -> None:
    for info in readers.list_series(folder):
        for text in (info.uid, info.description, info.modality, info.why):
            if text_fault(text) is not None:
                raise Broken(f"a series' text with a fault: {text_fault(text)}")


def _find(folder: Path) -> None:
    found = find_studies([str(folder)])
    for study in named(found.studies, lambda name: None):
        if {"/", "\\", "\0", "\n"} & set(study.name) or study.name in ("", ".", ".."):
            raise Broken("a study's name is no file name")
        json.dumps(study.to_dict())
        for text in (study.about, study.key):
            if text_fault(text) is not None:
                raise Broken(f"a study's text with a fault: {text_fault(text)}")
    for one in found.left_out:
        json.dumps(asdict(one))
        if text_fault(one.what) is not None or text_fault(one.why) is not None:
            raise Broken(f"a text of what was left out: {text_fault(one.what + one.why)}")


def _mask(folder: Path) -> None:
    like = _like()
    labels = readers.read_labels(_file(folder), like)
    if labels.shape != like.shape or labels.dtype != np.uint8:
        raise Broken("labels of another shape or dtype")


def _regions(folder: Path) -> None:
    regions = name_lobes(read_regions(_file(folder), _like()), _like(), None)
    for text in (*regions.names.values(), *regions.notes):
        if text_fault(text) is not None:
            raise Broken(f"a region's text with a fault: {text_fault(text)}")


def _table(folder: Path) -> None:
    (file,) = folder.iterdir()
    if file.suffix == ".json":
        parse_region_names(str(file))
    else:
        _find_table(file)


def _find_table(file: Path) -> None:
    for study in find_studies([str(file)]).studies:
        json.dumps(study.to_dict())
        if {"/", "\\", "\0", "\n"} & set(study.name):
            raise Broken("a study's name is no file name")


WAYS: dict[str, tuple[Callable[[Path], None], ...]] = {
    "dicom": (_dicom, _series, _find),
    "image": (_ct,),
    "mask": (_mask, _regions),
    "table": (_table,),
}


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Nothing of what libraries print is seen."""
    logging.disable(logging.CRITICAL)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    yield


def as_json(verdict: Verdict) -> bytes:
    """For the pipe to the parent."""
    data: dict[str, Any] = asdict(verdict)
    return json.dumps(data).encode()
