"""Where a baseline could quietly compute something else than its name says, or leave a mark on the caller's model."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import pytorch_grad_cam
import torch
from captum.attr import Saliency
from pytorch_grad_cam.base_cam import BaseCAM
from torch import Tensor, nn

from baselines.cams.cam import cam
from baselines.cams.gradcam import gradcam
from baselines.gradients.gradient import gradient
from baselines.gradients.guided_backprop import guided_backprop
from baselines.gradients.integrated_gradients import integrated_gradients, smoothgrad
from baselines.perturbation.hsic import hsic
from baselines.perturbation.lime import lime
from baselines.perturbation.occlusion import kernel_shap, occlusion
from baselines.perturbation.rise import random_masks, rise
from baselines.perturbation.sobol import sobol
from baselines.references import centre_disc, random_map, sobel_edges
from baselines.regions.bg_sis import bg_sis
from baselines.regions.greedy import greedy
from baselines.regions.igos_pp import igos_pp
from baselines.regions.sag import sag
from baselines.regions.sis import sis
from da.models import label_model
from da.superpixels import superpixels
from tests.helpers import rngs, textured

TARGETS = torch.tensor([3, 1])
VARIANTS = sorted(name for name, kind in vars(pytorch_grad_cam).items() if inspect.isclass(kind) and issubclass(kind, BaseCAM))


def vgg(inplace: bool = False) -> nn.Sequential:
    """A network with batch normalisation, its parameters not frozen."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3, padding=1),
            nn.ReLU(inplace), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5),
        ).eval()  # fmt: skip


class AddInPlace(nn.Module):
    """An addition in place right after the layer, as in residual networks."""

    def __init__(self, inplace: bool):
        super().__init__()
        self.net, self.inplace_addition = vgg(), inplace

    def forward(self, images):
        features = self.net[0](images)
        features = features.add_(0.5) if self.inplace_addition else features + 0.5
        return self.net[1:](features)


@pytest.mark.parametrize("variant", [None, "GradCAM", "ScoreCAM", "AblationCAM", "LayerCAM"])
def test_nothing_in_place_after_the_layer_reaches_the_map(variant):
    def found(model, layer):
        if variant is None:
            return gradcam(model, images, TARGETS, rngs=rngs(2), layer=layer).saliency
        return cam(model, images, TARGETS, rngs=rngs(2), variant=variant, layer=layer).saliency

    images = textured(2, 24, 20)
    torch.testing.assert_close(found(vgg(inplace=True), "4"), found(vgg(inplace=False), "4"))
    if variant != "AblationCAM":  # which replaces the layer, and keeps what it needs by itself
        torch.testing.assert_close(found(AddInPlace(True), "net.0"), found(AddInPlace(False), "net.0"))


def test_a_layer_that_does_not_run_is_named():
    model = AddInPlace(False)
    model.unused = nn.Conv2d(3, 3, 1)
    with pytest.raises(ValueError, match=r"layer='unused'.*choose one of"):
        gradcam(model, textured(2, 16, 16), TARGETS, rngs=rngs(2), layer="unused")


def test_a_class_with_no_evidence_has_a_map_of_zeros():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    nn.init.constant_(model[4].weight, -1.0)
    found = gradcam(model, textured(2, 16, 16), TARGETS, rngs=rngs(2), layer="1").saliency
    assert found.abs().max() == 0


MODULE_METHODS = {
    "gradient": lambda m, x, t, r: gradient(m, x, t, rngs=r),
    "guided_backprop": lambda m, x, t, r: guided_backprop(m, x, t, rngs=r),
    "gradcam": lambda m, x, t, r: gradcam(m, x, t, rngs=r, layer="4"),
    "integrated_gradients": lambda m, x, t, r: integrated_gradients(m, x, t, rngs=r, steps=4, fill="black"),
    "smoothgrad": lambda m, x, t, r: smoothgrad(m, x, t, rngs=r, samples=3, noise=0.1),
    "random_map": lambda m, x, t, r: random_map(label_model(m), x, t, rngs=r),
    "centre_disc": lambda m, x, t, r: centre_disc(label_model(m), x, t, rngs=r),
    "sobel_edges": lambda m, x, t, r: sobel_edges(label_model(m), x, t, rngs=r),
    "bg_sis": lambda m, x, t, r: bg_sis(m, x, t, rngs=r, steps=5, criterion="top1"),
    "igos_pp": lambda m, x, t, r: igos_pp(m, x, t, rngs=r, size=7, iterations=2, steps=2, step_size=1.0),
    **{f"cam {v}": lambda m, x, t, r, v=v: cam(m, x, t, rngs=r, variant=v, layer="4") for v in VARIANTS},
}
SCORE_METHODS = {
    "rise": lambda m, x, t, r: rise(m, x, t, rngs=r, masks=20, cells=5, probability=0.5, fill="black", mask_seed=0, chunk=8),
    "occlusion": lambda m, x, t, r: occlusion(m, x, t, rngs=r, window=0.3, stride=0.2, fill="mean"),
    "kernel_shap": lambda m, x, t, r: kernel_shap(m, x, t, rngs=r, samples=30, sp_num=12, fill="black"),
    "lime": lambda m, x, t, r: lime(m, x, t, rngs=r, samples=30, sp_num=12),
    "sobol": lambda m, x, t, r: sobol(m, x, t, rngs=r, cells=3, designs=4),
    "hsic": lambda m, x, t, r: hsic(m, x, t, rngs=r, cells=3, masks=20),
    "sis": lambda m, x, t, r: sis(m, x, t, rngs=r, sp_num=6, criterion="share"),
    "sag": lambda m, x, t, r: sag(m, x, t, rngs=r, cells=3),
    "greedy": lambda m, x, t, r: greedy(m, x, t, rngs=r, sp_num=6),
}


