"""From logits to probabilities: mirrored slices and temperature, as the card or the user says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tiny_model
import torch

from CovidLesionSegLogic.engine import predict_slices
from CovidLesionSegLogic.models import InferenceSpec, ModelCard
from CovidLesionSegLogic.networks import SegmentationNetwork
from CovidLesionSegLogic.pipeline import SegmentOptions, check_options


class Slanted(SegmentationNetwork):
    """Logits grow from left to right over the frame, whatever the image: not mirror-symmetric."""

    n_classes = 1

    def predict_logits(self, x: torch.Tensor) -> torch.Tensor:
        """Logits at the input's size."""
        ramp = torch.linspace(-1, 3, x.shape[-1]).expand(len(x), 1, *x.shape[-2:])
        return ramp + x[:, :1]


@pytest.fixture
def card(tmp_path, monkeypatch):
    return tiny_model.install(tmp_path, monkeypatch)


def probability(card: ModelCard, **inference: object) -> np.ndarray:
    card = dataclasses.replace(card, inference=InferenceSpec(**inference))
    rng = np.random.default_rng(0)
    array = rng.integers(-1000, 0, (1, 128, 128)).astype(np.int16)
    cpu = torch.device("cpu")
    one = next(predict_slices(array, None, Slanted().eval(), card, device=cpu))
    return one.probability[0]


def logit(p: np.ndarray) -> np.ndarray:
    return np.log(p / (1 - p))


def test_flips_average_the_logits_of_both_views(card):
    plain, both = logit(probability(card)), logit(probability(card, flips=True))
    ramp = np.linspace(-1, 3, 128)[None]
    image = plain - ramp
    assert np.abs(both - (image + (ramp + ramp[:, ::-1]) / 2)).max() < 1e-4


def test_temperature_divides_the_logits(card):
    plain, sharp = logit(probability(card)), logit(probability(card, temperature=0.5))
    assert np.abs(sharp - 2 * plain).max() < 1e-3
    assert ((sharp > 0) == (plain > 0)).all()


@pytest.mark.parametrize(("asked", "run"), [(None, True), (False, False), (True, True)])
def test_the_user_may_overrule_the_card(tmp_path, monkeypatch, asked, run):
    tiny_model.install(tmp_path, monkeypatch, inference={"flips": True, "temperature": 0.5})
    card, _ = check_options(SegmentOptions(model="tiny", device="cpu", flips=asked))
    assert card.inference == InferenceSpec(flips=run, temperature=0.5)


@pytest.mark.parametrize(
    ("wrong", "key"),
    [({"flips": 1}, "'inference.flips'"), ({"temperature": 0}, "'inference.temperature'")],
)
def test_wrong_values_name_their_key(wrong, key):
    with pytest.raises(ValueError, match=key):
        InferenceSpec(**wrong)
