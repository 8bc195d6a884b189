"""All measurements of the benchmark, in one process, comparisons taking turns."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CovidLesionSegLogic.assess.bench.growth import SIZES, growth
from CovidLesionSegLogic.assess.bench.peers import compare_peers
from CovidLesionSegLogic.assess.bench.savings import savings, thinned
from CovidLesionSegLogic.assess.bench.start import cold_starts
from CovidLesionSegLogic.assess.bench.whole import compare_whole
from CovidLesionSegLogic.ct import read_ct, to_canonical, write_image
from CovidLesionSegLogic.engine import Cancel, choose_device, describe_device
from CovidLesionSegLogic.lungs import lungs_from_density
from CovidLesionSegLogic.models import get_card, list_models
from CovidLesionSegLogic.networks.peers import PEERS
from CovidLesionSegLogic.pipeline import provenance

if TYPE_CHECKING:
    import torch

QUICK_SHAPE = (24, 256, 256)
FULL_SHAPE = (96, 256, 256)
QUICK_SIZES = SIZES[:3]


@dataclass(frozen=True)
class Scale:
    """How much is measured: rounds of a whole CT, of savings and of peers; slices; which peers."""

    whole: int
    turns: int
    slices: int
    peers: tuple[str, ...]


QUICK = Scale(whole=1, turns=2, slices=4, peers=("inf-net",))
FULL = Scale(whole=2, turns=3, slices=24, peers=tuple(PEERS))


def benchmark(
    path: Path | None,
    device_name: str,
    *,
    quick: bool,
    begin: Callable[[str], None],
    cancel: Cancel,
) -> dict[str, Any]:
    """Measure and return the report, JSON-ready.

    Parameters
    ----------
    path
        A CT; None: a phantom, of which there is nothing to read about accuracy.
    begin
        Told what is measured next.
    cancel
        Checked between the measurements.
    """
    device = choose_device(device_name)
    scale = QUICK if quick else FULL
    models = [card.name for card in list_models("lesion")]

    def step(what: str) -> None:
        cancel.check()
        begin(what)

    with tempfile.TemporaryDirectory(prefix="CovidLesionSeg-") as name:
        folder = Path(name)
        ct_path = path or _phantom(folder, QUICK_SHAPE if quick else FULL_SHAPE)
        step("cold starts")
        starts = cold_starts(scale.whole)
        wholes = []
        for model in models:
            step(f"a whole CT, {model}")
            wholes += compare_whole(ct_path, [model], device, folder / "results", scale.whole)
        canonical, _ = to_canonical(read_ct(ct_path))
        lungs = thinned(lungs_from_density(canonical.array, canonical.spacing).array, scale.slices)
        saved = []
        for model in models:
            step(f"each saving alone, {model}")
            saved += savings(canonical, lungs, get_card(model), device, scale.turns)
        step("networks to compare with")
        peers = compare_peers(device, 2 * scale.turns, scale.peers)
    cancel.check()
    return _where(path, device) | {
        "shape": list(canonical.shape),
        "starts": starts,
        "wholes": wholes,
        "savings": saved,
        "peers": peers,
    }


def benchmark_growth(
    path: Path | None,
    device_name: str,
    *,
    quick: bool,
    begin: Callable[[str], None],
    cancel: Cancel,
) -> dict[str, Any]:
    """Measure how time and memory grow with the slices; parameters as of :func:`benchmark`."""
    device = choose_device(device_name)
    models = [card.name for card in list_models("lesion")]
    with tempfile.TemporaryDirectory(prefix="CovidLesionSeg-") as name:
        folder = Path(name)
        rows = growth(
            path or _phantom(folder, FULL_SHAPE),
            models,
            str(device),
            QUICK_SIZES if quick else SIZES,
            folder,
            begin=begin,
            cancel=cancel,
        )
    return _where(path, device) | {"growth": rows}


def _where(path: Path | None, device: torch.device) -> dict[str, Any]:
    return {
        "ct": "phantom" if path is None else "given",
        "device": describe_device(device),
        "processor": platform.processor() or platform.machine(),
        "software": provenance.software_record(),
    }


def _phantom(folder: Path, shape: tuple[int, int, int]) -> Path:
    from CovidLesionSegLogic.phantom import make_phantom

    sample = make_phantom(shape)
    return write_image(sample.ct.array, sample.ct, folder / "phantom.nii.gz")
