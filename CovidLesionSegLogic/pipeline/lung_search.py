"""Which slices the lung network looks at: a CT may go far beyond the chest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from CovidLesionSegLogic.engine import Progress, SlicePrediction
from CovidLesionSegLogic.lungs import has_lung

APART_MM = 10.0
"""Of slices in the first look: lungs do not begin and end within so little."""

Predict = Callable[[Sequence[int], Progress], Iterator[SlicePrediction]]


def first_look(count: int, spacing: float) -> list[int]:
    """Slices at most 10 mm apart where slices are thinner, with the first and the last."""
    if not count:
        return []
    return sorted({*range(0, count, max(1, int(APART_MM // spacing))), count - 1})


def second_look(seen: Mapping[int, bool]) -> list[int]:
    """Slices not seen, from the last without lung below all lung to the first without above it.

    Also those between two without lung are looked at there: the network may have missed a slice of
    a lung that is dense all over. ``seen``: slice -> whether it has lung.
    """
    slices = sorted(seen)
    with_lung = [n for n, k in enumerate(slices) if seen[k]]
    if not with_lung:
        return []
    low, high = max(with_lung[0] - 1, 0), min(with_lung[-1] + 1, len(slices) - 1)
    return [k for k in range(slices[low], slices[high]) if k not in seen]


def search_lungs(
    count: int, spacing: float, predict: Predict, progress: Progress, stage: str
) -> Iterator[SlicePrediction]:
    """Predictions of some slices, then of those around and between lung.

    Parameters
    ----------
    count, spacing
        Slices of the CT, and mm from one to the next.
    predict
        Runs the network over the slices that it is given and tells its progress.
    progress, stage
        Told of slices done (or left out) of all.
    """
    first = first_look(count, spacing)
    seen: dict[int, bool] = {}

    def told(before: int) -> Progress:
        return lambda _stage, done, _total: progress(stage, before + done, count)

    for one in predict(first, told(0)):
        seen[one.index] = has_lung(one)
        yield one
    rest = second_look(seen)
    if rest:
        yield from predict(rest, told(count - len(rest)))
    else:
        progress(stage, count, count)
