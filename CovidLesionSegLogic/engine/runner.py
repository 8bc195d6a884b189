"""Network passes with a batch size that adapts to the memory, with the gate where there is one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from CovidLesionSegLogic.engine.memory import device_failed, is_device_failure, is_out_of_memory
from CovidLesionSegLogic.engine.parts import TORCH, parts_of
from CovidLesionSegLogic.engine.refine import Shortcuts, refined, undecided
from CovidLesionSegLogic.errors import InputError
from CovidLesionSegLogic.models import GateSpec, ModelCard

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from CovidLesionSegLogic.networks import SegmentationNetwork

_log = logging.getLogger(__name__)


class StagedNetwork(Protocol):
    """What a network offers that can stop early: after its encoder, or with coarse logits."""

    refinement: nn.Module | None

    def encode(self, x: Tensor) -> list[Tensor]:
        """Features of a batch, each (B, ...)."""

    def gate_logits(self, features: Sequence[Tensor]) -> Tensor:
        """(B, 2), without and with lesion."""

    def coarse(self, *features: Tensor) -> Tensor:
        """Logits (B, classes, H, W), to which ``refinement``, where there is one, adds."""


class SliceOutput(NamedTuple):
    """One slice: ``planes`` (classes, size, size) float32 on the CPU, None where left out; gate."""

    planes: Tensor | None
    gate: float | None


class Runner:
    """Runs batches through a network; ``batch_size`` shrinks when memory runs out.

    Parameters
    ----------
    network
        In eval mode, on ``device``.
    card
        Of the network.
    gate
        Which slices are segmented; None: every one, without looking at the gate.
    notice
        Called with a sentence when the batch size shrinks.
    shortcuts
        What is left out where it hardly matters; None: all there is.
    engine
        What computes, of :data:`~CovidLesionSegLogic.engine.parts.ENGINES` but "auto".
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        card: ModelCard,
        device: torch.device,
        batch_size: int,
        gate: GateSpec | None,
        notice: Callable[[str], None] | None,
        engine: str = TORCH,
        shortcuts: Shortcuts | None = None,
    ) -> None:
        self.shortcuts = shortcuts or Shortcuts()
        self.network = network
        self.parts = parts_of(network, engine, notice)
        self.card = card
        self.device = device
        self.batch_size = batch_size
        self.gate = gate
        self.notice = notice or (lambda message: None)

    def outputs(self, inputs: Sequence[Tensor]) -> Iterator[SliceOutput]:
        """One output for each input (channels, size, size), in order."""
        import torch

        start = 0
        while start < len(inputs):
            some = inputs[start : start + self.batch_size]
            try:
                result = self._pass(torch.stack(list(some)))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    if is_device_failure(error):
                        raise device_failed(self.device, error) from error
                    raise
                message = str(error)
            else:
                start += len(some)
                yield from result
                continue
            # Outside the handler: a live traceback would keep the failed pass's memory.
            self._shrink(len(some), message)

    def _pass(self, batch: Tensor) -> list[SliceOutput]:
        import torch

        cudnn = torch.backends.cudnn
        with (
            torch.inference_mode(),
            # Same answer every time and on every GPU, at full float32 precision.
            cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
        ):
            inputs = batch.to(self.device).contiguous(memory_format=torch.channels_last)
            if self.gate is None:
                return [SliceOutput(p, None) for p in self._probabilities(self._both(inputs))]
            return self._gated(inputs, self.gate)

    def _both(self, inputs: Tensor) -> Tensor:
        """Logits, with mirror images the mean of both views.

        Where the first view is sure that there is nothing, the other is not looked at.
        """
        import torch

        logits = self._logits(inputs)
        if not self.card.inference.flips:
            return logits
        if self.shortcuts.one_view:
            temperature, floor = self.card.inference.temperature, self.shortcuts.floor
            doubtful = undecided(logits, temperature, floor).flatten(1).any(1)
        else:
            doubtful = torch.ones(len(logits), dtype=torch.bool, device=logits.device)
        if doubtful.any():
            mirrored = self._logits(inputs[doubtful].flip(-1)).flip(-1)
            logits = logits.clone()
            logits[doubtful] = (logits[doubtful] + mirrored) / 2
        return logits

    def _logits(self, view: Tensor) -> Tensor:
        if hasattr(self.network, "coarse"):
            return self._decoded(self.parts("encode", view))
        return self.parts("predict_logits", view)[0].float()

    def _decoded(self, features: Sequence[Tensor]) -> Tensor:
        """Logits from the features of a staged network."""
        network: StagedNetwork = self.network  # type: ignore[assignment]  # the caller knows
        coarse = self.parts("coarse", *features)[0].float()
        if network.refinement is None:
            return coarse
        if not self.shortcuts.tiles:
            return coarse + self.parts("refinement", coarse)[0]
        temperature, floor = self.card.inference.temperature, self.shortcuts.floor
        return refined(self.parts, coarse, temperature, floor)

    def _gated(self, inputs: Tensor, gate: GateSpec) -> list[SliceOutput]:
        """The encoder runs once; what passes the gate goes on from the encoder's features."""
        import torch

        network: StagedNetwork = self.network  # type: ignore[assignment]  # the card says so
        views = [inputs, inputs.flip(-1)] if self.card.inference.flips else [inputs]
        features = [list(self.parts("encode", view)) for view in views]
        chances = torch.stack(
            [network.gate_logits(f).float().softmax(dim=1)[:, 1] for f in features]
        ).mean(dim=0)
        self._check_finite(chances)
        found = chances.tolist()
        keep = [i for i, chance in enumerate(found) if chance > gate.segment_above]
        if not keep:
            return [SliceOutput(None, chance) for chance in found]
        if len(keep) < len(found):
            index = torch.tensor(keep, device=self.device)
            features = [[f.index_select(0, index) for f in view] for view in features]
        logits = [self._decoded(view) for view in features]
        mean = logits[0] if len(logits) == 1 else (logits[0] + logits[1].flip(-1)) / 2
        planes = dict(zip(keep, self._probabilities(mean), strict=True))
        return [SliceOutput(planes.get(i), chance) for i, chance in enumerate(found)]

    def _probabilities(self, logits: Tensor) -> Tensor:
        """(B, classes, size, size), on the CPU."""
        import torch

        result = torch.sigmoid(logits / self.card.inference.temperature).cpu()
        side = self.card.input.size
        expected = (len(self.card.classes), side, side)
        if tuple(result.shape[1:]) != expected:
            raise InputError(
                f"The model '{self.card.name}' gave an output of shape {tuple(result.shape[1:])} "
                f"where its card says {expected}; reinstall the extension."
            )
        self._check_finite(result)
        return result

    def _check_finite(self, result: Tensor) -> None:
        if not result.isfinite().all():
            raise InputError(
                f"The model '{self.card.name}' gave values that are not finite; its weights may "
                "be damaged ('models verify' checks them), or try '--device cpu'."
            )

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
