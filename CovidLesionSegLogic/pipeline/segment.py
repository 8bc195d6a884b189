"""The one path from a CT to lesions, lungs and numbers."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from CovidLesionSegLogic.ct import to_canonical
from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.engine import (
    Cancel,
    Progress,
    check_engine,
    choose_device,
    default_batch_size,
    describe_device,
    engine_for,
    memory_errors_for,
    no_progress,
)
from CovidLesionSegLogic.engine.device import unused_gpu_notice
from CovidLesionSegLogic.errors import RequestError
from CovidLesionSegLogic.models import (
    GateSpec,
    LoadNetwork,
    ModelCard,
    get_card,
    load_fast_network,
)
from CovidLesionSegLogic.pipeline import provenance
from CovidLesionSegLogic.pipeline.gate import GateResult, gate_result
from CovidLesionSegLogic.pipeline.kept_lungs import KeptLungs
from CovidLesionSegLogic.pipeline.labelling import complete_lungs
from CovidLesionSegLogic.pipeline.lesion_stage import find_lesions
from CovidLesionSegLogic.pipeline.lung_stage import find_lungs
from CovidLesionSegLogic.pipeline.options import SegmentOptions
from CovidLesionSegLogic.pipeline.resources import (
    StageClock,
    peak_gpu_memory_mb,
    peak_memory_mb,
    reset_peak_memory,
)
from CovidLesionSegLogic.pipeline.result import SegmentationResult
from CovidLesionSegLogic.quantify import name_lobes, quantify, read_regions

if TYPE_CHECKING:
    import torch


def segment_ct(
    ct: CTVolume,
    options: SegmentOptions | None = None,
    *,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    networks: LoadNetwork = load_fast_network,
    kept_lungs: KeptLungs | None = None,
) -> SegmentationResult:
    """Segment the lesions of one chest CT.

    The lungs are found, the network runs over the slices that have lung (with a gate: those that
    show signs of infection), each voxel over its class's threshold and at most 3 mm (in plane)
    from the lungs becomes lesion (and, unless the lungs were given, part of the nearest lung),
    everything goes back onto the CT's own grid and is measured. The same input and options on the
    same device give the same result.

    Parameters
    ----------
    ct
        HU, any axis order (:func:`CovidLesionSegLogic.ct.read_ct`).
    options
        What the user chose; None: the defaults.
    progress
        Called with (stage, done, total); the stages are "load", "lungs", "segment", "quantify".
    cancel
        Set from another thread or a signal handler to stop early.
    networks
        What loads them; :class:`~CovidLesionSegLogic.models.KeptNetworks` keeps them for the next.
    kept_lungs
        The lungs of the CT before, used again where it is the same CT.

    Raises
    ------
    RequestError
        Unknown model, device not there, gate asked of a model without one.
    InputError
        No lungs, a damaged weight file, a mask that does not fit, too little memory.
    CancelledError
        Stopping was asked for.
    """
    options = options or SegmentOptions()
    cancel = cancel or Cancel()
    report = _cancellable(progress or no_progress, cancel)
    clock = StageClock()
    started = provenance.now()
    warnings: list[str] = []

    def notice(message: str) -> None:
        _add(warnings, message)

    report("load", 0, 1)
    with clock.stage("load"):
        card, device = check_options(options)
        gate = None if options.gate is False else card.gate
        reset_peak_memory(device)
        _add(warnings, unused_gpu_notice(device, options.device))
        canonical, reorientation = to_canonical(ct)
        engine = engine_for(options.engine, device, len(canonical.array))
        _add(warnings, *canonical.warnings)
        regions = None
        if options.regions is not None:
            regions = read_regions(options.regions, ct, names=options.region_names)
        with memory_errors_for(device, f"the model '{card.name}'"):
            network = networks(card, device)
    report("load", 1, 1)

    with clock.stage("lungs"):
        lungs = find_lungs(
            ct,
            canonical,
            reorientation,
            options,
            device=device,
            progress=report,
            cancel=cancel,
            notice=notice,
            networks=networks,
            kept=kept_lungs,
        )
        _add(warnings, *lungs.warnings)
    cancel.check()

    with clock.stage("segment"):
        _add(warnings, *_value_notices(canonical))
        lesions = find_lesions(
            canonical,
            lungs.mask,
            network,
            card,
            device=device,
            threshold=options.threshold,
            gate=gate,
            engine=engine,
            batch_size=options.batch_size,
            probability=options.probability,
            progress=report,
            cancel=cancel,
            notice=notice,
        )
        if lungs.method != "given":
            row_column = (canonical.spacing[1], canonical.spacing[0])
            complete_lungs(lungs.mask, lesions.labels, row_column)
    cancel.check()

    report("quantify", 0, 1)
    with clock.stage("quantify"):
        own_labels = np.ascontiguousarray(reorientation.restore(lesions.labels))
        own_lungs = np.ascontiguousarray(reorientation.restore(lungs.mask))
        own_maps = None
        if lesions.maps is not None:
            own_maps = np.ascontiguousarray(reorientation.restore(lesions.maps))
        if regions is not None:
            regions = name_lobes(regions, ct, own_lungs)
            _add(warnings, *regions.notes)
        quantification = quantify(
            ct,
            own_labels,
            own_lungs,
            card.classes,
            regions=None if regions is None else regions.labels,
            region_names=None if regions is None else regions.names,
        )
        _add(warnings, *quantification.warnings)
        screened = None if gate is None else gate_result(lesions.seen, gate, quantification.slices)
        _add(warnings, _gate_notice(screened))
    report("quantify", 1, 1)

    return SegmentationResult(
        ct=ct,
        labels=own_labels,
        lungs=own_lungs,
        probability=own_maps,
        classes=card.classes,
        quantification=quantification,
        provenance={
            "software": provenance.software_record(),
            "model": provenance.model_record(card),
            "lungs": {
                "method": lungs.method,
                "model": provenance.model_record(lungs.model),
            },
            "options": options.to_dict(),
            "thresholds": {
                c.name: c.threshold if options.threshold is None else options.threshold
                for c in card.classes
            },
            "inference": asdict(card.inference),
            "gate": _gate_record(card, gate),
            "batch_size": options.batch_size or default_batch_size(device),
            "input": provenance.input_record(ct),
            "device": describe_device(device),
            "engine": lesions.engine,
            "started": started,
            "seconds": dict(clock.seconds),
            "peak_memory_mb": peak_memory_mb(),
            "peak_gpu_memory_mb": peak_gpu_memory_mb(device),
        },
        warnings=tuple(warnings),
        gate=screened,
    )


def check_options(options: SegmentOptions) -> tuple[ModelCard, torch.device]:
    """The model, as it will be run, and the device; RequestError when they cannot be had."""
    card, device = check_model(options), choose_device(options.device)
    check_engine(options.engine, device)
    return card, device


def check_model(options: SegmentOptions) -> ModelCard:
    """The model, as it will be run; RequestError when it cannot be had."""
    card = get_card(options.model, "lesion")
    if options.gate and card.gate is None:
        raise RequestError(
            f"The model '{card.name}' has no gate (a classifier that decides which slices are "
            "segmented); leave --gate out."
        )
    if options.flips is not None:
        card = replace(card, inference=replace(card.inference, flips=options.flips))
    return card


def _gate_record(card: ModelCard, used: GateSpec | None) -> dict[str, Any] | None:
    """Whether the gate ran, and by which rules; None for a model without one."""
    return None if card.gate is None else {"used": used is not None, **asdict(card.gate)}


def _gate_notice(screened: GateResult | None) -> str:
    if screened is None or screened.left_out < screened.looked_at:
        return ""
    return (
        "The gate found no slice with signs of infection, so none was segmented; "
        "switch the gate off to segment every slice."
    )


def _cancellable(progress: Progress, cancel: Cancel) -> Progress:
    """Progress that also heeds ``cancel``: a stage that only reports can be stopped too."""

    def report(stage: str, done: int, total: int) -> None:
        cancel.check()
        progress(stage, done, total)

    return report


def _add(warnings: list[str], *messages: str) -> None:
    """Append what is not empty and not yet said."""
    warnings.extend(m for m in dict.fromkeys(messages) if m and m not in warnings)


def _value_notices(ct: CTVolume) -> list[str]:
    if ct.array.dtype.kind != "f" or all(np.isfinite(plane).all() for plane in ct.array):
        return []
    return ["Some voxels hold no finite number; they were taken as air."]
