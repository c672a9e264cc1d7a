"""Guided Backprop is its definition, or an error; never a plain gradient."""

from __future__ import annotations

import copy
import warnings

import pytest
import timm
import torch
from captum.attr import GuidedBackprop
from torch import Tensor, nn
from torchvision.models import resnet18

from baselines.gradients.guided_backprop import guided_backprop
from tests.helpers import rngs, textured
from tests.unit.test_baselines_traps import vgg

TARGETS = torch.tensor([3, 1])


class Guide(torch.autograd.Function):
    """Guided Backpropagation's ReLU, clamped above, from its definition."""

    @staticmethod
    def forward(ctx, x, top):
        ctx.save_for_backward(x)
        ctx.top = top
        return x.clamp(0, top)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient.clamp(min=0) * (x > 0) * (x < ctx.top), None


class GuidedUnit(nn.Module):
    def __init__(self, top):
        super().__init__()
        self.top = top

    def forward(self, x):
        return Guide.apply(x, self.top)


def by_definition(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Guided Backpropagation without hooks."""
    model = copy.deepcopy(model)
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.ReLU | nn.ReLU6):
                setattr(parent, name, GuidedUnit(6.0 if isinstance(child, nn.ReLU6) else torch.inf))
    images = images.clone().requires_grad_()
    (found,) = torch.autograd.grad(model(images).gather(1, targets[:, None]).sum(), images)
    return found.abs().amax(1)


class Shared(nn.Module):
    """The input of the ReLU goes elsewhere, too."""

    def __init__(self, relu: nn.Module):
        super().__init__()
        self.conv, self.relu, self.head = vgg()[0], relu, nn.Linear(8, 5)
        nn.init.uniform_(self.head.weight, -1, 1, generator=torch.Generator().manual_seed(0))

    def forward(self, images):
        features = self.conv(images)
        return self.head((self.relu(features) - 0.7 * features).mean((2, 3)))


@pytest.mark.parametrize("name", ["lite0", "resnet18", "shared", "vgg"])
def test_guided_backprop_is_its_definition_on_real_models(name, lite0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = {"lite0": lambda: lite0.module, "resnet18": resnet18, "shared": lambda: Shared(nn.ReLU()), "vgg": lambda: vgg(True)}[name]()
    model.eval()
    images = textured(2, 96, 80)
    expected = by_definition(model, images, TARGETS)
    found = guided_backprop(model, images, TARGETS, rngs=rngs(2)).saliency
    torch.testing.assert_close(found, expected, atol=1e-6 * float(expected.max()), rtol=1e-5)
    if name == "resnet18":  # one ReLU module runs twice in a block
        for module in model.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            direct = GuidedBackprop(model).attribute(images.clone().requires_grad_(), TARGETS).abs().amax(1)
        torch.testing.assert_close(found, direct, atol=1e-6, rtol=1e-6)


class With(nn.Module):
    """A guided ReLU, and then something else."""

    def __init__(self, then):
        super().__init__()
        self.first, self.relu, self.second, self.then, self.head = vgg()[0], nn.ReLU(), nn.Conv2d(8, 8, 3), then, nn.LazyLinear(5)

    def forward(self, images):
        features = self.then(self.second(self.relu(self.first(images))))
        return self.head(features.mean((2, 3)) if features.ndim == 4 else features)


class Encoder(nn.Module):
    """PyTorch runs its own encoder layer, without gradients, as one fused operation that hides the ReLU."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, features):
        return self.layer(features[:, :, ::8, ::8].flatten(2).transpose(1, 2)).mean(1)


class Call(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


REFUSED = {
    "swish by hand": timm.layers.activations.Swish(),
    "quick gelu": timm.layers.activations.QuickGELU(),
    "hard swish by hand": timm.layers.activations.HardSwish(),
    "tanh": nn.Tanh(),
    "glu": nn.GLU(1),
    "rrelu": nn.RReLU(),
    "prelu": nn.PReLU(),
    "hard tanh": nn.Hardtanh(-1, 1),
    "threshold": nn.Threshold(0, 0),
    "clamp": Call(lambda x: x.clamp(min=0)),
    "clamp_min_": Call(lambda x: x.clamp_min_(0)),
    "maximum": Call(lambda x: torch.maximum(x, torch.zeros_like(x))),
    "method": Call(lambda x: x.relu()),
    "fused encoder": Encoder(),
}


@pytest.mark.parametrize("what", REFUSED)
def test_guided_backprop_never_passes_a_plain_gradient_off_as_guided(what):
    model, images = With(REFUSED[what]).eval(), textured(2, 24, 24)
    model(images)
    with pytest.raises(ValueError, match="guided_backprop"):
        guided_backprop(model, images, TARGETS, rngs=rngs(2))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("gate", [nn.Sigmoid(), nn.Hardsigmoid()])
def test_guided_backprop_accepts_squeeze_and_excitation(gate):
    squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), gate)
    model, images = With(Call(lambda x: x * squeeze(x))).eval(), textured(2, 24, 24)
    model(images)
    expected = by_definition(model, images, TARGETS)
    torch.testing.assert_close(guided_backprop(model, images, TARGETS, rngs=rngs(2)).saliency, expected)


def test_guided_backprop_looks_at_activations_in_the_pass_it_makes_anyway():
    model, rows = vgg(), []
    model.register_forward_hook(lambda _module, inputs, _output: rows.append(len(inputs[0])))
    guided_backprop(model, textured(2, 16, 16), TARGETS, rngs=rngs(2))
    assert rows == [2]
