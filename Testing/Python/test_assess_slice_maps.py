"""Maps of single grey pictures: the network's own function of the grey, nothing windowed."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_model
import torch

from CovidLesionSegLogic.assess.slice_maps import class_maps, soft_map
from CovidLesionSegLogic.engine import Cancel
from CovidLesionSegLogic.errors import CancelledError


def test_grey_0_to_255_is_the_networks_0_to_1(tmp_path, monkeypatch):
    classes = tiny_model.LESION_TYPES[:2]
    card = tiny_model.install(
        tmp_path, monkeypatch, classes=classes, inference={"temperature": 20.0}
    )
    network, cpu = tiny_model.TinyNet(2).eval(), torch.device("cpu")
    image = np.arange(128 * 128).reshape(128, 128).astype(np.uint8)
    maps = class_maps(image, network, card, cpu)
    assert maps.shape == (2, 128, 128)
    # Class c is positive above 0.4 + 0.2 c, with c + 1 times the slope; 20 is the temperature.
    for c, one in enumerate(maps):
        logits = (c + 1) * tiny_model.STEEPNESS / 20 * (image / 255 - 0.4 - 0.2 * c)
        np.testing.assert_allclose(one, 1 / (1 + np.exp(-logits)), atol=2e-4)
    largest = soft_map(image, network, card, cpu)
    np.testing.assert_array_equal(largest, np.maximum(*maps))
    stopped = Cancel()
    stopped.cancel()
    for maps_of in (class_maps, soft_map):
        with pytest.raises(CancelledError):
            maps_of(image, network, card, cpu, cancel=stopped)
