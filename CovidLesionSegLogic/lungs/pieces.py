"""Which pieces of a network's lung mask are lung: large ones, of tissue, close together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CovidLesionSegLogic.lungs.sides import LEFT, RIGHT, WORKING_SPACING_MM

PIECE_SHARE = 0.02
"""Pieces of a lung below this share of its largest piece are debris."""
GAS_HU, TISSUE_SHARE, TISSUE_HU = -970.0, 0.25, -940.0
"""Half of a piece below the first, and less than this share of it above the last: gas without
tissue. In the worst emphysema half of a lung may be as thin, on a scanner that reads low, but
vessels and walls remain; and a lung beside a large pneumothorax must not be lost with its gas."""
APART_MM = 50.0
"""From the foot of one piece to the head of the next; what lies farther away is no chest."""
MAIN_SHARE = 0.25
"""Of the largest piece; what the place of other pieces is measured from has at least so much."""
GAS_WORTH_SAYING_ML = 20.0


@dataclass(frozen=True)
class _Piece:
    """A connected part of one side: voxels, first and last slice, whether it is gas."""

    side: int
    number: int
    size: int
    first: int
    last: int
    gas: bool

    def apart(self, first: int, last: int) -> int:
        """Slices between the piece and a range; 0 where they overlap or follow one another."""
        return max(self.first - last - 1, first - self.last - 1, 0)

    def beside(self, other: _Piece) -> bool:
        """Whether they share slices."""
        return self.first <= other.last and other.first <= self.last


def drop_other_pieces(
    labels: NDArray[np.uint8], spacing: tuple[float, float, float], hu: NDArray[Any] | None = None
) -> tuple[str, ...]:
    """Clear debris, gas and what lies far from the chest, in place.

    A network that was trained on chests may find lung anywhere else: in the bowel, between the
    legs, beside a head. Pieces are found on a coarse copy: connectivity needs no fine grid, memory
    does not allow it.

    Parameters
    ----------
    labels
        (z, y, x), canonical: 1 right and 2 left lung.
    spacing
        (i, j, k), mm.
    hu
        (z, y, x), HU; without it, gas is not told from lung.

    Returns
    -------
    tuple of str
        What a person should know: gas beside the lungs that was left out.
    """
    nz, ny, nx = (max(1, round(WORKING_SPACING_MM / s)) for s in reversed(spacing))
    coarse = labels[::nz, ::ny, ::nx]
    density = None if hu is None else hu[::nz, ::ny, ::nx]
    numbered = {side: ndimage.label(coarse == side)[0] for side in (RIGHT, LEFT)}
    pieces = [p for side, of in numbered.items() for p in _pieces(side, of, density)]
    kept = _lungs([p for p in pieces if not p.gas], nz * spacing[2])
    keep = np.zeros(coarse.shape, bool)
    for side, of in numbered.items():
        numbers = [p.number for p in kept if p.side == side]
        if numbers:
            keep |= np.isin(of, numbers)
    _clear_beyond(labels, keep, (nz, ny, nx))
    voxel_ml = float(np.prod(spacing)) * nz * ny * nx / 1000
    return _notices([p for p in pieces if p.gas], kept, voxel_ml)


def _pieces(side: int, numbered: NDArray[Any], density: NDArray[Any] | None) -> list[_Piece]:
    found = ndimage.find_objects(numbered)
    sizes = np.bincount(numbered.ravel(), minlength=len(found) + 1)
    pieces = []
    for number, box in enumerate(found, start=1):
        if sizes[number] < 2:
            continue
        gas = density is not None and _is_gas(density[box][numbered[box] == number])
        z = box[0]
        pieces.append(_Piece(side, number, int(sizes[number]), z.start, z.stop - 1, gas))
    return pieces


def _is_gas(hu: NDArray[Any]) -> bool:
    middle, upper = np.quantile(hu, (0.5, 1 - TISSUE_SHARE))
    return bool(middle < GAS_HU and upper < TISSUE_HU)


def _lungs(pieces: list[_Piece], step_mm: float) -> list[_Piece]:
    """Those of notable size that lie in one chest."""
    if not pieces:
        return []
    largest = max(pieces, key=lambda p: p.size)
    near = [p for p in pieces if p.apart(largest.first, largest.last) * step_mm <= APART_MM]
    main = [p for p in near if p.size >= MAIN_SHARE * largest.size]
    first, last = min(p.first for p in main), max(p.last for p in main)
    chest = [p for p in pieces if p.apart(first, last) * step_mm <= APART_MM]
    top = {
        side: max((p.size for p in chest if p.side == side), default=0) for side in (RIGHT, LEFT)
    }
    return [p for p in chest if p.size >= PIECE_SHARE * top[p.side]]


def _clear_beyond(
    labels: NDArray[np.uint8], keep: NDArray[np.bool_], steps: tuple[int, int, int]
) -> None:
    # A coarse voxel stands for its neighbourhood; grow by one so that no border is lost.
    keep = ndimage.binary_dilation(keep, np.ones((3, 3, 3), bool))
    nz, ny, nx = steps
    for k, plane in enumerate(labels):
        near = keep[min(k // nz, len(keep) - 1)]
        fine = near.repeat(ny, 0).repeat(nx, 1)[: plane.shape[0], : plane.shape[1]]
        plane *= fine


def _notices(gas: list[_Piece], kept: list[_Piece], voxel_ml: float) -> tuple[str, ...]:
    beside = [p for p in gas if any(map(p.beside, kept))]
    ml = sum(p.size for p in beside) * voxel_ml
    if ml < GAS_WORTH_SAYING_ML:
        return ()
    return (
        f"{ml:.0f} mL of gas without lung tissue (pneumothorax, bowel, air outside the body) were "
        "left out of the lungs; check the lung mask.",
    )
