"""Whatever is given wrongly is a TypeError or ValueError that says what to write instead."""

from __future__ import annotations

from collections.abc import Callable

import jaxtyping
import numpy as np
import pytest
import torch
from torch import nn

import baselines
import da
from tests.helpers import PatchNet, textured


class Returning(nn.Module):
    """A network that answers in its own way."""

    def __init__(self, answer: Callable) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, images):
        return self.answer(torch.stack([images.mean((1, 2, 3)), images.amax((1, 2, 3))], 1))


NET = PatchNet(8, 8, 8, 8)
LABELS, SCORES = da.label_model(NET), da.score_model(NET)
IMAGES = textured(2, 32, 32)
ALL = torch.ones(2, 32, 32, dtype=torch.bool)
TRAINING = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def walk(images=IMAGES, targets=None, model=LABELS, **options):
    return da.dynamic_ablation(model, images, targets, **options)


def asked(answer, **options):
    """A method that asks a network for its classes."""
    return walk(model=da.label_model(Returning(answer), **options))


def scored(answer, **options):
    """The same, for its scores."""
    return baselines.rise(da.score_model(Returning(answer), **options), IMAGES, masks=10)


WRONG = {
    # models
    "a network for classes": (lambda: walk(model=NET), TypeError, "a bare network: give da.label_model(net, mean=..., std=...)"),
    "a network for scores": (lambda: baselines.rise(NET, IMAGES), TypeError, "a bare network: give da.score_model(net, mean=..., std=...)"),
    "scores for classes": (lambda: walk(model=SCORES), TypeError, "a model of probabilities: give da.label_model("),
    "classes for scores": (lambda: baselines.rise(LABELS, IMAGES), TypeError, "a model of predicted classes: give da.score_model("),
    "classes for a network": (lambda: baselines.gradient(LABELS, IMAGES), TypeError, "classes: give a torch.nn.Module on images in [0, 1]"),
    "scores for a network": (lambda: baselines.gradcam(SCORES, IMAGES, layer="0"), TypeError, "probabilities: give a torch.nn.Module"),
    "a function for a network": (lambda: baselines.gradient(print, IMAGES), TypeError, "give a torch.nn.Module on images in [0, 1]"),
    "print for classes": (
        lambda: walk(model=print),
        TypeError,
        "it returned NoneType for 2 images, not classes [m] as whole numbers: give da.",
    ),
    "print as a network": (
        lambda: walk(model=da.label_model(print)),
        TypeError,
        "returned NoneType: give scores [m, classes], or a function",
    ),
    "what cannot be called": (lambda: da.label_model("net.pth"), TypeError, "str cannot be called: give a torch.nn.Module, or a function"),
    "no model at all": (lambda: walk(model=None), TypeError, "was given a NoneType: give da.label_model("),
    "a model of a model": (lambda: da.label_model(LABELS), TypeError, "give it to the method as it is"),
    "a function of classes": (lambda: baselines.rise(lambda x: NET(x).argmax(1), IMAGES), TypeError, "not probabilities [m, classes]"),
    "a function of lists": (lambda: walk(model=lambda x: [1] * len(x)), TypeError, "it returned list for 2 images"),
    "a verifier": (lambda: da.explain(LABELS, IMAGES, verifier=NET), TypeError, "give da.label_model("),
    "training": (lambda: baselines.gradient(TRAINING, IMAGES), ValueError, "call model.eval() first"),
    # how a model is made
    "mean alone": (lambda: da.label_model(NET, mean=[0.5] * 3), ValueError, "give both mean and std"),
    "std alone": (lambda: da.score_model(NET, std=[0.5] * 3), ValueError, "give both mean and std"),
    "std of 0": (lambda: da.label_model(NET, mean=[0.5] * 3, std=[0.2, 0, 0.2]), ValueError, "give three numbers above 0, up to 1"),
    "one number": (lambda: da.label_model(NET, mean=0.5, std=0.5), ValueError, "mean=[0.5]: give three numbers from 0 to 1"),
    "mean of bytes": (lambda: da.label_model(NET, mean=[124, 116, 104], std=[1] * 3), ValueError, "give three numbers from 0 to 1"),
    "mean of NaN": (lambda: da.label_model(NET, mean=[np.nan] * 3, std=[1] * 3), ValueError, "give three numbers from 0 to 1"),
    "batch": (lambda: da.label_model(NET, batch=0), ValueError, "batch=0: at least 1"),
    "outputs": (lambda: da.score_model(NET, outputs="softmax"), ValueError, "choose logits or probabilities"),
    # what a network returns
    "a dictionary": (lambda: asked(lambda x: {"logits": x}), TypeError, "returned dict: give scores [m, classes], or a function of images"),
    "a tuple": (lambda: asked(lambda x: (x, x[:, 0])), TypeError, "such as lambda images: net(images).logits"),
    "one for all": (lambda: asked(lambda x: x[:1], batch=3), TypeError, "returned shape [1, 2] for 3 images: give scores [m, classes]"),
    "a number": (lambda: asked(lambda x: 3), TypeError, "returned shape [] for 1 images: give scores [m, classes]"),
    "names": (lambda: asked(lambda x: ["cat"] * len(x)), TypeError, "classes [m] as whole numbers"),
    "one logit": (lambda: asked(lambda x: x[:, :1]), TypeError, "float32 of shape [1, 1]: give scores [m, classes], or a function"),
    "a logit an image": (lambda: asked(lambda x: x[:, 0]), TypeError, "float32 of shape [1]: give scores [m, classes], or a function"),
    "NaN": (lambda: asked(lambda x: x / 0 * 0), ValueError, "scores that are not finite: check its weights, and mean and std"),
    "scores of NaN": (lambda: scored(lambda x: x / 0 * 0), ValueError, "scores that are not finite"),
    "one score": (lambda: scored(lambda x: x[:, :1]), TypeError, "float32 of shape [1, 1]: give scores [m, classes]"),
    "classes as scores": (lambda: scored(lambda x: x.argmax(1)), TypeError, "int64 of shape [1]: give scores [m, classes]"),
    "probabilities": (lambda: scored(lambda x: x.softmax(1)), ValueError, "which sum to 1: give outputs='probabilities'"),
    "logits": (lambda: scored(lambda x: 9 * x, outputs="probabilities"), ValueError, "beyond 0 and 1: give outputs='logits'"),
    "a module's dictionary": (
        lambda: baselines.gradient(Returning(lambda x: {"logits": x}), IMAGES),
        TypeError,
        "returned dict: give scores",
    ),
    "a module's tuple": (lambda: baselines.gradient(Returning(lambda x: (x, x[:, 0])), IMAGES), TypeError, "returned tuple: give scores"),
    # images
    "bytes": (
        lambda: walk((255 * IMAGES).byte()),
        TypeError,
        "a tensor of uint8; give a tensor of floats in [0, 1], such as torch.from_numpy",
    ),
    "an array": (lambda: walk(IMAGES.numpy()), TypeError, "ndarray; give a tensor of floats in [0, 1], such as torch.from_numpy(pixels)"),
    "from 0 to 255": (lambda: walk((255 * IMAGES).round()), ValueError, "they must lie in [0, 1]; divide by 255"),
    "normalised": (lambda: walk((IMAGES - 0.5) / 0.25), ValueError, "give them before normalisation, which the model does"),
    "an image": (lambda: walk(IMAGES[0]), ValueError, "shape [3, 32, 32]: give [n, 3, height, width]: image[None] makes a batch of one"),
    "channels last": (lambda: walk(IMAGES.permute(0, 2, 3, 1)), ValueError, "images.permute(0, 3, 1, 2)"),
    "grey": (lambda: walk(IMAGES[:, :1]), ValueError, "shape [2, 1, 32, 32]: give [n, 3, height, width]"),
    "none": (lambda: walk(IMAGES[:0]), ValueError, "shape [0, 3, 32, 32]: give [n, 3, height, width]"),
    "a missing pixel": (lambda: walk(IMAGES.clone().index_fill_(3, torch.tensor([4]), torch.nan)), ValueError, "without NaN"),
    # targets, generators, regions, rules
    "too few targets": (
        lambda: walk(targets=torch.ones(1).long()),
        ValueError,
        "one class an image, a tensor of whole numbers of shape [2]",
    ),
    "targets of floats": (lambda: walk(targets=torch.ones(2)), ValueError, "one class an image, a tensor of whole numbers of shape [2]"),
    "the last class": (lambda: walk(targets=torch.tensor([1, -1])), ValueError, "targets: -1 is no class: they are counted from 0"),
    "a list of targets": (lambda: walk(targets=[1, 1]), ValueError, "one class an image, a tensor of whole numbers of shape [2]"),
    "too few generators": (lambda: walk(rngs=[np.random.default_rng(0)]), ValueError, "[numpy.random.default_rng(i) for i in range(2)]"),
    "one generator": (lambda: walk(rngs=np.random.default_rng(0)), ValueError, "[numpy.random.default_rng(i) for i in range(2)]"),
    "seeds for generators": (lambda: walk(rngs=[0, 1]), ValueError, "[numpy.random.default_rng(i) for i in range(2)]"),
    "a map for a region": (
        lambda: da.certify(LABELS, IMAGES, ALL.float()),
        TypeError,
        "float32 of shape [2, 32, 32]; give a tensor of booleans",
    ),
    "an array for a region": (lambda: da.certify(LABELS, IMAGES, ALL.numpy()), TypeError, "ndarray; give a tensor of booleans"),
    "no region": (lambda: da.certify(LABELS, IMAGES, None), TypeError, "NoneType; give a tensor of booleans of shape [2, 32, 32]"),
    "a region too few": (
        lambda: da.certify(LABELS, IMAGES, ALL[:1]),
        TypeError,
        "shape [1, 32, 32]; give a tensor of booleans of shape [2, 32",
    ),
    "a rule": (lambda: walk(rule="pos"), ValueError, "choose positive (Pos-R) or negative (Neg-R)"),
    "a rule to certify": (lambda: da.certify(LABELS, IMAGES, ALL, rule="pos"), ValueError, "choose positive (Pos-R) or negative (Neg-R)"),
    "several of what is absent": (lambda: da.disjoint_regions(LABELS, IMAGES, most=2, rule="negative"), ValueError, "the positive rule"),
    "several on a blur": (lambda: da.disjoint_regions(LABELS, IMAGES, most=2, fill="blur"), ValueError, "give a colour, such as black"),
    "no regions": (lambda: da.disjoint_regions(LABELS, IMAGES, most=0), ValueError, "most=0: at least 1"),
    "a fill": (lambda: walk(fill="white"), ValueError, "choose black, mean, blur, noise, photographs:DIR, or three numbers in [0, 1]"),
    "a setting": (lambda: da.minimal_region(LABELS, IMAGES, largest=1.5), ValueError, "largest=1.5: give a share between 0 and 1"),
    "a misspelt setting": (lambda: da.minimal_region(LABELS, IMAGES, sp_nun=9), TypeError, "unexpected keyword argument 'sp_nun'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_it_says_what_to_write_instead(case, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # users do not have the tests' check of types
    call, kind, words = WRONG[case]
    with pytest.raises(kind) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_network_in_training_is_told_apart_from_a_container_that_was_never_set():
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ValueError, match="training mode"):
        baselines.gradient(nn.Sequential(nn.Identity(), net), IMAGES)
    assert baselines.gradient(nn.Sequential(nn.Identity(), net.eval()), IMAGES).saliency.shape == (2, 32, 32)
