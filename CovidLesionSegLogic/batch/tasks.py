"""What a worker can be asked to do, each from a request to a JSON-ready result."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.batch.exchange import inside, open_ct, open_placed, write_placed
from CovidLesionSegLogic.batch.handed import read_class
from CovidLesionSegLogic.batch.study import path_from
from CovidLesionSegLogic.ct.box import Placed
from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.engine import Cancel, Progress
from CovidLesionSegLogic.errors import InputError, RequestError, quoted
from CovidLesionSegLogic.models import KeptNetworks, LesionClass
from CovidLesionSegLogic.outputs import write_outputs
from CovidLesionSegLogic.outputs.write import numbers
from CovidLesionSegLogic.pipeline import (
    GateResult,
    KeptLungs,
    SegmentationResult,
    SegmentOptions,
    check_options,
    segment_ct,
)
from CovidLesionSegLogic.quantify import Quantification, quantify

OPTIONS = ("model", "device", "threshold", "gate", "flips", "engine", "batch_size", "probability")
MAPS = ("lungs", "regions")
CORRECTED = "The segmentation was corrected by hand after the run."


@dataclass(frozen=True)
class Context:
    """What every task gets: the exchange folder, what is kept, whom to tell, when to stop."""

    root: Path
    networks: KeptNetworks
    lungs: KeptLungs
    progress: Progress
    cancel: Cancel

    def folder(self, request: Mapping[str, Any]) -> Path:
        """The folder that a request names; RequestError for one outside the exchange folder."""
        name = request.get("folder")
        if not isinstance(name, str):
            raise RequestError(f"The request '{request.get('do')}' needs a 'folder'.")
        return inside(self.root, name)


def segment(request: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Segment the CT in the folder: "options" by the names of ``SegmentOptions``.

    "lungs" and "regions" among them are label maps (``.nhdr``) in the folder. The result has
    "labels", "lungs" and, if asked for, "probability" (per class) as boxes, "classes", and the
    "numbers" of ``NAME_quantification.json``.
    """
    folder, number = context.folder(request), request["id"]
    options = _options(request, folder)
    result = segment_ct(
        open_ct(folder).checked(),
        options,
        progress=context.progress,
        cancel=context.cancel,
        networks=context.networks,
        kept_lungs=context.lungs,
    )
    # Names of their own: Windows replaces no file that the parent has mapped, and the parent may
    # not have read the result of the last request yet.
    told: dict[str, Any] = {
        "labels": write_placed(Placed.of(result.labels), folder / f"labels-{number}.raw"),
        "lungs": write_placed(Placed.of(result.lungs), folder / f"lungs-{number}.raw"),
        "classes": [asdict(c) for c in result.classes],
        "numbers": numbers(result),
    }
    if result.probability is not None:
        told["probability"] = [
            write_placed(_as_float32(Placed.of(soft)), folder / f"probability-{number}-{index}.raw")
            for index, soft in enumerate(result.probability)
        ]
    return told


def _as_float32(placed: Placed) -> Placed:
    """VTK knows no half precision."""
    return replace(placed, array=placed.array.astype(np.float32))


