"""The gate is fitted to frozen features, and nothing else of the network moves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from CovidLesionSegLogic.engine import Cancel
from CovidLesionSegLogic.errors import CancelledError
from CovidLesionSegLogic.learn.batches import normalise
from CovidLesionSegLogic.learn.gate import fit_linear, sample_weights, train_gate
from CovidLesionSegLogic.learn.gate_choice import choose_run, choose_segment_above
from CovidLesionSegLogic.learn.gate_features import gate_features, gate_probabilities
from CovidLesionSegLogic.learn.labelled import LabelledSlice
from CovidLesionSegLogic.networks.coarse_refine import CoarseRefineNet

SIZE = 32


@pytest.fixture
def network() -> CoarseRefineNet:
    torch.manual_seed(0)
    network = CoarseRefineNet(2, gate=True)
    # Statistics of a trained network are neither 0 nor 1.
    network.train()
    with torch.no_grad():
        network(torch.randn(4, 3, SIZE, SIZE))
    return network


@pytest.fixture
def slices() -> list[LabelledSlice]:
    """Slices with a bright square and without."""
    made = []
    for i in range(16):
        rng = np.random.default_rng(i)
        grey = rng.normal(70, 10, (SIZE, SIZE))
        grey[8:24, 8:24] += 120 * (i % 2)
        image = grey.clip(0, 255).astype(np.uint8)
        made.append(LabelledSlice(image, bool(i % 2), f"p{i // 4}", "own", str(i)))
    return made


def state(network: CoarseRefineNet) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def test_nothing_but_the_gate_changes(network, slices):
    before = state(network)
    network.train()
    network.decoder.eval()  # modes differ, and come back
    result = train_gate(network, slices[:8], slices[8:], size=SIZE, views=3)
    after = network.state_dict()
    assert result.network is network
    assert {n for n in before if not torch.equal(before[n], after[n])} == {
        "gate.weight",
        "gate.bias",
    }
    assert sum("running_mean" in n for n in before) > 30
    assert network.encoder.bn1.training
    assert not network.decoder[0].training


def test_it_learns_what_the_features_show_and_is_deterministic(network, slices):
    results, weights = [], []
    for _ in range(2):
        # Whatever the gate was before: a convex problem has one solution.
        torch.nn.init.normal_(network.gate.weight)
        torch.rand(7)
        results.append(train_gate(network, slices[:8], slices[8:], size=SIZE, views=2, seed=3))
        weights.append(network.gate.weight.detach().clone())
    first, second = results
    assert torch.equal(*weights)
    assert first.figures == second.figures
    assert first.penalty == second.penalty
    assert np.array_equal(first.probabilities, second.probabilities)
    assert first.figures["auc"] == first.figures["accuracy"] == 1
    # What was measured is what the network now says.
    found = gate_probabilities(network, [s.image for s in slices[8:]], size=SIZE)
    assert found == pytest.approx(first.probabilities, abs=1e-4)


def test_a_network_without_a_gate_gets_one(slices):
    torch.manual_seed(0)
    network = CoarseRefineNet(1, refinement=False).eval()
    before = state(network)
    train_gate(network, slices[:8], slices[8:], size=SIZE, views=1)
    assert network.state_dict().keys() - before.keys() == {"gate.weight", "gate.bias"}
    built = CoarseRefineNet(1, refinement=False, gate=True)
    built.load_state_dict(network.state_dict())


def test_one_label_only_is_refused(network, slices):
    with pytest.raises(ValueError, match="training slices must be with and without lesion"):
        train_gate(network, slices[::2], slices, size=SIZE)
    with pytest.raises(ValueError, match="validation slices"):
        train_gate(network, slices, slices[1::2], size=SIZE)


def test_features_are_the_pooled_last_stage(network, slices):
    network.eval()
    found = gate_features(network, slices[:3], size=SIZE, views=3, seed=1)
    assert found.shape == (3, 3, 512)
    grey = torch.from_numpy(slices[1].image / 255).float()[None, None]
    with torch.no_grad():
        own = network.encode(normalise(grey))[-1].mean((2, 3))
        logits = network.gate_logits(network.encode(normalise(grey)))
    assert torch.allclose(found[1, 0], own[0], atol=1e-5)
    assert not torch.allclose(found[1, 0], found[1, 1], atol=1e-3)
    again = gate_features(network, slices[:3], size=SIZE, views=3, seed=1)
    assert torch.equal(found, again)
    p = gate_probabilities(network, [slices[1].image], size=SIZE)
    assert p == pytest.approx(logits.softmax(1)[:, 1].numpy(), abs=1e-5)


def test_cancelling_leaves_the_network_as_it_was(network, slices):
    before, cancel = state(network), Cancel()

    def progress(stage: str, done: int, total: int) -> None:
        assert (stage, total) == ("features", 8)
        if done:
            cancel.cancel()

    with pytest.raises(CancelledError):
        train_gate(
            network, slices[:8], slices[8:], size=SIZE, progress=progress, cancel=cancel, views=3
        )
    assert all(torch.equal(before[n], v) for n, v in network.state_dict().items())
    assert network.training


def test_patients_and_labels_weigh_evenly():
    positive = torch.tensor([True, True, True, False, False])
    weights = sample_weights(positive, ["a", "a", "b", "a", "c"])
    assert weights.tolist() == pytest.approx([1 / 8, 1 / 8, 1 / 4, 1 / 4, 1 / 4])


def test_the_fit_is_the_minimum():
    """No weight can be moved without a higher loss: the gradient of the whole is zero."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(60, 5, generator=rng, dtype=torch.float64) * torch.tensor([1, 9, 0.1, 1, 0])
    x[:, 4] = 3.0  # says nothing
    positive = x[:, 0] + 0.1 * x[:, 1] + torch.randn(60, generator=rng) > 0
    weights = sample_weights(positive, [str(i % 7) for i in range(60)])
    weight, bias = fit_linear(x.float(), positive, weights, penalty=0.01)
    assert weight[4] == 0
    x = x.float().double()
    mean = (weights[:, None] * x).sum(0)
    spread = (weights[:, None] * (x - mean) ** 2).sum(0).sqrt()
    error = weights * (torch.sigmoid(x @ weight + bias) - positive.double())
    gradient = (error[:, None] * (x - mean) / spread.clamp(min=1e-6)).sum(0)
    gradient += 2 * 0.01 * weight * spread
    assert gradient[:4].abs().max() < 1e-6
    assert abs(float(error.sum())) < 1e-6


