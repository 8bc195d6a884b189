"""A user's own CT volumes with lesion masks, as the slices that the engine would show a network."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from CovidLesionSegLogic.ct import read_ct, read_labels, to_canonical, window
from CovidLesionSegLogic.ct.cases import Case, check_case
from CovidLesionSegLogic.ct.formats import detect_format
from CovidLesionSegLogic.ct.image_file import read_image_file
from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.engine import Cancel, Progress, lung_boxes, no_progress
from CovidLesionSegLogic.errors import InputError
from CovidLesionSegLogic.models import InputSpec
from CovidLesionSegLogic.pipeline import SegmentOptions
from CovidLesionSegLogic.pipeline.lung_stage import find_lungs

from .class_values import ClassValues
from .folder import FREE_SOURCE, SMALLEST, SOURCE, Problems, patient_rule
from .sources import Slice

logger = logging.getLogger(__name__)
MINIMUM_LUNG_MM2 = 400.0
"""Slices with less lung than this are left out, unless they have lesion."""
LARGEST_SHARE_OUTSIDE = 0.02


def load_volumes(
    cases: Sequence[Case],
    *,
    device: torch.device,
    spec: InputSpec,
    classes: ClassValues | None = None,
    patient: str | None = None,
    progress: Progress = no_progress,
    cancel: Cancel | None = None,
    notice: Callable[[str], None] = logger.warning,
) -> list[Slice]:
    """Axial slices with lung, cropped and windowed (to 8 bits) as ``spec`` says.

    All files are checked before the first lung network runs. Lungs are found as in segmentation
    where no mask is given.

    Parameters
    ----------
    device
        For the lung network.
    spec
        What the network that is trained will see in a segmentation: window and crop.
    classes
        What the labels mean; None: every label over 0 is lesion.
    patient
        Regular expression that finds the patient in a CT's path; None: each CT is a patient.
    progress
        Stages "check" and "read" count volumes; "lungs" comes between.
    notice
        Told in a sentence what is doubtful but used.

    Raises
    ------
    RequestError
        ``patient`` is no regular expression.
    InputError
        Anything cannot be used; all problems are told at once.
    """
    cancel = cancel or Cancel()
    patients = _patients(cases, patient)
    problems = Problems("The training volumes")
    for done, case in enumerate(cases):
        cancel.check()
        progress("check", done, len(cases))
        _check(case, classes, problems)
    if None in patients:
        for case, name in zip(cases, patients, strict=True):
            if name is None:
                problems.add("--patient matches nothing in its path: correct it", str(case.ct))
    problems.check()
    progress("check", len(cases), len(cases))

    slices: list[Slice] = []
    for done, (case, name) in enumerate(zip(cases, patients, strict=True)):
        cancel.check()
        progress("read", done, len(cases))
        assert name is not None
        try:
            slices += _slices(
                case,
                name,
                device=device,
                spec=spec,
                classes=classes,
                progress=progress,
                cancel=cancel,
                notice=notice,
            )
        except InputError as error:
            problems.sentences.append(str(error).rstrip("."))
    progress("read", len(cases), len(cases))
    if slices and not any(s.mask.any() for s in slices):
        problems.sentences.append("no lesion mask marks anything: give masks with lesion over 0")
    unnamed = classes.unnamed_only(slices) if classes else None
    if unnamed:
        problems.sentences.append(unnamed)
    problems.check()
    return slices


def _patients(cases: Sequence[Case], pattern: str | None) -> list[str | None]:
    rule = patient_rule(pattern)
    if pattern is not None:
        return [rule(str(case.ct)) for case in cases]
    names = [case.ct.name.split(".")[0] for case in cases]
    counts = Counter(names)
    return [
        name if counts[name] == 1 else str(case.ct) for name, case in zip(names, cases, strict=True)
    ]


def _check(case: Case, classes: ClassValues | None, problems: Problems) -> None:
    try:
        check_case(case)
    except InputError as error:
        problems.sentences.append(str(error).rstrip("."))
        return
    if classes is None:
        return
    labels = read_image_file(case.lesion, detect_format(case.lesion)).array
    reason = classes.strange(labels.astype(np.uint8))  # whole numbers up to 255, as checked above
    if reason is not None:
        problems.add(reason, str(case.lesion))


def _slices(
    case: Case,
    patient: str,
    *,
    device: torch.device,
    spec: InputSpec,
    classes: ClassValues | None,
    progress: Progress,
    cancel: Cancel,
    notice: Callable[[str], None],
) -> list[Slice]:
    ct = read_ct(case.ct)
    canonical, reorientation = to_canonical(ct)
    labels = reorientation.apply(read_labels(case.lesion, ct))
    lesion = (labels > 0).astype(np.uint8) if classes is None else classes.encode(labels)
    lungs = find_lungs(
        ct,
        canonical,
        reorientation,
        SegmentOptions(lungs=case.lung),
        device=device,
        progress=progress,
        cancel=cancel,
        notice=notice,
    )
    for message in (*canonical.warnings, *lungs.warnings):
        notice(f"{case.ct}: {message}")
    slices, outside = _cropped(canonical, lesion, lungs.mask, patient, spec)
    total = int(np.count_nonzero(lesion))
    if not total:
        notice(f"{case.lesion} marks nothing: the whole CT counts as free of lesion.")
    elif outside > LARGEST_SHARE_OUTSIDE * total:
        notice(
            f"{100 * outside / total:.0f} % of the lesion in {case.lesion} lies outside the box "
            "around the lungs and is not learnt from; check both masks (--lung gives the lungs)."
        )
    return slices


def _cropped(
    canonical: CTVolume,
    lesion: NDArray[np.uint8],
    lungs: NDArray[np.uint8],
    patient: str,
    spec: InputSpec,
) -> tuple[list[Slice], int]:
    """Slices of one CT, and the lesion voxels that are in none of them."""
    pixel = canonical.spacing[0] * canonical.spacing[1]
    slices: list[Slice] = []
    outside = int(np.count_nonzero(lesion))
    for k, box in lung_boxes(lungs, spec).items():
        if min(box.size) < SMALLEST:
            continue
        mask = lesion[k][box.slices].copy()  # does not keep the whole volume
        if not mask.any() and np.count_nonzero(lungs[k]) * pixel < MINIMUM_LUNG_MM2:
            continue
        outside -= int(np.count_nonzero(mask))
        hu = np.nan_to_num(canonical.array[k][box.slices].astype(np.float32), nan=spec.window[0])
        grey = (window(hu, *spec.window) * 255).round().astype(np.uint8)
        source = SOURCE if mask.any() else FREE_SOURCE
        slices.append(Slice(grey, mask, patient, source, f"{Path(patient).name}_{k:03d}"))
    return slices, outside