def measure(request: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """The numbers of "labels" and "lungs" (boxes in the folder) by "classes", after corrections."""
    context.progress("quantify", 0, 1)
    ct, labels, lungs, classes = _handed(request, context.folder(request))
    found = _quantified(ct, labels, lungs, classes)
    context.progress("quantify", 1, 1)
    return {"numbers": found.to_dict()}


def write(request: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Write the files of ``segment`` into the folder "output", and the report.

    "labels", "lungs" and "classes" as for :func:`measure`; "run" is what the run noted
    (:func:`~CovidLesionSegLogic.mrml.run_record`). Where the volumes are no longer the run's, the
    files say that the segmentation was corrected, and leave the gate's view out.
    """
    ct, labels, lungs, classes = _handed(request, context.folder(request))
    if lungs is None:
        raise RequestError("Files and report need the lungs: keep the lung segments.")
    run = RunNotes.of(request)
    output, formats = _output(request), _formats(request)
    found = _quantified(ct, labels, lungs, classes)
    warnings, gate = run.warnings, run.gate
    if [m.volume_ml for m in found.classes] != run.volumes:
        warnings, gate = (*warnings, CORRECTED), None
    result = SegmentationResult(
        ct=ct,
        labels=labels,
        lungs=lungs,
        probability=None,
        classes=tuple(classes),
        quantification=found,
        provenance=run.provenance,
        warnings=warnings,
        gate=gate,
    )
    outputs = write_outputs(result, output, formats, progress=context.progress)
    return {"outputs": {name: str(path) for name, path in outputs.items()}}


def _handed(
    request: Mapping[str, Any], folder: Path
) -> tuple[CTVolume, NDArray[Any], NDArray[Any] | None, list[LesionClass]]:
    """CT, labels, lungs and classes of a request; RequestError where one is missing."""
    for name in ("labels", "classes"):
        if name not in request:
            raise RequestError(f"The request '{request.get('do')}' needs '{name}'.")
    ct, lungs = open_ct(folder).checked(), request.get("lungs")
    return (
        ct,
        _labels(request["labels"], folder, ct),
        None if lungs is None else _labels(lungs, folder, ct),
        _classes(request["classes"]),
    )


def _quantified(
    ct: CTVolume, labels: NDArray[Any], lungs: NDArray[Any] | None, classes: list[LesionClass]
) -> Quantification:
    try:
        return quantify(ct, labels, lungs, classes)
    except ValueError as error:
        raise InputError(
            f"The labels cannot be measured ({error}): start the run again."
        ) from error


def _labels(told: Any, folder: Path, ct: CTVolume) -> NDArray[Any]:
    """A label map on the CT's grid from its box."""
    placed = open_placed(told, folder)
    if placed.shape != ct.shape or placed.array.dtype.kind == "f":
        raise InputError(
            f"Voxels that were handed over are no labels of the CT ({placed.array.dtype}, of a "
            f"volume of shape {placed.shape}): start the run again."
        )
    return placed.whole()


def _classes(told: Any) -> list[LesionClass]:
    if not isinstance(told, list) or not told:
        raise RequestError("'classes' must be a list [...] of lesion classes.")
    classes = [read_class(one) for one in told]
    if len({c.label for c in classes}) < len(classes) or len({c.name for c in classes}) < len(told):
        raise RequestError("Each of 'classes' needs a name and a label of its own.")
    return classes


def prepare(request: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Load the networks of "options", so that the next run begins at once."""
    card, device = check_options(_options(request))
    context.networks(card, device)
    return {"model": card.name, "device": str(device)}


def devices(request: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """What can compute here, with the free memory of each graphics card."""
    from CovidLesionSegLogic.engine.device import list_devices

    return {"devices": [asdict(device) for device in list_devices()]}


Task = Callable[[Mapping[str, Any], Context], dict[str, Any]]
TASKS: dict[str, Task] = {
    "segment": segment,
    "measure": measure,
    "write": write,
    "prepare": prepare,
    "devices": devices,
}


@dataclass(frozen=True)
class RunNotes:
    """What a parent kept of the run whose result is to be written."""

    provenance: dict[str, Any]
    warnings: tuple[str, ...]
    gate: GateResult | None
    volumes: list[Any]

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> RunNotes:
        """The "run" of a request; RequestError where it is none."""
        try:
            run = request["run"]
            provenance, gate = dict(run["provenance"]), run["gate"]
            for part in ("input", "model", "options"):
                provenance[part] = dict(provenance.get(part) or {})
            json.dumps(provenance, allow_nan=False)
            return cls(
                provenance,
                tuple(map(str, run["warnings"])),
                None if gate is None else GateResult.from_dict(gate),
                list(run["volumes"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise RequestError("The request 'write' needs a right 'run'.") from error


def _output(request: Mapping[str, Any]) -> Path:
    told = request.get("output")
    try:
        if told:
            return path_from(told)
    except (TypeError, ValueError):
        pass
    raise RequestError("The request 'write' needs the path of a folder as 'output'.")


def _formats(request: Mapping[str, Any]) -> list[str] | None:
    told = request.get("formats")
    if told is not None and not (isinstance(told, list) and all(isinstance(f, str) for f in told)):
        raise RequestError("'formats' must be a list [...] of names.")
    return told


def _options(request: Mapping[str, Any], folder: Path | None = None) -> SegmentOptions:
    options = request.get("options", {})
    if not isinstance(options, Mapping):
        raise RequestError("'options' must be an object {...}.")
    known = OPTIONS if folder is None else (*OPTIONS, *MAPS, "region_names")
    unknown = [name for name in options if name not in known]
    if unknown:
        raise RequestError(
            f"There is no option '{quoted(unknown[0])}'; there are {', '.join(known)}."
        )
    chosen = dict(options)
    for name in MAPS:
        if folder is not None and isinstance(chosen.get(name), str):
            chosen[name] = inside(folder, chosen[name])
    if isinstance(names := chosen.get("region_names"), Mapping):
        try:  # JSON's keys are texts
            chosen["region_names"] = {int(k): v for k, v in names.items()}
        except ValueError as error:
            raise RequestError("The keys of 'region_names' must be whole numbers.") from error
    return SegmentOptions(**chosen)
