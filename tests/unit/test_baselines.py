"""Each baseline is faithful to its reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
import timm
import torch
from captum.attr import GuidedBackprop, LayerGradCam, Saliency
from torch import nn
from torch.nn.functional import interpolate, relu

from baselines.cams.cam import cam
from baselines.cams.gradcam import gradcam
from baselines.gradients.gradient import gradient
from baselines.gradients.guided_backprop import guided_backprop
from baselines.perturbation.occlusion import kernel_shap, occlusion
from baselines.perturbation.rise import random_masks, rise
from baselines.references import centre_disc, random_map, sobel_edges
from da.types import ScoreModel
from tests.helpers import PatchNet, rngs, textured

TARGETS = torch.tensor([3, 1])


def network(*activations: nn.Module) -> nn.Module:
    """A small convolutional network with these activations."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first, second = activations
        layers = [nn.Conv2d(3, 8, 3, padding=1), first, nn.Conv2d(8, 8, 3, padding=1), second, nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(8, 5)).eval().requires_grad_(False)


def test_gradient_equals_captums():
    model, images = network(nn.ReLU(), nn.ReLU()), textured(2, 20, 24)
    expected = Saliency(model).attribute(images.clone().requires_grad_(), target=TARGETS).amax(1)
    torch.testing.assert_close(gradient(model, images, TARGETS, rngs=rngs(2)).saliency, expected, atol=1e-6, rtol=0)


def test_gradcam_equals_captums():
    model, images = network(nn.ReLU(), nn.ReLU()), textured(2, 20, 24)
    small = LayerGradCam(model, model[3]).attribute(images.clone().requires_grad_(), TARGETS, relu_attributions=True)
    expected = interpolate(small, (20, 24), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(gradcam(model, images, TARGETS, rngs=rngs(2), layer="3").saliency, expected, atol=1e-6, rtol=0)
    in_place = network(nn.ReLU(inplace=True), nn.ReLU(inplace=True))
    before_relu = gradcam(model, images, TARGETS, rngs=rngs(2), layer="2").saliency
    torch.testing.assert_close(gradcam(in_place, images, TARGETS, rngs=rngs(2), layer="2").saliency, before_relu)


def test_a_layer_that_is_not_there_lists_those_that_are():
    model = network(nn.ReLU(), nn.ReLU())
    for layer in ("7.conv", "", None):
        with pytest.raises(ValueError, match=r"choose one of 0, 1, 2, 3$"):
            gradcam(model, textured(2, 8, 8), TARGETS, rngs=rngs(2), layer=layer)
    with pytest.raises(ValueError, match="no spatial output"):
        gradcam(model, textured(2, 8, 8), TARGETS, rngs=rngs(2), layer="6")


def test_guided_backprop_equals_captums_and_cuts_the_gradient():
    model, images = network(nn.ReLU(), nn.ReLU()), textured(2, 20, 24)
    expected = GuidedBackprop(model).attribute(images.clone().requires_grad_(), TARGETS).abs().amax(1)
    found = guided_backprop(model, images, TARGETS, rngs=rngs(2)).saliency
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert not torch.allclose(found, gradient(model, images, TARGETS, rngs=rngs(2)).saliency)


@pytest.mark.parametrize("activation", [nn.ReLU6(), nn.ReLU6(inplace=True), nn.Hardtanh(0, 6), nn.ReLU(inplace=True)])
def test_guided_backprop_guides_every_kind_of_relu(activation):
    images = textured(2, 20, 24)
    expected = guided_backprop(network(nn.ReLU(), nn.ReLU()), images, TARGETS, rngs=rngs(2)).saliency
    found = guided_backprop(network(activation, activation), images, TARGETS, rngs=rngs(2)).saliency
    torch.testing.assert_close(found, expected)  # nothing here reaches 6


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = network(nn.ReLU(), nn.Identity())

    def forward(self, images):
        return self.net(relu(images - 0.5))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (network(nn.SiLU(), nn.ReLU()), "no meaning for silu"),
        (network(nn.GELU(), nn.GELU()), "no meaning for gelu"),
        (network(nn.ReLU(), nn.LeakyReLU(inplace=True)), "no meaning for leaky_relu"),
        (network(nn.Hardswish(), nn.ReLU()), "no meaning for hardswish"),
        (network(nn.Identity(), nn.Tanh()), "no meaning for tanh"),
        (network(nn.Identity(), nn.Identity()), "needs a model with ReLUs"),
        (Functional(), "cannot guide 1 of this model's ReLUs"),
    ],
)
def test_guided_backprop_refuses_what_it_cannot_guide(model, message):
    with pytest.raises(ValueError, match=message):
        guided_backprop(model, textured(2, 16, 16), TARGETS, rngs=rngs(2))


def test_guided_backprop_refuses_a_timm_network_with_silu():
    model = timm.create_model("efficientnet_b0", pretrained=False).eval()
    with pytest.raises(ValueError, match="silu"):
        guided_backprop(model, textured(1, 64, 64), TARGETS[:1], rngs=rngs(1))


