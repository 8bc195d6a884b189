"""Training: losses by hand, batches, resume, and that learning happens."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from CovidLesionSegLogic.learn import imagenet, losses, lungs
from CovidLesionSegLogic.learn.lesions import LesionBatches, split
from CovidLesionSegLogic.learn.sources import Slice
from CovidLesionSegLogic.learn.trainer import Schedule, Trainer
from CovidLesionSegLogic.networks.resnet import ResNet50


def discs(count=4, size=64):
    y, x = np.mgrid[:size, :size]
    slices = []
    for i in range(count):
        mask = ((y - 20 - 5 * i) ** 2 + (x - 30) ** 2 < 150).astype(np.uint8)
        image = (40 + 150 * mask).astype(np.uint8)
        slices.append(Slice(image, mask, f"patient{i}", "sirm100", str(i)))
    return slices


def test_border_weight_by_hand():
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :, 32:] = 1
    weight = losses.border_weight(mask)
    assert weight[0, 0, 32, 0] == 1  # far from the border, and the frame is none
    # At column 31 the 31 x 31 window covers columns 16 to 46: 15 of 31 are lesion.
    assert weight[0, 0, 32, 31] == pytest.approx(1 + 5 * 15 / 31)


def test_structure_loss_by_hand():
    mask = torch.ones(1, 1, 8, 8)  # no border: every weight is 1
    logits = torch.zeros(1, 1, 8, 8)
    expected = np.log(2) + 1 - (32 + 1) / (32 + 64 - 32 + 1)
    assert losses.structure_loss(logits, mask).item() == pytest.approx(expected, rel=1e-6)


def test_weighted_bce_differs_from_the_relatives_form():
    torch.manual_seed(0)
    mask = (torch.rand(1, 1, 64, 64) > 0.8).float()
    logits = torch.randn(1, 1, 64, 64)
    weighted = losses.structure_loss(logits, mask)
    assert weighted != losses.structure_loss(logits, mask, weighted_bce=False)


def test_edge_of_a_square():
    mask = torch.zeros(1, 1, 9, 9)
    mask[..., 3:6, 3:6] = 1
    edge = losses.lesion_edge(mask)[0, 0]
    assert edge[4, 4] == 0
    assert edge[3, 3] == edge[2, 4] == edge[5, 4] == 1
    assert edge[0].sum() == 0


def test_unknown_sides_judge_the_union_only():
    union = torch.zeros(1, 1, 8, 8)
    union[..., 2:6] = 1
    logits = torch.full((1, 2, 8, 8), -9.0)
    logits[:, 0][union[:, 0] > 0] = 9.0  # everything called right lung
    both = union.expand(1, 2, 8, 8)
    unknown = losses.lung_loss(logits, both, torch.tensor([False]))
    known = losses.lung_loss(logits, both, torch.tensor([True]))
    assert unknown < 0.01 < known


def test_batches_depend_on_seed_and_step_alone():
    first, second = LesionBatches(discs(), sizes=(32,)), LesionBatches(discs(), sizes=(32,))
    assert torch.equal(first(7).images, second(7).images)
    assert not torch.equal(first(7).images, first(8).images)
    assert set(first(7).masks.unique().tolist()) <= {0.0, 1.0}


def test_flips_exchange_the_lungs():
    image = np.full((64, 64), 30, np.uint8)
    mask = np.zeros((64, 64), np.uint8)
    mask[20:40, 8:24], mask[20:40, 40:56] = 1, 2
    one = Slice(image, mask, "p", "medseg", "0")
    batches = lungs.LungBatches([one], batch_size=16)
    batch = batches(0)
    x = torch.arange(lungs.SIZE, dtype=torch.float32)
    for right, left in batch.targets:
        if right.sum() > 500 and left.sum() > 500:
            assert (right.sum(0) * x).sum() / right.sum() < (left.sum(0) * x).sum() / left.sum()


def test_a_patient_never_stands_on_both_sides(shared_data):
    from CovidLesionSegLogic.learn import sources

    slices = sources.sirm100(shared_data / "sirm100_train50")
    slices += sources.medseg_lesions(shared_data / "medseg_volumes")
    training, validation = split(slices)
    assert {s.patient for s in training}.isdisjoint(s.patient for s in validation)
    assert {s.source for s in validation} >= {"sirm100", "medseg"}
    for volume, patient in sources.SAME_PATIENT.items():
        assert patient.split("_")[1] in {"10", "4", "27", "36"}, volume


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 3, padding=1)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x):
        return self.norm(self.conv(x))


def make_trainer(folder, steps, stop=None):
    torch.manual_seed(0)
    batches = LesionBatches(discs(), sizes=(32,), batch_size=2)

    def make_batch(step):
        if stop is not None and step > stop:
            raise KeyboardInterrupt
        return batches(step)

    return Trainer(
        Tiny(),
        Schedule(steps=steps, learning_rate=1e-2, warmup=2, save_every=2, validate_every=4),
        make_batch=make_batch,
        loss=lambda n, b: losses.structure_loss(n(b.images).float(), b.masks),
        validate=lambda n: {"score": float(n.conv.weight.detach().sum())},
        folder=folder,
    )


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path):
    whole = make_trainer(tmp_path / "whole", 8)
    whole.run()
    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path / "killed", 8, stop=5).run()
    resumed = make_trainer(tmp_path / "killed", 8)
    resumed.run()
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    for name, value in whole.averaged.state_dict().items():
        assert torch.equal(value, resumed.averaged.state_dict()[name]), name


def test_training_lowers_the_loss(tmp_path):
    trainer = make_trainer(tmp_path, 30)
    batch = LesionBatches(discs(), sizes=(32,), batch_size=4, seed=9)(0)
    before = losses.structure_loss(trainer.network(batch.images), batch.masks).item()
    trainer.run()
    trainer.network.eval()
    after = losses.structure_loss(trainer.network(batch.images), batch.masks).item()
    assert after < 0.8 * before


def test_keras_weights_give_the_same_function(tmp_path):
    """A Keras-like model written to disk computes the same first layer as the encoder."""
    rng = np.random.default_rng(0)
    weights = {}
    shapes = {k: v.shape for k, v in ResNet50().state_dict().items()}

    def add(conv, norm, name, norm_name):
        out_c, in_c, kh, kw = shapes[f"{conv}.weight"]
        weights[f"{name}/kernel"] = rng.standard_normal((kh, kw, in_c, out_c)) * 0.05
        weights[f"{name}/bias"] = rng.standard_normal(out_c)
        for part in ("gamma", "beta", "moving_mean"):
            weights[f"{norm_name}/{part}"] = rng.standard_normal(out_c)
        weights[f"{norm_name}/moving_variance"] = rng.random(out_c) + 0.5

    add("conv1", "bn1", "conv1", "bn_conv1")
    for stage, letters in imagenet.BLOCKS.items():
        for i, letter in enumerate(letters):
            for n, branch in enumerate(("2a", "2b", "2c"), 1):
                where = f"layer{stage - 1}.{i}"
                name = f"{stage}{letter}_branch{branch}"
                add(f"{where}.conv{n}", f"{where}.bn{n}", f"res{name}", f"bn{name}")
            if i == 0:
                name, where = f"{stage}{letter}_branch1", f"layer{stage - 1}.0.downsample"
                add(f"{where}.0", f"{where}.1", f"res{name}", f"bn{name}")
    entries = [{"name": k, "shape": list(v.shape), "dtype": "float32"} for k, v in weights.items()]
    data = b"".join(v.astype("<f4").tobytes() for v in weights.values())
    (tmp_path / "shard1").write_bytes(data[:1000])
    (tmp_path / "shard2").write_bytes(data[1000:])
    manifest = [{"paths": ["shard1", "shard2"], "weights": entries}]
    (tmp_path / "model.json").write_text(json.dumps({"weightsManifest": manifest}))

    encoder = ResNet50(stride_at="1x1").eval()
    encoder.load_state_dict(imagenet.resnet50_state_dict(tmp_path / "model.json"))
    rgb = rng.random((40, 40, 3))
    normalised = (rgb - imagenet.IMAGENET_MEAN) / imagenet.IMAGENET_STD
    x = torch.tensor(normalised.transpose(2, 0, 1)[None], dtype=torch.float32)
    with torch.inference_mode():
        ours = encoder.bn1(encoder.conv1(x))[0, :, 10, 10].numpy()
    bgr = 255 * rgb[..., ::-1] - imagenet.KERAS_MEAN_RGB[::-1]
    patch = bgr[17:24, 17:24]  # what output (10, 10) sees with stride 2 and padding 3
    conv = np.einsum("hwc,hwco->o", patch, weights["conv1/kernel"]) + weights["conv1/bias"]
    variance = weights["bn_conv1/moving_variance"] + imagenet.KERAS_EPSILON
    keras = (conv - weights["bn_conv1/moving_mean"]) / np.sqrt(variance)
    keras = keras * weights["bn_conv1/gamma"] + weights["bn_conv1/beta"]
    np.testing.assert_allclose(ours, keras, rtol=1e-3, atol=1e-3)