def everything(model: nn.Module) -> list[object]:
    """All that a method could leave a mark on."""
    tensors = [
        (name, t.tolist(), t.requires_grad, None if t.grad is None else t.grad.tolist())
        for name, t in model.state_dict(keep_vars=True).items()
    ]
    hooks = [[len(h) for k, h in vars(m).items() if k.endswith("_hooks")] for m in model.modules()]
    modules = [(name, id(m), m.training, getattr(m, "inplace", None)) for name, m in model.named_modules()]
    kind, keys, *position = np.random.get_state()  # noqa: NPY002
    return [tensors, hooks, modules, kind, keys.tolist(), position, torch.get_rng_state().tolist(), torch.is_grad_enabled()]


@pytest.mark.parametrize("name", [*MODULE_METHODS, *SCORE_METHODS])
def test_no_mark_is_left_and_images_do_not_meet(name, capfd):
    """Not frozen, with gradients of the caller's own, not square; nothing printed; an image alone has the map it has in company."""
    model = vgg(inplace=True)
    for weight in model.parameters():
        weight.grad = torch.full_like(weight, 7.0)
    if name.startswith("cam"):
        model.train()
    method, shown = (MODULE_METHODS[name], model) if name in MODULE_METHODS else (SCORE_METHODS[name], lambda x: model(x).softmax(1))
    images = textured(2, 32, 44)
    before, given = everything(model), images.clone()
    with torch.no_grad() if name in SCORE_METHODS else torch.enable_grad():
        together = method(shown, images, TARGETS, rngs(2)).saliency
        again = method(shown, images, TARGETS, rngs(2)).saliency
        alone = method(shown, images[1:], TARGETS[1:], rngs(2)[1:]).saliency
    assert everything(model) == before
    assert torch.equal(images, given)
    assert not images.requires_grad
    assert capfd.readouterr() == ("", "")
    assert together.shape == (2, 32, 44)
    assert together.dtype == torch.float32
    assert not together.requires_grad
    assert torch.isfinite(together).all()
    assert torch.equal(together, again)
    torch.testing.assert_close(alone[0], together[1], atol=1e-5, rtol=1e-4)


