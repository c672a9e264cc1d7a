"""Extremal Perturbation does what its paper defines."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from baselines.perturbation.extremal_perturbation import Settings, _area_loss, extremal_masks, extremal_perturbation, gaussian, perturber
from baselines.perturbation.smooth_mask import SmoothMask
from tests.helpers import configured, rngs, textured

DEFAULTS = {key: value for key, value in configured("method=ep").method.items() if not str(key).startswith("_")}
SMALL = DEFAULTS | {"areas": [0.15], "iterations": 60, "learning_rate": 0.1, "area_growth": 1.05, "border": "reflect", "jitter": False}


class Brightness(nn.Module):
    """The logit of class 1 is the mean brightness inside a patch."""

    def forward(self, images):
        score = 20 * images[:, :, 16:32, 24:40].mean((1, 2, 3))
        return torch.stack([10 - score, score], 1)


def test_the_mask_is_the_soft_maximum_of_the_weighted_parameters():
    smooth = SmoothMask((20, 26), step=4, sigma=6, coldness=20.0, device=torch.device("cpu"))
    parameters = torch.rand(2, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float32).requires_grad_()
    masks = smooth(parameters)
    assert smooth.crop(masks).shape == (2, 20, 26)
    for row, (y, x) in ((0, (0, 0)), (1, (13, 9)), (0, (19, 25))):
        values = []
        for i in range(-12, 12):  # beyond the grid the parameters are zero
            for j in range(-12, 14):
                if abs(i - y // 4) <= 3 and abs(j - x // 4) <= 3:
                    distance = math.hypot(y - 4 * i, x - 4 * j) / 6
                    parameter = parameters[row, i, j] if 0 <= i < 5 and 0 <= j < 7 else torch.zeros(())
                    values.append(parameter * math.exp(-2 * max(0, distance - 0.5) ** 2))
        near = torch.stack(values)
        expected = (near * (20 * near).softmax(0)).sum()
        torch.testing.assert_close(smooth.crop(masks)[row, y, x], expected)
        (found,) = torch.autograd.grad(smooth.crop(masks)[row, y, x], parameters, retain_graph=True)
        (wanted,) = torch.autograd.grad(expected, parameters, retain_graph=True)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("size", "step", "sigma"), [((224, 224), 7, 21), ((20, 33), 4, 6), ((9, 9), 1, 3), ((8, 8), 8, 8)])
def test_the_compiled_soft_maximum_is_the_plain_one(size, step, sigma):
    smooth = SmoothMask(size, step=step, sigma=sigma, coldness=20.0, device=torch.device("cpu"))
    values = torch.rand(3, *smooth.grid, generator=torch.Generator().manual_seed(2))
    values[0] = 1.0
    values[1] = values[1].round()
    found, wanted = values.clone().requires_grad_(), values.double().requires_grad_()
    masks, plain = smooth(found), smooth(wanted)  # in double precision it is not compiled
    torch.testing.assert_close(masks.double(), plain, atol=5e-6, rtol=0)
    weights = torch.rand(masks.shape, generator=torch.Generator().manual_seed(3))
    (slopes,), (exact,) = torch.autograd.grad(masks, found, weights), torch.autograd.grad(plain, wanted, weights.double())
    torch.testing.assert_close(slopes.double(), exact, atol=5e-6 * float(exact.abs().max()), rtol=1e-4)


def test_a_coldness_whose_exponentials_overflow_is_refused():
    with pytest.raises(ValueError, match="coldness="):
        masks_of(coldness=200.0)


def test_the_area_term_is_the_distance_of_the_sorted_mask_from_a_step():
    masks = torch.rand(3, 200, generator=torch.Generator().manual_seed(1))
    masks[1, :150] = 0.5
    masks[2] = 1.0
    share = torch.tensor([0.1, 0.4, 0.25])
    for m, a, found in zip(masks, share, _area_loss(masks, share), strict=True):
        step = torch.ones(200)
        step[: int(200 * (1 - a))] = 0
        torch.testing.assert_close(found, (m.sort().values - step).square().mean())


def test_perturbations_reach_from_the_image_to_nothing_of_it():
    images = textured(2, 40, 40)
    whole, none = torch.ones(2, 40, 40), torch.zeros(2, 40, 40)
    fade, blur = (perturber(images, Settings(areas=[0.1], perturbation=kind, border="reflect")) for kind in ("fade", "blur"))
    torch.testing.assert_close(fade(whole), images)
    assert not fade(none).any()
    torch.testing.assert_close(blur(whole), images)
    torch.testing.assert_close(blur(none), gaussian(images, 20 * 40 / 224, "reflect"))
    torch.testing.assert_close(blur(whole * 3 / 7), gaussian(images, 20 * 40 / 224 * 4 / 7, "reflect"), atol=1e-5, rtol=1e-4)


def masks_of(**change):
    images, targets = torch.full((2, 3, 64, 64), 0.8), torch.tensor([1, 1])
    return extremal_masks(Brightness(), images, targets, Settings(**SMALL | {"perturbation": "fade"} | change))


@pytest.mark.parametrize("reward", ["simple", "contrastive"])
@pytest.mark.parametrize("variant", ["preserve", "delete", "dual"])
def test_the_mask_lies_on_the_patch_and_has_about_the_area(variant, reward):
    mask = masks_of(variant=variant, reward=reward)[0, 0]
    inside = mask[16:32, 24:40].mean()
    outside = mask.clone()
    outside[8:40, 16:48] = torch.nan
    assert inside > 0.8
    assert outside.nanmean() < 0.1
    assert 0.08 < float(mask.mean()) < 0.3


def test_each_area_and_image_is_optimised_on_its_own():
    both = masks_of(areas=[0.1, 0.3], iterations=8)
    assert both.shape == (2, 2, 64, 64)
    torch.testing.assert_close(both[:, 1:], masks_of(areas=[0.3], iterations=8))
    assert both[:, 0].mean() < both[:, 1].mean()


def test_the_map_sums_the_areas_and_the_probability_is_reported():
    images, targets = textured(2, 32, 48), torch.tensor([1, 0])
    options = SMALL | {"areas": [0.1, 0.2], "iterations": 3}
    found = extremal_perturbation(Brightness(), images, targets, rngs=rngs(2), **options)
    assert found.saliency.shape == (2, 32, 48)
    assert set(found.extras) == {"probability_0.1", "probability_0.2"}
    assert all(((p >= 0) & (p <= 1)).all() for p in found.extras.values())


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"areas": []}, "areas"),
        ({"areas": [1.5]}, "areas"),
        ({"perturbation": "noise"}, "perturbation"),
        ({"variant": "keep"}, "variant"),
        ({"reward": "loss"}, "reward"),
        ({"iterations": 0}, "iterations"),
        ({"levels": 1}, "levels"),
        ({"border": "zero"}, "border"),
    ],
)
def test_a_value_out_of_range_is_named(change, name):
    with pytest.raises(ValueError, match=f"{name}="):
        masks_of(**change)
