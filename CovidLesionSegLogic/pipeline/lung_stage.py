"""Where the lungs come from: the user's mask, else the lung network, else the density rule."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.ct import read_labels
from CovidLesionSegLogic.ct.orient import Reorientation
from CovidLesionSegLogic.ct.volume import CTVolume
from CovidLesionSegLogic.engine import (
    Box,
    Cancel,
    Progress,
    SlicePrediction,
    engine_for,
    memory_errors_for,
    predict_slices,
)
from CovidLesionSegLogic.errors import InputError, RequestError
from CovidLesionSegLogic.lungs import (
    LEFT,
    RIGHT,
    body_window,
    count_labels,
    lungs_from_density,
    lungs_from_predictions,
    split_sides,
)
from CovidLesionSegLogic.models import (
    LUNG_MODEL,
    LoadNetwork,
    ModelCard,
    get_card,
    load_fast_network,
)
from CovidLesionSegLogic.pipeline.kept_lungs import FoundLungs, KeptLungs
from CovidLesionSegLogic.pipeline.lung_search import search_lungs
from CovidLesionSegLogic.pipeline.options import SegmentOptions

if TYPE_CHECKING:
    import torch

    from CovidLesionSegLogic.networks import SegmentationNetwork

STAGE = "lungs"


@dataclass(frozen=True, eq=False)
class LungStage:
    """Lungs on the canonical grid (uint8, 1 right, 2 left), how they were found, by which model."""

    mask: NDArray[np.uint8]
    method: str
    model: ModelCard | None
    warnings: tuple[str, ...]


def find_lungs(
    ct: CTVolume,
    canonical: CTVolume,
    reorientation: Reorientation,
    options: SegmentOptions,
    *,
    device: torch.device,
    progress: Progress,
    cancel: Cancel,
    notice: Callable[[str], None],
    networks: LoadNetwork = load_fast_network,
    kept: KeptLungs | None = None,
) -> LungStage:
    """Find the lungs, unless ``kept`` knows them; InputError when there are none."""
    if options.lungs is not None:
        progress(STAGE, 0, 1)
        stage = _given(options.lungs, ct, canonical, reorientation)
        progress(STAGE, 1, 1)
    else:
        stage = _found(
            canonical,
            device,
            options.engine,
            progress,
            cancel,
            notice,
            networks,
            kept or KeptLungs(),
        )
    if not stage.mask.any():
        if options.lungs is not None:
            raise InputError(
                f"The lung mask {options.lungs} marks no voxel of the CT: give the mask that was "
                "made for this CT, or leave out --lungs."
            )
        raise InputError(
            f"No lungs were found in {ct.source.get('path') or ct.name}; check that it is a chest "
            "CT in HU, or give a mask with --lungs."
        )
    return stage


def _given(
    path: Path, ct: CTVolume, canonical: CTVolume, reorientation: Reorientation
) -> LungStage:
    notes: list[str] = []
    mask = np.ascontiguousarray(reorientation.apply(read_labels(path, ct, notes=notes)))
    values = np.flatnonzero(count_labels(mask))
    values = values[values > 0]
    note = ""
    if values.size and values.tolist() != [RIGHT, LEFT]:
        labels = ", ".join(str(v) for v in values)
        mask = split_sides(mask != 0, canonical.spacing)
        note = f"holds {labels} where 1 (right) and 2 (left) are expected; every label counts as "
        note += "lung, and the sides were told apart by position."
    elif values.size and _mean_column(mask == RIGHT) > _mean_column(mask == LEFT):
        exchanged = np.array([0, LEFT, RIGHT], np.uint8)
        for plane in mask:
            plane[...] = exchanged[plane]
        note = "has its labels on the other sides (expected: 1 right, 2 left); they were exchanged."
    if note:
        notes.append(f"The lung mask {path.name} {note}")
    return LungStage(mask, "given", None, tuple(notes))


def _mean_column(mask: NDArray[np.bool_]) -> float:
    """Mean column index; columns run from the patient's right to left."""
    counts = mask.sum(axis=(0, 1))
    return float(np.average(np.arange(len(counts)), weights=counts))


def _found(
    canonical: CTVolume,
    device: torch.device,
    engine: str,
    progress: Progress,
    cancel: Cancel,
    notice: Callable[[str], None],
    networks: LoadNetwork,
    kept: KeptLungs,
) -> LungStage:
    """By the lung network; by density where it is not installed."""
    try:
        card = get_card(LUNG_MODEL, "lungs")
    except RequestError:
        progress(STAGE, 0, 1)
        found = lungs_from_density(canonical.array, canonical.spacing)
        progress(STAGE, 1, 1)
        return LungStage(found.array, found.method, None, found.warnings)
    count = len(canonical.array)
    engine = engine_for(engine, device, count)
    lungs = kept.recall(canonical, card, device, engine)
    if lungs is not None:
        progress(STAGE, 0, 1)
        progress(STAGE, 1, 1)
        return LungStage(lungs.mask, lungs.method, card, lungs.warnings)
    with memory_errors_for(device, "the lung network"):
        network = networks(card, device)
    predict = functools.partial(
        _predictions,
        canonical.array,
        body_window(canonical.array, canonical.spacing),
        network,
        card,
        device=device,
        engine=engine,
        cancel=cancel,
        notice=notice,
    )
    predictions = search_lungs(count, canonical.spacing[2], predict, progress, STAGE)
    found = lungs_from_predictions(
        predictions, canonical.shape, canonical.spacing, hu=canonical.array
    )
    kept.keep(FoundLungs(found.array, found.method, found.warnings))
    return LungStage(found.array, found.method, card, found.warnings)


def _predictions(
    array: NDArray[Any],
    frame: tuple[slice, slice],
    network: SegmentationNetwork,
    card: ModelCard,
    slices: Sequence[int],
    progress: Progress,
    **options: Any,
) -> Iterator[SlicePrediction]:
    """Of whole slices, as the frame shows them to the network."""
    part = array[:, frame[0], frame[1]]
    box = Box(frame[0].start, frame[0].stop, frame[1].start, frame[1].stop)
    for one in predict_slices(
        part, None, network, card, slices=slices, progress=progress, **options
    ):
        yield replace(one, box=box)
