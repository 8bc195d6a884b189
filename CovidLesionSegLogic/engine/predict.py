"""Run a network over the slices of a CT, as a stream, within the memory there is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.engine.cancel import Cancel
from CovidLesionSegLogic.engine.device import default_batch_size
from CovidLesionSegLogic.engine.memory import is_out_of_memory
from CovidLesionSegLogic.engine.preprocess import Box, lung_boxes, prepare_slice, resize
from CovidLesionSegLogic.engine.progress import Progress, no_progress
from CovidLesionSegLogic.errors import InputError
from CovidLesionSegLogic.models import ModelCard

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from CovidLesionSegLogic.networks import SegmentationNetwork

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class SlicePrediction:
    """One slice's result: ``probability`` (classes, h, w) float32 lies in ``box`` of ``index``.

    Outside the box the probability is 0.
    """

    index: int
    box: Box
    probability: NDArray[np.float32]


def predict_slices(
    array: NDArray[Any],
    lungs: NDArray[Any] | None,
    network: SegmentationNetwork,
    card: ModelCard,
    *,
    device: torch.device,
    batch_size: int | None = None,
    stage: str = "segment",
    progress: Progress = no_progress,
    cancel: Cancel | None = None,
    notice: Callable[[str], None] | None = None,
) -> Iterator[SlicePrediction]:
    """Probabilities of every slice (that has lung), in ascending order, one slice at a time.

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
    batch_size
        Slices per pass; halved, with a notice, when memory runs out.
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
        boxes = dict.fromkeys(range(len(array)), whole)
    else:
        boxes = lung_boxes(lungs, card.input)
    runner = _Runner(network, card, device, batch_size or default_batch_size(device), notice)
    todo = iter(boxes.items())
    done = 0
    progress(stage, 0, len(boxes))
    # The batch size is asked for anew each time: it shrinks when memory runs out.
    while batch := list(islice(todo, runner.batch_size)):
        if cancel is not None:
            cancel.check()
        inputs = [prepare_slice(array[k][box.slices], card.input) for k, box in batch]
        for (k, box), planes in zip(batch, runner.probabilities(inputs), strict=True):
            yield SlicePrediction(k, box, resize(planes, box.size).numpy())
        done += len(batch)
        progress(stage, done, len(boxes))


class _Runner:
    """Network passes with a batch size that adapts to the memory."""

    def __init__(
        self,
        network: SegmentationNetwork,
        card: ModelCard,
        device: torch.device,
        batch_size: int,
        notice: Callable[[str], None] | None,
    ) -> None:
        self.network = network
        self.card = card
        self.device = device
        self.batch_size = batch_size
        self.notice = notice or (lambda message: None)

    def probabilities(self, inputs: Sequence[Tensor]) -> Iterator[Tensor]:
        """(classes, size, size) float32 on the CPU for each input."""
        import torch

        start = 0
        while start < len(inputs):
            some = inputs[start : start + self.batch_size]
            try:
                result = self._forward(torch.stack(list(some)))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                message = str(error)
            else:
                start += len(some)
                yield from result
                continue
            # Outside the handler: a live traceback would keep the failed pass's memory.
            self._shrink(len(some), message)

    def _forward(self, batch: Tensor) -> Tensor:
        import torch

        cudnn = torch.backends.cudnn
        with (
            torch.inference_mode(),
            # Same answer every time and on every GPU, at full float32 precision.
            cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
        ):
            inputs = batch.to(self.device)
            logits = self.network.predict_logits(inputs).float()
            if self.card.inference.flips:
                mirrored = self.network.predict_logits(inputs.flip(-1)).float()
                logits = (logits + mirrored.flip(-1)) / 2
            result = torch.sigmoid(logits / self.card.inference.temperature).cpu()
        expected = (len(batch), len(self.card.classes), *batch.shape[-2:])
        if tuple(result.shape) != expected:
            raise InputError(
                f"The model '{self.card.name}' gave an output of shape {tuple(result.shape)} where "
                f"its card says {expected}; reinstall the extension."
            )
        if not torch.isfinite(result).all():
            raise InputError(
                f"The model '{self.card.name}' gave values that are not finite; its weights may "
                "be damaged ('models verify' checks them), or try '--device cpu'."
            )
        return result

    def _shrink(self, size: int, message: str) -> None:
        import torch

        _log.info("out of memory with %d slices on %s: %s", size, self.device, message)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if size <= 1:
            other = "" if self.device.type == "cpu" else " or use '--device cpu'"
            raise InputError(
                f"There is not enough memory on the device '{self.device}' for even one slice; "
                f"close other programs{other}."
            )
        self.batch_size = size // 2
        self.notice(
            f"Memory on the device '{self.device}' was short: {self.batch_size} slices at a time "
            f"instead of {size}."
        )