def test_rise_is_the_estimator_on_its_own_masks():
    images = textured(2, 40, 48)
    net = network(nn.ReLU(), nn.ReLU())
    asked = []

    def model(shown):
        asked.append(len(shown))
        return (net(shown) * 30).softmax(1)

    options = {"cells": 5, "probability": 0.4}
    found = rise(model, images, TARGETS, rngs=rngs(2), masks=50, fill=[0.4, 0.5, 0.6], mask_seed=3, chunk=8, **options).saliency
    masks = torch.cat(list(random_masks(50, size=(40, 48), seed=3, chunk=50, **options))).double()
    colour = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)
    for i in range(2):
        total = torch.zeros(40, 48, dtype=torch.float64)
        for mask in masks:
            score = model((images[i] * mask + colour * (1 - mask)).float()[None])[0, TARGETS[i]]
            total += score * mask
        torch.testing.assert_close(found[i], (total / 50 / 0.4).float(), atol=1e-5, rtol=1e-5)
    assert max(asked) == 2 * 8


def test_masks_do_not_depend_on_the_chunk_and_stream():
    options = {"cells": 7, "probability": 0.5, "size": (60, 90), "seed": 5}
    whole = torch.cat(list(random_masks(20, chunk=20, **options)))
    torch.testing.assert_close(torch.cat(list(random_masks(20, chunk=3, **options))), whole)
    torch.testing.assert_close(torch.cat(list(random_masks(9, chunk=4, **options))), whole[:9])
    assert next(random_masks(10**9, chunk=2, **options)).shape == (2, 60, 90)
    assert whole.min() >= 0
    assert whole.max() <= 1 + 1e-6
    assert not torch.equal(whole[0], next(random_masks(1, chunk=1, **options | {"seed": 6}))[0])


def test_masks_keep_the_asked_share_and_are_shifted_by_less_than_a_cell():
    masks = torch.cat(list(random_masks(3000, cells=7, probability=0.3, size=(56, 56), seed=0, chunk=500)))
    assert float(masks.mean()) == pytest.approx(0.3, abs=0.01)
    assert float(masks.mean(0).std()) < 0.02


def test_masks_equal_the_reference_recipe():
    from skimage.transform import resize

    cells, size, cell = 8, 64, 8
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([9, 0x52495345])))
    for mask in torch.cat(list(random_masks(5, cells=cells, probability=0.5, size=(size, size), seed=9, chunk=2))):
        draws = rng.random(cells * cells + 2)
        grid = (draws[2:] < 0.5).astype("float32").reshape(cells, cells)
        large = resize(grid, ((cells + 1) * cell,) * 2, order=1, mode="reflect", anti_aliasing=False)
        x, y = int(draws[0] * cell), int(draws[1] * cell)
        assert np.abs(mask.numpy() - large[x : x + size, y : y + size]).max() < 1e-5


@pytest.mark.parametrize("change", [{"masks": 0}, {"cells": 0}, {"probability": 0.0}, {"chunk": 0}])
def test_rise_names_a_value_out_of_range(change):
    options = {"masks": 2, "cells": 2, "probability": 0.5, "fill": "black", "mask_seed": 0, "chunk": 1} | change
    with pytest.raises(ValueError, match=next(iter(change))):
        rise(lambda shown: shown.mean((2, 3)), textured(2, 8, 8), TARGETS.clamp_max(2), rngs=rngs(2), **options)


def planted(shown: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.softmax(8 * PatchNet(8, 20, 10, 10)(shown), 1)


@pytest.mark.parametrize(
    "method",
    [
        lambda model, images, y: rise(
            model, images, y, rngs=rngs(2), masks=600, cells=6, probability=0.5, fill="black", mask_seed=0, chunk=50
        ),
        lambda model, images, y: occlusion(model, images, y, rngs=rngs(2), window=0.2, stride=0.1, fill="black"),
        lambda model, images, y: kernel_shap(model, images, y, rngs=rngs(2), samples=200, sp_num=30, fill="black"),
    ],
)
def test_black_box_methods_find_the_patch(method):
    model: ScoreModel = planted
    images = textured(2, 40, 40)
    saliency = method(model, images, torch.tensor([1, 1])).saliency
    inside = saliency[:, 8:18, 20:30].mean((1, 2))
    outside = saliency.clone()
    outside[:, 4:22, 16:34] = torch.nan
    assert (inside > outside.nanmean((1, 2)) + 1.5 * saliency.std((1, 2)) * 0.5).all()


def test_references_know_nothing_of_the_model():
    def model(images):
        raise AssertionError("it was asked")

    images = textured(2, 21, 31)
    noise = random_map(model, images, TARGETS, rngs=rngs(2)).saliency
    assert not torch.equal(noise[0], noise[1])
    disc = centre_disc(model, images, TARGETS, rngs=rngs(2)).saliency
    assert disc.argmax(-1).flatten().unique().tolist() == [15]
    assert float(disc[0, 0, 0]) == pytest.approx(-math.hypot(10, 15))
    step = torch.zeros(1, 3, 20, 20)
    step[..., 10:] = 1
    edges = sobel_edges(model, step, TARGETS[:1], rngs=rngs(1)).saliency[0]
    assert edges[:, 9:11].min() > 10 * edges[:, :8].max()


def test_class_activation_maps_of_the_extra_package():
    model, images = network(nn.ReLU(), nn.ReLU()), textured(2, 20, 20)
    maps = cam(model, images, TARGETS, rngs=rngs(2), variant="GradCAM", layer="3").saliency
    ours = gradcam(model, images, TARGETS, rngs=rngs(2), layer="3").saliency
    for theirs, own in zip(maps, ours, strict=True):
        assert own.max() == 0 or np.corrcoef(theirs.flatten(), own.flatten())[0, 1] > 0.99
    with pytest.raises(ValueError, match=r"variant='NoCAM'.*ScoreCAM"):
        cam(model, images, TARGETS, rngs=rngs(2), variant="NoCAM", layer="3")
