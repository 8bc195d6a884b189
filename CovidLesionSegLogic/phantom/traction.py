"""What fibrosis does to the lung around it: architectural distortion and traction bronchiectasis.

Distortion is the displacement of bronchi, vessels and fissures, bronchiectasis the widening of
bronchi that fibrosis pulls open (Hansell et al., Radiology 2008;246:697). The lungs' own outline
stays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from CovidLesionSegLogic.phantom.fibrosis import Floats, Scar, within
from CovidLesionSegLogic.phantom.fields import Noise
from CovidLesionSegLogic.phantom.grid import Points
from CovidLesionSegLogic.phantom.trees import LungTrees
from CovidLesionSegLogic.phantom.tubes import Tubes

Doubles = NDArray[np.float64]
PULL = 0.35  # share of the way to a region's middle that vessels there are drawn
WIDENING = 0.6  # of bronchi in a region's middle
KINK = 2.5  # mm that vessels are drawn aside
FAR = 2.0  # times its range beyond which a region's traction is nil


def traction(scars: list[Scar], xyz: Floats, noise: Noise) -> tuple[Doubles, Doubles]:
    """Where fibrosis draws positions (n, 3) to, and how strongly it acts there, 0..1 (n,)."""
    moved, strongest = np.array(xyz, dtype=np.float64), np.zeros(len(xyz))
    for scar in scars:
        reach = 1.1 * scar.size
        near = within(xyz, scar.centre, FAR * reach)
        if not len(near):
            continue
        way = scar.centre - xyz[near]
        nil = np.exp(-(FAR**2))
        weight = (np.exp(-((way / reach) ** 2).sum(axis=1)) - nil) / (1.0 - nil)
        p = Points(*np.asarray(xyz[near], np.float32).T)
        kink = np.stack([noise(p, 12.0, s) for s in (91.0, 97.0, 103.0)], axis=-1)
        moved[near] += weight[:, None] * (PULL * way + KINK * kink)
        strongest[near] = np.maximum(strongest[near], weight)
    return moved, strongest


def drawn(trees: LungTrees, scars: list[Scar], noise: Noise) -> LungTrees:
    """Vessels and airways under traction."""
    return LungTrees(_moved(trees.vessels, scars, noise, 0.0), _moved(trees.airways, scars, noise))


def _moved(tubes: Tubes, scars: list[Scar], noise: Noise, widening: float = WIDENING) -> Tubes:
    a, at_a = traction(scars, tubes.a, noise)
    b, at_b = traction(scars, tubes.b, noise)
    return Tubes(a, b, tubes.ra * (1.0 + widening * at_a), tubes.rb * (1.0 + widening * at_b))
