"""The hybrid loss of the coarse-refine network: each part by hand, and together."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from CovidLesionSegLogic.learn.hybrid import C1, C2, hybrid_loss, iou_loss, ssim

BIG = 40.0  # a logit whose sigmoid is 0 or 1 to single precision


def planes(values) -> torch.Tensor:
    """(1, 1, H, W) of nested lists or an array."""
    return torch.as_tensor(np.array(values), dtype=torch.float32)[None, None]


def logit(p: torch.Tensor) -> torch.Tensor:
    return torch.log(p / (1 - p))


def ssim_by_loops(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The definition (Wang et al. 2004) by pixel: 11 x 11 Gaussian, sigma 1.5, zeros beyond."""
    t = np.arange(-5, 6)
    g = np.exp(-(t[:, None] ** 2 + t[None, :] ** 2) / (2 * 1.5**2))
    g /= g.sum()
    px, py = np.pad(x, 5), np.pad(y, 5)
    out = np.empty_like(x)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            a, b = px[i : i + 11, j : j + 11], py[i : i + 11, j : j + 11]
            ma, mb = (g * a).sum(), (g * b).sum()
            va, vb = (g * (a - ma) ** 2).sum(), (g * (b - mb) ** 2).sum()
            cov = (g * (a - ma) * (b - mb)).sum()
            out[i, j] = ((2 * ma * mb + 1e-4) * (2 * cov + 9e-4)) / (
                (ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)
            )
    return out


# -- SSIM ---------------------------------------------------------------------------------------


