"""Made-up training slices with three lesion classes, for what no public data set has: fibrosis.

Public data mark ground-glass opacity and consolidation; the coarse-refine paper's Tables 1 to 5 and
Figure 4 need fibrosis too, and severities. What is learnt here says how the code works, nothing
about patients.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct import atomic_path
from CovidLesionSegLogic.engine import Cancel, Progress, no_progress
from CovidLesionSegLogic.errors import InputError, RequestError
from CovidLesionSegLogic.phantom import make_phantom

from .sources import Slice, crop_boxes, to_window

CLASSES = ("ground-glass opacity", "consolidation", "fibrosis")
SEVERITIES = ("none", "mild", "moderate", "severe")
# Patients without COVID-19, mild, moderate and severe: Tables 1 and 2 of the paper have 51, 75 and
# 100 outlined patients and, as negatives, 397 others; of these no more than of the severe here.
SHARES = {"none": 100, "mild": 51, "moderate": 75, "severe": 100}
SOURCE, FREE_SOURCE = "phantom", "phantom_free"
LOWEST, HIGHEST = -85.0, 95.0  # mm: every slice between them shows much lung
FRAME_MM, THICKNESS_MM = 358.4, 2.0
SMALLEST = 64  # pixels of a side
VERSION = 1  # another one where the same recipe gives other slices


@dataclass(frozen=True, eq=False)
class PhantomSlice:
    """One slice with what the statistics need beside it.

    Attributes
    ----------
    slice
        8-bit, windowed, cropped to the lungs; mask 0, 1 ground-glass opacity, 2 consolidation,
        3 fibrosis.
    severity
        Of the patient: one of ``SEVERITIES``; "none" has no COVID-19.
    lung_area
        Pixels of lung, lesions included; all of them lie within the slice.
    """

    slice: Slice
    severity: str
    lung_area: int


def paper_mix(patients: int) -> dict[str, int]:
    """``patients`` dealt to the severities as ``SHARES`` says, by largest remainders."""
    exact = {name: patients * share / sum(SHARES.values()) for name, share in SHARES.items()}
    counts = {name: int(value) for name, value in exact.items()}
    missing = patients - sum(counts.values())
    for name in sorted(exact, key=lambda n: counts[n] - exact[n])[:missing]:
        counts[name] += 1
    return counts


def phantom_slices(
    patients: Mapping[str, int],
    slices: int,
    *,
    seed: int = 0,
    pixels: int = 256,
    cache: Path | None = None,
    progress: Progress = no_progress,
    cancel: Cancel | None = None,
) -> list[PhantomSlice]:
    """Slices of made-up patients, ordered by patient and from foot to head.

    A severe patient with eight slices takes about 5 s on one core; the same arguments give the same
    slices.

    Parameters
    ----------
    patients
        Severity to number of patients.
    slices
        Of each patient, spread over the lungs at random.
    pixels
        Of a side of the whole frame of 358 mm, before the crop.
    cache
        File (.npz) that keeps the slices; read instead where it is there.
    progress
        Stage "phantoms" counts patients.

    Raises
    ------
    RequestError
        An unknown severity, or a number below 1.
    InputError
        The file ``cache`` is damaged or was made with other arguments.
    """
    unknown = sorted(patients.keys() - set(SEVERITIES))
    if unknown:
        raise RequestError(f"unknown severity {unknown[0]!r}; choose from {', '.join(SEVERITIES)}")
    counts = {name: int(patients.get(name, 0)) for name in SEVERITIES}
    total = sum(counts.values())
    if min(counts.values()) < 0 or min(total, slices) < 1 or pixels < SMALLEST or seed < 0:
        raise RequestError(
            f"phantoms need at least 1 patient, 1 slice, {SMALLEST} pixels and a seed from 0"
        )
    recipe = {"version": VERSION, "seed": seed, "slices": slices, "pixels": pixels, **counts}
    if cache is not None and cache.exists():
        return _read(cache, recipe)
    severities = [name for name, count in counts.items() for _ in range(count)]
    found: list[PhantomSlice] = []
    for done, severity in enumerate(severities):
        if cancel is not None:
            cancel.check()
        progress("phantoms", done, len(severities))
        found += _of_patient(done, severity, slices, seed, pixels)
    progress("phantoms", len(severities), len(severities))
    if cache is not None:
        _write(found, cache, recipe)
    return found


def _of_patient(
    number: int, severity: str, slices: int, seed: int, pixels: int
) -> list[PhantomSlice]:
    entropy = np.random.SeedSequence([seed, number])
    own_seed = int(entropy.generate_state(1)[0])
    edges = np.linspace(LOWEST, HIGHEST, slices + 1)
    heights = np.random.default_rng(entropy).uniform(edges[:-1], edges[1:])
    spacing = FRAME_MM / pixels
    corner = -0.5 * (FRAME_MM - spacing)
    planes = [
        make_phantom(
            (1, pixels, pixels),
            (spacing, spacing, THICKNESS_MM),
            seed=own_seed,
            severity=severity,
            fibrosis=True,
            origin=(corner, corner, float(z)),
        )
        for z in heights
    ]
    boxes = crop_boxes(np.concatenate([p.lungs for p in planes]))
    patient = f"phantom_{seed}_{number:03d}"
    result = []
    for k, box in boxes.items():
        mask = planes[k].lesions[0][box.slices]
        one = Slice(
            to_window(planes[k].ct.array[0][box.slices].astype(np.float32)),
            mask,
            patient,
            SOURCE if mask.any() else FREE_SOURCE,
            f"{patient}_{k:02d}",
        )
        result.append(PhantomSlice(one, severity, int(np.count_nonzero(planes[k].lungs))))
    return result


def _write(found: Sequence[PhantomSlice], path: Path, recipe: Mapping[str, int]) -> None:
    arrays: dict[str, NDArray[np.uint8]] = {}
    for index, one in enumerate(found):
        arrays[f"image{index}"], arrays[f"mask{index}"] = one.slice.image, one.slice.mask
    rows = [
        [one.slice.patient, one.slice.source, one.slice.name, one.severity, one.lung_area]
        for one in found
    ]
    about = np.array(json.dumps({"recipe": dict(recipe), "rows": rows}))
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, about=about, **arrays)  # type: ignore[arg-type]


def _read(path: Path, recipe: Mapping[str, int]) -> list[PhantomSlice]:
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            made, rows = about["recipe"], about["rows"]
            arrays = [(file[f"image{i}"], file[f"mask{i}"]) for i in range(len(rows))]
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(
            f"The phantoms in {path} cannot be read ({error}): delete the file to have them made "
            "again."
        ) from error
    if made != dict(recipe):
        raise InputError(
            f"The phantoms in {path} were made with other options ({made}): give another file, or "
            "delete this one to have them made again."
        )
    return [
        PhantomSlice(Slice(image, mask, *row[:3]), row[3], row[4])
        for (image, mask), row in zip(arrays, rows, strict=True)
    ]
