"""The released weights on a phantom: the very voxels, whatever the threads and the engine.

New weights, or another way to prepare slices, change these figures; nothing else should.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from CovidLesionSegLogic.engine.parts import has_onnx
from CovidLesionSegLogic.models import list_models
from CovidLesionSegLogic.pipeline import SegmentOptions, segment_ct

GOLDEN = {
    "coarse-refine": ("1.1.0", (1158, 69), 27770),
    "refnet": ("1.1.0", (1568, 0), 27768),
}
"""Model: its version, voxels of each label, voxels of lung."""
ROUNDING = 4
"""Voxels at a threshold that another processor's rounding may move."""
WAYS = [(1, "torch"), (2, "torch"), (2, "onnxruntime")]


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("model", GOLDEN)
def test_a_phantom_has_the_lesions_it_had(phantom, threads, model):
    version, lesions, lung = GOLDEN[model]
    if {card.name: card.version for card in list_models("lesion")}.get(model) != version:
        pytest.skip(f"{model} {version} is not in Resources/Models")
    ct = replace(phantom.ct, array=np.ascontiguousarray(phantom.ct.array[20:28]))
    labels = []
    for number, engine in WAYS:
        if engine == "onnxruntime" and not has_onnx():
            continue
        threads(number)
        result = segment_ct(ct, SegmentOptions(model=model, device="cpu", engine=engine))
        labels.append(result.labels)
        for value, count in enumerate(lesions, start=1):
            assert int((result.labels == value).sum()) == pytest.approx(count, abs=ROUNDING)
        assert int((result.lungs > 0).sum()) == pytest.approx(lung, abs=ROUNDING)
    assert all(int((one != labels[0]).sum()) <= ROUNDING for one in labels)