def linear() -> tuple[nn.Module, Tensor]:
    """A linear model of 12 x 10 images and its weights ``[5, 3, 12, 10]``."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(360, 5))
    nn.init.normal_(model[1].weight, generator=torch.Generator().manual_seed(0))
    return model, model[1].weight.detach().view(5, 3, 12, 10)


def test_integrated_gradients_and_smoothgrad_of_a_linear_model_are_known():
    model, weights = linear()
    images = textured(2, 12, 10)
    found = integrated_gradients(model, images, TARGETS, rngs=rngs(2), steps=3, fill=[0.1, 0.2, 0.3]).saliency
    difference = images - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)
    torch.testing.assert_close(found, (weights[TARGETS] * difference).sum(1).abs(), atol=1e-5, rtol=1e-5)
    found = smoothgrad(model, images, TARGETS, rngs=rngs(2), samples=3, noise=0.5).saliency
    torch.testing.assert_close(found, weights[TARGETS].abs().amax(1))


def test_smoothgrad_is_the_mean_of_captums_gradients_under_each_images_own_noise():
    model, images = vgg(), textured(2, 16, 20)
    total = torch.zeros_like(images)
    streams = rngs(2)
    for i, image in enumerate(images):
        for _ in range(4):
            draw = torch.from_numpy(streams[i].standard_normal(image.shape, dtype=np.float32))
            noisy = (image + 0.2 * (image.max() - image.min()) * draw)[None].requires_grad_()
            total[i] += Saliency(model).attribute(noisy, target=TARGETS[i : i + 1], abs=False)[0] / 4
    found = smoothgrad(model, images, TARGETS, rngs=rngs(2), samples=4, noise=0.2).saliency
    torch.testing.assert_close(found, total.abs().amax(1), atol=1e-6, rtol=1e-4)


def test_kernel_shap_of_an_additive_score_is_exact_and_sums_to_the_difference():
    images = textured(2, 64, 64)

    def brightness(shown: Tensor) -> Tensor:
        return shown.mean((2, 3))

    targets = torch.tensor([0, 2])
    found = kernel_shap(brightness, images, targets, rngs=rngs(2), samples=200, sp_num=40, fill="black").saliency
    index = superpixels(images, 40).index
    assert min(len(image.unique()) for image in index) > 3
    for i, target in enumerate(targets):
        for part in index[i].unique():
            inside = index[i] == part
            torch.testing.assert_close(found[i][inside].mean(), images[i, target][inside].sum() / 64**2, atol=1e-4, rtol=1e-3)


def test_kernel_shap_of_a_single_superpixel_is_the_whole_difference():
    asked = []

    def brightness(shown: Tensor) -> Tensor:
        asked.append(len(shown))
        return shown.mean((2, 3))

    found = kernel_shap(brightness, torch.full((1, 3, 16, 16), 0.5), TARGETS[1:], rngs=rngs(1), samples=20, sp_num=1, fill="black")
    torch.testing.assert_close(found.saliency, torch.full((1, 16, 16), 0.5))
    assert asked == [2]
    with pytest.raises(ValueError, match="samples=1"):
        kernel_shap(brightness, textured(1, 16, 16), TARGETS[1:], rngs=rngs(1), samples=1, sp_num=4, fill="black")


@pytest.mark.parametrize(("window", "stride"), [(1.5, 0.5), (0.2, 0.4), (0.2, 0.0)])
def test_occlusion_names_a_window_out_of_range(window, stride):
    with pytest.raises(ValueError, match=f"window={window}"):
        occlusion(lambda x: x.mean((2, 3)), textured(2, 16, 16), TARGETS, rngs=rngs(2), window=window, stride=stride, fill="black")


def test_occlusion_of_a_linear_score_is_the_mean_over_the_squares_that_cover_a_pixel():
    weights = torch.rand(12, 10, generator=torch.Generator().manual_seed(0))
    asked = []

    def score(shown: Tensor) -> Tensor:
        asked.append(len(shown))
        return (shown.mean(1) * weights).sum((1, 2))[:, None]

    images = textured(1, 12, 10)
    found = occlusion(score, images, torch.tensor([0]), rngs=rngs(1), window=0.4, stride=0.2, fill="black").saliency[0]
    total, covered = torch.zeros(12, 10), torch.zeros(12, 10)
    for top in range(0, 9, 2):
        for left in range(0, 7, 2):
            square = (slice(top, top + 4), slice(left, left + 4))
            total[square] += (images[0].mean(0) * weights)[square].sum()
            covered[square] += 1
    torch.testing.assert_close(found, total / covered, atol=1e-5, rtol=1e-4)
    assert sum(asked) == 1 + 5 * 4  # 1 + ceil((side - window) / stride) along each side


def test_rise_masks_are_the_same_bits_for_every_chunk_and_the_reference_where_sides_differ():
    from skimage.transform import resize

    options = {"cells": 7, "probability": 0.5, "size": (50, 75), "seed": 9}
    whole = torch.cat(list(random_masks(40, chunk=40, **options)))
    for chunk in (1, 3, 8, 33):
        assert torch.equal(torch.cat(list(random_masks(40, chunk=chunk, **options))), whole)
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([9, 0x52495345])))
    for mask in whole:
        draws = rng.random(7 * 7 + 2)
        grid = (draws[2:] < 0.5).astype("float32").reshape(7, 7)
        large = resize(grid, (8 * 8, 8 * 11), order=1, mode="reflect", anti_aliasing=False)
        x, y = int(draws[0] * 8), int(draws[1] * 11)
        assert np.abs(mask.numpy() - large[x : x + 50, y : y + 75]).max() < 1e-5


def test_rise_does_not_move_by_a_bit_with_the_batch_and_by_rounding_only_with_the_chunk():
    def score(shown: Tensor) -> Tensor:  # bit for bit the same in any batch
        return torch.stack([image.double().square().mean((1, 2)).float() for image in shown]).softmax(1)

    images, targets = textured(3, 32, 24), torch.tensor([0, 1, 2])
    options = {"masks": 30, "cells": 4, "probability": 0.3, "fill": [0.4, 0.5, 0.6], "mask_seed": 1}
    together = rise(score, images, targets, rngs=rngs(3), chunk=8, **options).saliency
    alone = torch.cat([rise(score, images[i : i + 1], targets[i : i + 1], rngs=rngs(1), chunk=8, **options).saliency for i in range(3)])
    assert torch.equal(together, alone)
    torch.testing.assert_close(rise(score, images, targets, rngs=rngs(3), chunk=30, **options).saliency, together, atol=1e-6, rtol=1e-6)
