"""One study from its files to its results, in three steps that can overlap with other studies'."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from CovidLesionSegLogic.batch.checksums import Inputs, held, input_files, stamp
from CovidLesionSegLogic.batch.place import Results
from CovidLesionSegLogic.batch.privacy import hide_identity, hide_names, without_identity
from CovidLesionSegLogic.batch.record import Record, numbers_of, write_record
from CovidLesionSegLogic.batch.settings import Settings, StopBatchError
from CovidLesionSegLogic.batch.study import Study
from CovidLesionSegLogic.ct import read_ct
from CovidLesionSegLogic.ct.dicom_index import index_tree
from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.engine import Cancel
from CovidLesionSegLogic.errors import InputError, RequestError
from CovidLesionSegLogic.models import LoadNetwork
from CovidLesionSegLogic.outputs import check_source, write_outputs
from CovidLesionSegLogic.pipeline import SegmentationResult, SegmentOptions, segment_ct

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Job:
    """A study with all that its steps need."""

    study: Study
    settings: Settings
    results: Path
    progress: Progress
    cancel: Cancel


@dataclass(frozen=True, eq=False)
class Loaded:
    """A study that was read; ``unchanged`` is its record where the results are still valid."""

    job: Job
    ct: CTVolume | None
    options: SegmentOptions
    inputs: Inputs
    seconds: float
    unchanged: Record | None = None


@dataclass(frozen=True, eq=False)
class Segmented:
    """A study that was segmented and waits to be written; ``result`` None where it is unchanged."""

    loaded: Loaded
    result: SegmentationResult | None
    seconds: float


def load(job: Job) -> Loaded:
    """First step: read the CT, unless earlier results are of the same content.

    Raises
    ------
    InputError
        The input cannot be used, or changed while it was read.
    CancelledError
        Stopping was asked for.
    """
    began = time.monotonic()
    study, settings = job.study, job.settings
    job.progress("read", 0, 1)  # whoever sees this process die knows of what, perhaps
    options = settings.options_for(study)
    files = input_files(study)
    before = stamp(files)
    inputs = replace(before, content=held(study))
    if study.remote is not None:
        inputs = replace(inputs, stamp=study.remote.stamp)
    earlier = Results(job.results).record(study.name)
    if is_current(earlier, job, inputs.content):
        return Loaded(job, None, options, inputs, 0.0, earlier)

    def progress(stage: str, done: int, total: int) -> None:
        job.cancel.check()
        job.progress(stage, done, total)

    if study.path.is_dir() and not study.files and not study.series_uid:
        _check_one_study(study.path)
    ct = read_ct(
        study.path,
        series_uid=study.series_uid,
        allow_missing_slices=settings.allow_missing_slices,
        files=study.files or None,
        progress=progress,
    )
    check_source(ct, settings.formats)
    if stamp(files) != before:
        raise InputError(f"{study.path} changed while it was read: run again when it is complete.")
    if study.remote is not None:
        ct = replace(ct, source={**ct.source, "path": study.remote.address})
    if settings.pseudonymise:
        ct = without_identity(ct, study.name, study.path)
    else:
        ct = replace(ct, name=study.name)
    job.cancel.check()
    return Loaded(job, ct, options, inputs, time.monotonic() - began)


def _check_one_study(folder: Path) -> None:
    """A folder that a table names is one study; InputError where it holds CTs of several."""
    chosen = [one.series[0] for one in index_tree(folder).studies if one.files]
    if len(chosen) > 1:
        uids = "; ".join(f"{one.uid} ({one.slices} slices)" for one in chosen[:4])
        raise InputError(
            f"{folder} holds CTs of {len(chosen)} studies: name the series in the table's column "
            f"'series' ({uids}{'; ...' if len(chosen) > 4 else ''})."
        )


def is_current(record: Record | None, job: Job, known_content: str) -> bool:
    """Whether the study's results are whole and of the same content, options and weights."""
    return (
        record is not None
        and job.settings.resume
        and record.inputs.content == known_content
        and record.request == job.settings.requests()(job.study)
        and record.whole(job.results / job.study.name)
    )


def segment(loaded: Loaded, networks: LoadNetwork) -> Segmented:
    """Second step; the errors are those of :func:`~CovidLesionSegLogic.pipeline.segment_ct`."""
    job, began = loaded.job, time.monotonic()
    result = None
    if loaded.ct is not None:
        result = segment_ct(
            loaded.ct, loaded.options, progress=job.progress, cancel=job.cancel, networks=networks
        )
        if job.settings.pseudonymise:
            result = replace(result, **_without_paths(result, job.study))
    return Segmented(loaded, result, loaded.seconds + time.monotonic() - began)


def _without_paths(result: SegmentationResult, study: Study) -> dict[str, Any]:
    """What of the result may name a file, without it."""
    options = dict(result.provenance["options"])
    warnings = list(result.warnings)
    for name, path in (("lungs", study.lungs), ("regions", study.regions)):
        if path is not None:
            options[name] = "given"
            warnings = [hide_identity(text, path) for text in warnings]
    return {"warnings": tuple(warnings), "provenance": {**result.provenance, "options": options}}


def write(segmented: Segmented) -> Record:
    """Third step: results and record take their place together.

    Raises
    ------
    StopBatchError
        The folder cannot be written or the disk is full.
    CancelledError
        Stopping was asked for.
    """
    loaded, result = segmented.loaded, segmented.result
    job, name = loaded.job, loaded.job.study.name
    results = Results(job.results)
    try:
        if result is None:
            assert loaded.unchanged is not None  # the one reason for no result
            record = replace(loaded.unchanged, key=job.study.key, inputs=loaded.inputs)
            write_record(record, results.root / name)
            return record
        with results.staged(name) as folder:
            outputs = write_outputs(
                result,
                folder,
                job.settings.formats,
                probability=job.settings.options.probability,
                report=job.settings.report,
                name=name,
                progress=job.progress,
            )
            record = Record(
                name=name,
                key=job.study.key,
                request=job.settings.requests()(job.study),
                inputs=loaded.inputs,
                outputs={
                    key: {"file": path.name, "bytes": path.stat().st_size}
                    for key, path in outputs.items()
                },
                numbers=_numbers(result, job.study),
                seconds=segmented.seconds,
            )
            write_record(record, folder)
            job.cancel.check()
        return record
    except RequestError as error:
        raise StopBatchError(str(error)) from error


def _numbers(result: SegmentationResult, study: Study) -> dict[str, Any]:
    numbers = numbers_of(result)
    numbers["warnings"] = [hide_names(text, study.name_words) for text in numbers["warnings"]]
    return numbers


def failure_text(error: BaseException, study: Study, *, pseudonymise: bool) -> str:
    """Why a study failed, without the patient's name and, where asked for, without its path."""
    return discreet(str(error), study, pseudonymise=pseudonymise)


def discreet(text: str, study: Study, *, pseudonymise: bool) -> str:
    """A text on a study without the patient's name and, where asked for, without its paths."""
    if study.remote is not None:
        text = text.replace(str(study.path), f"study {study.remote.study_uid}")
    if pseudonymise and text:
        for file in study.files:  # their names may hold blanks, at which hide_identity stops
            text = text.replace(str(file), "...").replace(file.name, "...")
        for path in (study.path, study.lungs, study.regions, *study.files[:1]):
            if path is not None:
                text = hide_identity(text, path)
    return hide_names(text, study.name_words)