def test_separable_features_are_learnt():
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(200, 8, generator=rng)
    truth = x @ torch.arange(8.0) > 1
    weights = sample_weights(truth, [str(i % 10) for i in range(200)])
    weight, bias = fit_linear(x, truth, weights, penalty=1e-5)
    assert torch.equal(x.double() @ weight + bias > 0, truth)


def test_the_smallest_run_that_separates():
    healthy = [[0.1, 0.9, 0.8, 0.1], [0.6, 0.2, 0.6, 0.2], [0.1] * 4]
    infected = [[0.9] * 5 + [0.1], [0.2, 0.8, 0.7, 0.6, 0.9, 0.3]]
    choice = choose_run(healthy, infected)
    assert (choice.run, choice.healthy_longest, choice.infected_shortest) == (3, 2, 4)
    assert choice.separates
    assert choose_run([[0.1, 0.5]], infected).run == 1
    strict = choose_run(healthy, infected, threshold=0.65)
    assert (strict.run, strict.healthy_longest, strict.infected_shortest) == (2, 2, 2)
    assert not strict.separates
    with pytest.raises(ValueError, match="healthy and infected"):
        choose_run([], infected)


def test_a_run_that_cannot_separate_misses_no_infected_patient():
    choice = choose_run([[0.9] * 4], [[0.9] * 6, [0.1, 0.9, 0.9, 0.1]])
    assert choice.run == 2
    assert not choice.separates
    assert choose_run([[0.1]], [[0.2, 0.3]]).run == 1  # there is none below


def test_only_the_allowed_lesion_area_is_missed():
    p = [0.0001, 0.002, 0.01, 0.03, 0.2, 0.9]
    area = [0, 1, 0, 3, 96, 900]
    assert choose_segment_above(p, area, missed=0.0) == 0.0001
    assert choose_segment_above(p, area, missed=0.001) == 0.01
    assert choose_segment_above(p, area, missed=0.004) == 0.03
    assert choose_segment_above(p, area, missed=0.1) == 0.2
    assert choose_segment_above(p, area, missed=0.1, at_most=0.1) == 0.03
    # Without any slice below, all are segmented.
    assert choose_segment_above([0.3, 0.4], [5, 5], missed=0.01) == 0.0
    # Confident negatives are left out although they round to 0.
    assert choose_segment_above([1e-7, 2e-6, 0.8], [0, 0, 9], missed=0.01) == 0.0001
    assert choose_segment_above([1e-7, 2e-6, 3e-6], [0, 0, 9], missed=0.01) == 2e-6
    with pytest.raises(ValueError, match="with lesion"):
        choose_segment_above([0.1], [0.0])
    with pytest.raises(ValueError, match="missed"):
        choose_segment_above(p, area, missed=1.0)


def test_the_share_may_be_asked_of_every_patient():
    p, area = [0.1, 0.3, 0.9, 0.95], [2, 0, 10, 990]
    patients = ["small", "small", "small", "large"]
    assert choose_segment_above(p, area, missed=0.01) == 0.3
    assert choose_segment_above(p, area, missed=0.01, patients=patients) == 0.0


def test_a_slice_at_the_limit_is_segmented_where_it_must_be():
    assert choose_segment_above([0.2, 0.5, 0.9], [0, 50, 50], missed=0.01) == 0.2


def test_quiet_channels_keep_no_weight():
    torch.manual_seed(0)
    positive = torch.arange(40) % 2 == 0
    loud = torch.randn(40, 1) + 2 * positive[:, None]
    features = torch.cat([loud, 1e-4 * (torch.randn(40, 1) + 4 * positive[:, None])], 1)
    weights = torch.full((40,), 1 / 40, dtype=torch.float64)
    with_quiet, _ = fit_linear(features, positive, weights, penalty=1e-3)
    without, _ = fit_linear(features, positive, weights, penalty=1e-3, quiet=0.5)
    assert with_quiet[1].abs() > 100
    assert without[1] == 0
    assert without[0] > 0
