"""A CT from file to files: the product beside the plain loop."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.assess.bench.meter import Meter
from CovidLesionSegLogic.assess.bench.plain import PUBLISHED_SIDE, plain_loop
from CovidLesionSegLogic.ct import CTVolume, read_ct, to_canonical
from CovidLesionSegLogic.models import get_card
from CovidLesionSegLogic.outputs import write_outputs
from CovidLesionSegLogic.pipeline import SegmentationResult, SegmentOptions, segment_ct

if TYPE_CHECKING:
    import torch


def fast_run(path: Path, options: SegmentOptions, folder: Path) -> tuple[Meter, SegmentationResult]:
    """What ``segment`` does, from reading to writing; the networks are loaded anew."""
    meter = Meter()
    meter.begin("read")
    ct = read_ct(path)
    result = segment_ct(ct, options, progress=meter)
    meter.begin("write")
    write_outputs(result, folder)
    meter.end()
    return meter, result


def plain_run(
    path: Path, model: str, device: torch.device, side: int | None = None
) -> tuple[Meter, NDArray[np.uint8]]:
    """The plain loop, from reading to labels on the CT's own grid; ``side`` is the loop's."""
    meter = Meter()
    meter.begin("read")
    canonical, reorientation = to_canonical(read_ct(path))
    card = get_card(model, "lesion")
    labels, _ = plain_loop(canonical, card, device, meter.begin, side=side)
    meter.begin("quantify")
    own = np.ascontiguousarray(reorientation.restore(labels))
    meter.end()
    return meter, own


def compare_whole(
    path: Path, models: list[str], device: torch.device, folder: Path, repeats: int
) -> list[dict[str, Any]]:
    """Both, taking turns, for each model: seconds and memory by stage, ratio, same labels or not.

    A network whose paper has it work on another size than its card is also run as a plain loop over
    whole frames of that size, the way to run it without having trained it on cut-outs.

    The plain loops write nothing; ratios count the product's seconds of writing on both sides.
    """
    rows = []
    read_ct(path)  # neither side pays for libraries and for a disk that was not yet read
    for model in models:
        side = PUBLISHED_SIDE.get(model)
        sides = [None] if side in (None, get_card(model, "lesion").input.size) else [None, side]
        fast: list[Meter] = []
        plain: dict[int | None, list[Meter]] = {one: [] for one in sides}
        labels: dict[int | None, NDArray[np.uint8]] = {}
        for _ in range(repeats):
            for one in sides:
                meter, labels[one] = plain_run(path, model, device, one)
                plain[one].append(meter)
            options = SegmentOptions(model=model, device=str(device))
            meter, result = fast_run(path, options, folder)
            fast.append(meter)
        own = {
            one: {
                "plain": [_costs(m) for m in meters],
                "ratios": _ratios(meters, fast),
                **agreement(result.labels, labels[one], result.ct),
            }
            for one, meters in plain.items()
        }
        rows.append(
            {
                "model": model,
                "slices": len(result.quantification.slices),
                "engine": result.provenance["engine"],
                "fast": [_costs(m) for m in fast],
                **own[None],
                "published_side": {"side": side, **own[side]} if side in own else None,
            }
        )
    return rows


def _ratios(plain: list[Meter], fast: list[Meter]) -> list[float]:
    return [
        (p.seconds + f.stages["write"].seconds) / f.seconds
        for p, f in zip(plain, fast, strict=True)
    ]


def agreement(fast: NDArray[Any], plain: NDArray[Any], ct: CTVolume) -> dict[str, Any]:
    """Dice of any lesion, volumes in mL, and voxels whose label differs."""
    a, b = fast > 0, plain > 0
    both = int(a.sum()) + int(b.sum())
    return {
        "dice": 2 * int((a & b).sum()) / both if both else 1.0,
        "fast_ml": int(a.sum()) * ct.voxel_volume_ml,
        "plain_ml": int(b.sum()) * ct.voxel_volume_ml,
        "different_voxels": int((fast != plain).sum()),
    }


def _costs(meter: Meter) -> dict[str, Any]:
    return {
        "seconds": meter.seconds,
        "peak_mb": meter.peak_mb,
        "stages": {name: asdict(cost) for name, cost in meter.stages.items()},
    }