def test_ssim_of_one_pixel_by_hand():
    """Of the window only its middle is not zero: the mean is g p and the mean square g p^2."""
    t = np.arange(-5, 6)
    g = float(np.exp(0.0) / np.exp(-(t**2) / 4.5).sum()) ** 2
    x, y = 0.8, 1.0
    mx, my = g * x, g * y
    vx, vy, cov = g * x * x - mx * mx, g * y * y - my * my, g * x * y - mx * my
    expected = (2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
    assert ssim(planes([[x]]), planes([[y]])).item() == pytest.approx(expected, rel=1e-5)


def test_ssim_of_flat_maps_by_hand():
    """Far from the frame a flat map has no variance: (2 m n + C1) / (m^2 + n^2 + C1)."""
    x, y = torch.full((1, 1, 21, 21), 0.2), torch.full((1, 1, 21, 21), 0.6)
    expected = (2 * 0.2 * 0.6 + C1) / (0.2**2 + 0.6**2 + C1)
    assert ssim(x, y)[0, 0, 10, 10].item() == pytest.approx(expected, rel=1e-4)
    assert pytest.approx((1e-4, 9e-4)) == (C1, C2)


def test_ssim_follows_the_definition_everywhere():
    rng = np.random.default_rng(0)
    x, y = rng.random((14, 17)), (rng.random((14, 17)) > 0.6).astype(float)
    found = ssim(planes(x), planes(y))[0, 0].numpy()
    np.testing.assert_allclose(found, ssim_by_loops(x, y), rtol=2e-4, atol=2e-5)


def test_ssim_agrees_with_scikit_image_away_from_the_frame():
    rng = np.random.default_rng(1)
    x, y = rng.random((40, 40)), (rng.random((40, 40)) > 0.5).astype(float)
    # Their Gaussian of sigma 1.5 is cut at 3.5 sigma: 11 wide, as here.
    _, theirs = structural_similarity(
        x, y, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, full=True
    )
    inner = (slice(5, -5), slice(5, -5))
    ours = ssim(planes(x), planes(y))[0, 0].numpy()
    np.testing.assert_allclose(ours[inner], theirs[inner], rtol=1e-3, atol=1e-4)


def test_ssim_sees_each_image_and_class_by_itself():
    rng = torch.Generator().manual_seed(3)
    x, y = torch.rand(2, 3, 16, 16, generator=rng), torch.rand(2, 3, 16, 16, generator=rng)
    whole = ssim(x, y)
    assert whole.shape == x.shape
    for b in range(2):
        for c in range(3):
            one = ssim(x[b : b + 1, c : c + 1], y[b : b + 1, c : c + 1])
            torch.testing.assert_close(whole[b, c], one[0, 0])
    torch.testing.assert_close(ssim(x, x), torch.ones_like(x))


# -- IoU and cross-entropy ------------------------------------------------------------------------


def test_iou_loss_by_hand():
    p = planes([[1.0, 0.5], [0.0, 0.25]])
    mask = planes([[1.0, 0.0], [1.0, 0.0]])
    # Both: 1; either: 1.75 + 2 - 1 = 2.75; one is added above and below.
    assert iou_loss(p, mask).item() == pytest.approx(1 - (1 + 1) / (2.75 + 1))


def test_iou_loss_of_three_by_three_by_hand():
    p = planes([[1, 1, 0], [1, 1, 0], [0, 0, 0]])
    mask = planes([[0, 0, 0], [0, 1, 1], [0, 1, 1]])
    assert iou_loss(p, mask).item() == pytest.approx(1 - (1 + 1) / (7 + 1))


def test_iou_loss_without_lesion_is_nil_only_for_an_empty_prediction():
    nothing = torch.zeros(1, 1, 3, 3)
    assert iou_loss(nothing, nothing).item() == 0
    assert iou_loss(torch.ones(1, 1, 3, 3), nothing).item() == pytest.approx(1 - 1 / 10)


def test_cross_entropy_by_hand():
    p = planes([[0.9, 0.2], [0.5, 0.4]])
    mask = planes([[1.0, 0.0], [1.0, 1.0]])
    expected = -(math.log(0.9) + math.log(0.8) + math.log(0.5) + math.log(0.4)) / 4
    loss = hybrid_loss({"coarse": logit(p)}, mask, parts=("bce",))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_three_by_three_by_hand():
    p = planes([[0.9, 0.2, 0.1], [0.5, 0.4, 0.3], [0.8, 0.7, 0.6]])
    mask = planes([[1, 0, 0], [1, 1, 0], [1, 1, 0]])
    array, truth = p[0, 0].numpy().astype(float), mask[0, 0].numpy().astype(float)
    bce = -(truth * np.log(array) + (1 - truth) * np.log(1 - array)).mean()
    both = 0.9 + 0.5 + 0.4 + 0.8 + 0.7
    iou = 1 - (both + 1) / (array.sum() + 5 - both + 1)
    similar = 1 - ssim_by_loops(array, truth).mean()
    loss = hybrid_loss({"final": logit(p)}, mask)
    assert loss.item() == pytest.approx(bce + similar + iou, rel=1e-4)


# -- together -------------------------------------------------------------------------------------


@pytest.fixture
def example() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Logits of two outputs and masks, two images and two classes."""
    rng = torch.Generator().manual_seed(4)
    maps = {name: torch.randn(2, 2, 12, 12, generator=rng) for name in ("coarse", "final")}
    masks = torch.zeros(2, 2, 12, 12)
    masks[0, 0, 2:7, 3:8] = 1
    masks[0, 1, 8:11, 3:8] = 1
    masks[1, 0, 4:9, 1:4] = 1
    return maps, masks


def test_it_is_the_sum_over_outputs_of_the_three_parts(example):
    maps, masks = example
    expected = 0.0
    for logits in maps.values():
        p = torch.sigmoid(logits)
        bce = torch.nn.functional.binary_cross_entropy(p, masks)
        expected += (bce + (1 - ssim(p, masks).mean()) + iou_loss(p, masks).mean()).item()
    assert hybrid_loss(maps, masks).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("parts", [("bce",), ("ssim",), ("iou",), ("bce", "iou")])
def test_parts_add_up(example, parts):
    maps, masks = example
    rest = [part for part in ("bce", "ssim", "iou") if part not in parts]
    total = hybrid_loss(maps, masks, parts=parts) + hybrid_loss(maps, masks, parts=rest)
    assert total.item() == pytest.approx(hybrid_loss(maps, masks).item(), rel=1e-5)


@pytest.mark.parametrize("parts", [(), ("dice",), ("bce", "dice")])
def test_unknown_parts_are_refused(example, parts):
    with pytest.raises(ValueError, match="bce, ssim, iou"):
        hybrid_loss(*example, parts=parts)


def test_a_perfect_prediction_costs_nothing_and_the_reverse_much(example):
    _, masks = example
    right = {"coarse": BIG * (2 * masks - 1), "final": BIG * (2 * masks - 1)}
    wrong = {name: -logits for name, logits in right.items()}
    assert hybrid_loss(right, masks).item() == pytest.approx(0, abs=1e-4)
    assert hybrid_loss(wrong, masks).item() > 10


def test_slices_without_lesion_give_a_finite_loss_and_gradient():
    masks = torch.zeros(2, 3, 16, 16)
    for value in (-BIG, 0.0, BIG):
        logits = torch.full((2, 3, 16, 16), value, requires_grad=True)
        loss = hybrid_loss({"coarse": logits}, masks)
        loss.backward()
        assert bool(loss.isfinite())
        assert bool(logits.grad.isfinite().all())
    empty = {"coarse": torch.full((2, 3, 16, 16), -BIG)}
    assert hybrid_loss(empty, masks).item() == pytest.approx(0, abs=1e-4)


def test_following_the_gradient_lowers_it(example):
    maps, masks = example
    logits = maps["final"].clone().requires_grad_()
    before = hybrid_loss({"final": logits}, masks)
    before.backward()
    step = logits.detach() - 10.0 * logits.grad
    assert hybrid_loss({"final": step}, masks) < before


# -- lesions of unnamed class ---------------------------------------------------------------------


def test_known_of_all_images_is_the_plain_loss(example):
    maps, masks = example
    everything = hybrid_loss(maps, masks, torch.tensor([True, True]))
    assert everything.item() == hybrid_loss(maps, masks).item()


def test_unnamed_lesions_judge_only_the_union_of_the_classes(example):
    """Which class found the lesion does not matter; that one did, does."""
    _, masks = example
    union = masks.amax(1, keepdim=True).expand_as(masks)
    first = torch.full_like(masks, -BIG)
    first[:, 0] = BIG * (2 * union[:, 0] - 1)
    second = first.flip(1)
    unknown = torch.tensor([False, False])
    for found in (first, second):
        assert hybrid_loss({"final": found}, union, unknown).item() == pytest.approx(0, abs=1e-4)
        assert hybrid_loss({"final": found}, union).item() > 1
    nothing = torch.full_like(masks, -BIG)
    assert hybrid_loss({"final": nothing}, union, unknown).item() > 1


def test_known_and_unnamed_images_are_judged_each_their_own_way(example):
    maps, masks = example
    masks = masks.clone()
    masks[1] = masks[1].amax(0)
    mixed = hybrid_loss(maps, masks, torch.tensor([True, False]))
    halves = [
        hybrid_loss({k: v[i : i + 1] for k, v in maps.items()}, masks[i : i + 1], torch.tensor([k]))
        for i, k in enumerate((True, False))
    ]
    assert mixed.item() == pytest.approx((halves[0] + halves[1]).item() / 2, rel=1e-5)


def test_the_gradient_of_an_unnamed_lesion_goes_to_the_class_that_is_nearest():
    logits = torch.tensor([[1.0, -1.0], [0.5, -0.5]]).view(2, 2, 1, 1).expand(2, 2, 4, 4).clone()
    logits.requires_grad_()
    masks = torch.ones(2, 2, 4, 4)
    hybrid_loss({"final": logits}, masks, torch.tensor([False, False])).backward()
    assert bool((logits.grad[:, 0] < 0).all())
    assert not logits.grad[:, 1].any()


def test_one_class_is_its_own_union():
    logits, masks = torch.randn(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)
    masks[..., 2:5, 2:5] = 1
    unknown = hybrid_loss({"final": logits}, masks, torch.tensor([False, False]))
    assert unknown.item() == hybrid_loss({"final": logits}, masks).item()


def test_it_is_computed_in_float32_under_reduced_precision(example):
    maps, masks = example
    with torch.autocast("cpu", torch.bfloat16):
        reduced = hybrid_loss(maps, masks)
    assert reduced.dtype == torch.float32
    assert reduced.item() == hybrid_loss(maps, masks).item()
