"""Run a network over the slices of a CT, as a stream, within the memory there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.engine.cancel import Cancel
from CovidLesionSegLogic.engine.device import default_batch_size
from CovidLesionSegLogic.engine.parts import AUTO, engine_for
from CovidLesionSegLogic.engine.preprocess import Box, lung_boxes, prepare_slice, resize
from CovidLesionSegLogic.engine.progress import Progress, no_progress
from CovidLesionSegLogic.engine.refine import Shortcuts, floor_for
from CovidLesionSegLogic.engine.runner import Runner
from CovidLesionSegLogic.models import GateSpec, ModelCard

if TYPE_CHECKING:
    import torch

    from CovidLesionSegLogic.networks import SegmentationNetwork


@dataclass(frozen=True, eq=False)
class SlicePrediction:
    """One slice's result: ``probability`` (classes, h, w) float32 lies in ``box`` of ``index``.

    Outside the box the probability is 0. ``gate`` is the gate's probability that the slice shows
    signs of infection, None where no gate ran. ``segmented`` is false for a slice that the gate
    left out: its ``probability`` is 0 everywhere and takes no memory.
    """

    index: int
    box: Box
    probability: NDArray[np.float32]
    gate: float | None = None
    segmented: bool = True


def predict_slices(
    array: NDArray[Any],
    lungs: NDArray[Any] | None,
    network: SegmentationNetwork,
    card: ModelCard,
    *,
    device: torch.device,
    slices: Sequence[int] | None = None,
    batch_size: int | None = None,
    gate: GateSpec | None = None,
    engine: str = AUTO,
    shortcuts: Shortcuts | None = None,
    stage: str = "segment",
    progress: Progress = no_progress,
    cancel: Cancel | None = None,
    notice: Callable[[str], None] | None = None,
) -> Iterator[SlicePrediction]:
    """Probabilities of every slice (that has lung), one slice after the other.

    Nothing is kept: what a slice yields is all the floating-point memory it costs.

    Parameters
    ----------
    array
        (z, y, x), HU, canonical orientation (columns run to the left, rows to posterior).
    lungs
        (z, y, x), non-zero inside the lungs; None: every slice goes through, whole.
    network
        In eval mode, on ``device``.
    card
        Says what goes in (``input``) and which classes come out.
    slices
        Where ``lungs`` is None: those that go through, in this order; None: all, ascending.
    batch_size
        Slices per pass; halved, with a notice, when memory runs out.
    gate
        The encoder runs over every slice, and only slices whose gate probability is above
        ``gate.segment_above`` go on to the decoder; with mirrored slices that probability is the
        mean of both views. None: every slice is segmented. Only for networks with a gate.
    engine
        What computes, of :data:`~CovidLesionSegLogic.engine.parts.ENGINES`.
    shortcuts
        What is left out where it hardly matters; None: all there is, for the card's thresholds.
    stage
        What ``progress`` is told.
    progress, cancel
        Called and checked between batches.
    notice
        Called with a sentence for the result's warnings.

    Raises
    ------
    InputError
        Not even one slice fits into memory, or the network's output is not what the card says.
    CancelledError
        Stopping was asked for.
    """
    if lungs is None:
        whole = Box(0, array.shape[1], 0, array.shape[2])
        boxes = dict.fromkeys(range(len(array)) if slices is None else slices, whole)
    else:
        boxes = lung_boxes(lungs, card.input)
    engine = engine_for(engine, device, len(boxes))
    if shortcuts is None:
        shortcuts = Shortcuts(floor=floor_for(min(c.threshold for c in card.classes)))
    batch_size = batch_size or default_batch_size(device)
    runner = Runner(network, card, device, batch_size, gate, notice, engine, shortcuts)
    todo = iter(boxes.items())
    done = 0
    progress(stage, 0, len(boxes))
    # The batch size is asked for anew each time: it shrinks when memory runs out.
    while batch := list(islice(todo, runner.batch_size)):
        if cancel is not None:
            cancel.check()
        inputs = [prepare_slice(array[k][box.slices], card.input) for k, box in batch]
        for (k, box), output in zip(batch, runner.outputs(inputs), strict=True):
            if output.planes is None:
                nothing = np.broadcast_to(np.float32(0), (len(card.classes), *box.size))
                yield SlicePrediction(k, box, nothing, output.gate, segmented=False)
            else:
                yield SlicePrediction(k, box, resize(output.planes, box.size).numpy(), output.gate)
        done += len(batch)
        progress(stage, done, len(boxes))
