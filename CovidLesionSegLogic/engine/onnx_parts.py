"""A network's parts by ONNX Runtime."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import warnings
from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING
from weakref import ref

import torch
from torch import Tensor, nn

from CovidLesionSegLogic.engine.onnx_silent import onnx_runtime
from CovidLesionSegLogic.engine.parts import ONNX, TORCH, TorchParts, weights_of

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_OPSET = 17
_LEFT_TO_TORCH = {"refinement"}
"""Asked for so seldom that handing it over would cost more than it saves."""

_INSTEAD = (
    "ONNX Runtime could not take over the network, so PyTorch computed instead, which is slower; "
    "'--engine torch' does so from the start."
)

_log = logging.getLogger(__name__)
_Key = tuple[str, tuple[tuple[int, ...], ...]]


class OnnxParts:
    """Each part of a network as a session of ONNX Runtime, made when it is first asked for.

    A session is made for inputs of one size, with any number of slices; the threads are those
    that PyTorch uses at that time.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = ref(network)  # the caller has it; who holds it by us would never let go
        self._sessions: dict[_Key, InferenceSession | None] = {}
        self._notice: Callable[[str], None] | None = None
        self.weights = weights_of(network)

    @property
    def engine(self) -> str:
        """What computed so far: "onnxruntime", "torch" where that could do nothing, or both."""
        wanted = [s is not None for (part, _), s in self._sessions.items() if not _left(part)]
        if all(wanted):
            return ONNX
        return f"{ONNX}, {TORCH}" if any(wanted) else TORCH

    def tell(self, notice: Callable[[str], None] | None) -> None:
        """``notice`` is told, now or later, when PyTorch has to do what was to be done here."""
        self._notice = notice
        if self.engine != ONNX:
            self._say()

    def _say(self) -> None:
        if self._notice is not None:
            self._notice(_INSTEAD)

    def __call__(self, part: str, *inputs: Tensor) -> tuple[Tensor, ...]:
        """As :class:`~CovidLesionSegLogic.engine.parts.Parts` says."""
        key = (part, tuple(tuple(x.shape[1:]) for x in inputs))
        if key not in self._sessions:
            self._sessions[key] = None if _left(part) else self._session(part, inputs)
        session = self._sessions[key]
        if session is None:
            network = self._network()
            assert network is not None
            return TorchParts(network)(part, *inputs)
        # Inputs whose values do not matter, only their size, are none of the session's.
        wanted = {i.name for i in session.get_inputs()}
        feed = {n: x.contiguous().numpy() for n, x in _named(inputs).items() if n in wanted}
        try:
            found = session.run(None, feed)
        except Exception as error:  # of its own kinds, which tell nothing
            if "allocate memory" in str(error):
                raise MemoryError(str(error)) from error
            raise
        return tuple(torch.from_numpy(array) for array in found)

    def _session(self, part: str, inputs: tuple[Tensor, ...]) -> InferenceSession | None:
        """None where PyTorch has to do: its exporter is old, and not all of it is for all."""
        try:
            return self._new_session(part, inputs)
        except Exception:  # noqa: BLE001 - two libraries' own kinds; the network runs anyway
            _log.warning("ONNX Runtime cannot do '%s'; PyTorch does", part, exc_info=True)
            self._say()
            return None

    def _new_session(self, part: str, inputs: tuple[Tensor, ...]) -> InferenceSession:
        onnxruntime = onnx_runtime()
        network = self._network()
        assert network is not None
        _share_memory()
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.intra_op_num_threads = torch.get_num_threads()
        # Threads that wait for work by spinning would take the cores from PyTorch's.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        session: InferenceSession = onnxruntime.InferenceSession(
            _exported(network, part, inputs), options, providers=["CPUExecutionProvider"]
        )
        return session


def _left(part: str) -> bool:
    return part in _LEFT_TO_TORCH


@functools.cache
def _share_memory() -> None:
    """One pool of memory for all sessions of this process, which run one after the other."""
    ort = onnx_runtime()
    place = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    # Another user of ONNX Runtime in this process may have made it already: that will do.
    with contextlib.suppress(Exception):
        ort.create_and_register_allocator(place, ort.OrtArenaCfg(0, -1, -1, -1))


class _Part(nn.Module):
    """One method of a network, as the exporter wants it."""

    def __init__(self, network: nn.Module, part: str) -> None:
        super().__init__()
        self.network = network
        self.part = part

    def forward(self, *inputs: Tensor) -> object:
        return attrgetter(self.part)(self.network)(*inputs)


def _named(inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    return {f"input_{n}": x for n, x in enumerate(inputs)}


def _exported(network: nn.Module, part: str, inputs: tuple[Tensor, ...]) -> bytes:
    """The part in the ONNX format, for any number of slices."""
    examples = tuple(torch.zeros((2, *x.shape[1:])) for x in inputs)
    names = list(_named(inputs))
    module = _Part(network, part).eval()
    with torch.no_grad():
        result = module(*examples)
    outputs = [f"output_{n}" for n in range(len(result) if isinstance(result, list) else 1)]
    stream = io.BytesIO()
    # Standard output is left alone: it belongs to all threads of the process.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes are fixed on purpose, and this exporter is old
        torch.onnx.export(
            module,
            examples,
            stream,  # type: ignore[arg-type]  # the old exporter takes streams
            dynamo=False,
            opset_version=_OPSET,
            input_names=names,
            output_names=outputs,
            dynamic_axes={name: {0: "slices"} for name in names + outputs},
        )
    return stream.getvalue()
