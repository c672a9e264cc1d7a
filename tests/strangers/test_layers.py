"""Feature maps as networks have them: channels last, tokens, one pixel; and networks that are hard to copy."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest
import pytorch_grad_cam
import timm
import torch
from pytorch_grad_cam.base_cam import BaseCAM
from torch import Tensor, nn
from torch.nn.functional import interpolate

from baselines.cams.cam import cam
from baselines.cams.gradcam import gradcam
from baselines.cams.layers import enlarged, readable
from baselines.gradients.guided_backprop import guided_backprop
from benchmarks.engines.views import counted
from benchmarks.models.randomise import randomised
from tests.helpers import rngs, textured
from tests.strangers.networks import StoreActs, make

TARGETS = torch.tensor([3, 1])
VARIANTS = sorted(name for name, kind in vars(pytorch_grad_cam).items() if inspect.isclass(kind) and issubclass(kind, BaseCAM))


class To(nn.Module):
    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.order)


class Windows(nn.Module):
    """Mixes what is in each window of 4 x 4, as window attention does: the batch grows in between, and all is reshaped."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inside = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        windows = x.view(n, h // 4, 4, w // 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, 4, c)
        mixed = self.inside(windows + windows.mean((1, 2), keepdim=True))
        return x + mixed.view(n, h // 4, w // 4, 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)


def swin(channels: int = 12, after: nn.Module | None = None) -> nn.Sequential:
    """Channels last from layer 1 to layer 4, of 8 x 8 for images of 32 x 32; layer 5 has them first again."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(3, channels, 4, stride=4), To(0, 2, 3, 1), nn.LayerNorm(channels), Windows(channels), nn.GELU(), To(0, 3, 1, 2),
            after or nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5),
        ).eval().requires_grad_(False)  # fmt: skip


def by_definition(model: nn.Sequential, layer: int, images: Tensor, last: bool) -> Tensor:
    """GradCAM without hooks."""
    features = model[: layer + 1](images).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(model[layer + 1 :](features).gather(1, TARGETS[: len(images), None]).sum(), features)
    spatial, channel = ((1, 2), 3) if last else ((2, 3), 1)
    small = (features * gradient.mean(spatial, keepdim=True)).sum(channel).relu().detach()
    return interpolate(small[:, None], images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


@pytest.mark.parametrize(("layer", "last"), [(0, False), (1, True), (2, True), (3, True), (4, True), (5, False)])
@pytest.mark.parametrize("channels", [12, 8])  # of 8 x 8: the sides alone do not say which axis is which
def test_gradcam_is_its_definition_whatever_the_order_of_the_axes(layer, last, channels):
    model, images = swin(channels), textured(2, 32, 32)
    expected = by_definition(model, layer, images, last)
    with counted(model) as passes:
        found = gradcam(model, images, TARGETS, rngs=rngs(2), layer=str(layer)).saliency
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    assert float(expected.std()) > 0
    assert (passes.forward, passes.backward) == (2, 2)


@pytest.mark.parametrize("size", [(32, 48), (48, 32)])
def test_images_that_are_not_square_tell_the_axes_apart_by_their_sides(size):
    model, images = swin(), textured(2, *size)
    for layer, last in ((1, True), (3, True), (5, False)):
        found = gradcam(model, images, TARGETS, rngs=rngs(2), layer=str(layer)).saliency
        torch.testing.assert_close(found, by_definition(model, layer, images, last), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_cam_of_channels_last_is_that_of_channels_first(variant):
    """Layer 5 is layer 4 with its axes in another order. Passes: Score-CAM and Ablation-CAM ask once per channel."""
    model, images = swin(), textured(2, 32, 32)
    if variant == "FullGrad":  # which would go by some of the biases
        with pytest.raises(ValueError, match="leaves out the bias of LayerNorm"):
            cam(model, images, TARGETS, rngs=rngs(2), variant=variant, layer="4")
        return
    with counted(model) as passes:
        last = cam(model, images, TARGETS, rngs=rngs(2), variant=variant, layer="4").saliency
    spent = passes.forward // 2
    with counted(model) as passes:
        first = cam(model, images, TARGETS, rngs=rngs(2), variant=variant, layer="5").saliency
    torch.testing.assert_close(last, first, atol=1e-4, rtol=1e-3)
    assert last.shape == (2, 32, 32)
    assert float(last.std()) > 0
    assert spent == passes.forward // 2 == {"ScoreCAM": 1 + 12, "AblationCAM": 2 + 12}.get(variant, 1)
    if variant == "GradCAM":
        own = gradcam(model, images, TARGETS, rngs=rngs(2), layer="4").saliency
        for theirs, ours in zip(last, own, strict=True):
            assert ours.max() == theirs.max() == 0 or np.corrcoef(theirs.flatten(), ours.flatten())[0, 1] > 0.99


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "resnet18"])
def test_the_last_layer_of_a_network_of_timm(name):
    model = timm.create_model(name, pretrained=False).eval().requires_grad_(False)
    images = textured(1, 224, 224)
    layer = model.feature_info[-1]["module"]
    features = []
    handle = dict(model.named_modules())[layer].register_forward_hook(lambda _m, _i, o: features.append(o))
    logit = model(images.clone().requires_grad_())[0, 3]
    handle.remove()
    (gradient,) = torch.autograd.grad(logit, features[0])
    spatial, channel = ((1, 2), 3) if "swin" in name else ((2, 3), 1)
    small = (features[0] * gradient.mean(spatial, keepdim=True)).sum(channel).relu().detach()
    assert small.shape == (1, 7, 7)
    found = gradcam(model, images, TARGETS[:1], rngs=rngs(1), layer=layer).saliency
    torch.testing.assert_close(found, interpolate(small[:, None], (224, 224), mode="bilinear")[:, 0], atol=1e-7, rtol=1e-4)


class Unknown(nn.Module):
    """Of 8 x 8 x 8, by way of a reshape: either could be meant."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).view(x.shape)


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.Softmax(-1)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        weights = self.attention((tokens @ tokens.transpose(1, 2))[:, None].expand(-1, 2, -1, -1))
        return (weights.mean(1) @ tokens).transpose(1, 2).reshape(x.shape)


@pytest.mark.parametrize("method", ["gradcam", "GradCAM", "ScoreCAM", "AblationCAM", "EigenCAM"])
def test_a_layer_that_cannot_be_read_is_refused_and_not_offered(method):
    def found(model: nn.Module, layer: str) -> Tensor:
        if method == "gradcam":
            return gradcam(model, images, TARGETS, rngs=rngs(2), layer=layer).saliency
        return cam(model, images, TARGETS, rngs=rngs(2), variant=method, layer=layer).saliency

    images = textured(2, 32, 32)
    for model, layer, words in (
        (swin(8, Unknown()), "6", "cannot be said whether the channels come first or last"),
        (swin(8, Tokens()), "6.attention", "no spatial output, it returns .* of attention between tokens"),
        (swin(8), "3.inside", r"no spatial output of each image, it returns \[\d+, 4, 4, 8\]"),
        (swin(8), "9", r"no spatial output, it returns \[\d, 5\]"),
    ):
        with pytest.raises(ValueError, match=words) as error:
            found(model, layer)
        said = str(error.value)
        assert "\n" not in said
        offered = said.split("choose one of ")[1].split(", ")
        assert layer not in offered
        assert "7" not in offered  # 1 x 1
        for one in offered:
            assert found(model, one).shape == (2, 32, 32)


def test_a_model_without_feature_maps_says_so_and_offers_nothing():
    for layer in ("net.1", "net.2", "nowhere", None):
        with pytest.raises(ValueError, match="no layer of this model has feature maps; choose a method that needs none"):
            gradcam(make("mlp"), textured(2, 64, 64), TARGETS, rngs=rngs(2), layer=layer)
    assert readable(make("base"), textured(1, 64, 64)) == ["c1", "r1", "c2", "r2"]
    with pytest.raises(RuntimeError, match="expected input"):  # the network's own fault, not the layer's
        gradcam(make("gray"), textured(2, 64, 64), TARGETS, rngs=rngs(2), layer="c2")


@pytest.mark.parametrize("variant", [None, "GradCAM", "ScoreCAM", "LayerCAM", "HiResCAM"])
def test_a_layer_of_one_pixel_has_an_exactly_constant_map(variant):
    model, images = make("base").eval(), textured(2, 64, 64)
    for layer in ("pool",):
        method = gradcam if variant is None else cam
        more = {} if variant is None else {"variant": variant}
        found = method(model, images, TARGETS, rngs=rngs(2), layer=layer, **more).saliency
        assert torch.equal(found, found[:, :1, :1].expand_as(found))


def test_what_is_constant_stays_exactly_constant_when_enlarged():
    small = torch.rand(3, 1, 7, generator=torch.Generator().manual_seed(0))
    for maps, axis in ((small, 1), (small.transpose(1, 2), 2)):
        large = enlarged(maps, (45, 60))
        assert torch.equal(large, large.narrow(axis, 0, 1).expand_as(large))
        assert float(large.std()) > 0
    flat = torch.tensor([0.1, 1 / 3, 0.7]).view(3, 1, 1).expand(3, 5, 6)
    assert torch.equal(enlarged(flat, (45, 60)), flat[:, :1, :1].expand(3, 45, 60))
    other = torch.rand(2, 5, 6)
    assert torch.equal(enlarged(other, (45, 60)), interpolate(other[:, None], (45, 60), mode="bilinear", align_corners=False)[:, 0])


def maps_of(model: nn.Module, images: Tensor) -> list[Tensor]:
    return [
        guided_backprop(model, images, TARGETS, rngs=rngs(2)).saliency,
        *(cam(model, images, TARGETS, rngs=rngs(2), variant=v, layer="r2").saliency for v in ("GradCAM", "AblationCAM")),
    ]


class Deeper(StoreActs):
    """Keeps activations in lists, dictionaries and objects, too."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        self.kept = {"all": [self.features, (self.features * 2, type("Out", (), {})())]}
        self.kept["all"][1][1].logits = logits
        return logits


@pytest.mark.parametrize("net", [StoreActs, Deeper])
def test_a_network_that_keeps_its_activations_is_copied(net):
    images, plain = textured(2, 64, 64), make("base").eval()
    keeping = net().eval()
    keeping.load_state_dict(plain.state_dict())
    keeping(images)
    for found, expected in zip(maps_of(keeping, images), maps_of(plain, images), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", ["script", "trace"])
def test_torchscript_is_refused_in_a_line(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Sequential(make(kind))
    images = textured(2, 64, 64)
    for method in (
        lambda: guided_backprop(model, images, TARGETS, rngs=rngs(2)),
        lambda: cam(model, images, TARGETS, rngs=rngs(2), variant="GradCAM", layer="0.r2"),
        lambda: gradcam(model, images, TARGETS, rngs=rngs(2), layer="0.r2"),
        lambda: randomised(model, 0, 1),
    ):
        with pytest.raises(ValueError, match=r"use .* network") as error:
            method()
        assert "\n" not in str(error.value)


def test_a_copy_that_would_use_the_originals_layers_is_refused():
    hooked, own, locked = make("base"), make("base"), make("base")
    hooked.c1.register_forward_hook(lambda _m, _i, o: hooked.r1(o))
    own.c2.forward = lambda x: own.c2._conv_forward(x, own.c2.weight, own.c2.bias)
    locked.stream = (i for i in range(3))
    for model, words in ((hooked, "a hook of layer c1"), (own, "forward of layer c2"), (locked, "generator")):
        with pytest.raises(ValueError, match=f"network cannot be copied.*{words}"):
            guided_backprop(model, textured(2, 64, 64), TARGETS, rngs=rngs(2))


@pytest.mark.parametrize("kind", ["weightnorm", "weightnorm2", "pruned"])
def test_weights_that_are_computed_are_randomised_like_plain_ones(kind):
    images = textured(2, 64, 64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = make("base" if kind == "pruned" else kind).eval()
    if kind == "pruned":
        torch.nn.utils.prune.l1_unstructured(net.c2, "weight", amount=0.5)
    net(images)
    plain = make("base").eval()
    plain.c2.weight.data = net.c2.weight.detach().clone()
    with torch.no_grad():
        torch.testing.assert_close(net(images), plain(images), atol=1e-5, rtol=1e-4)
        before = net(images)
        randomised(net, 0, 1)
        randomised(plain, 0, 1)
        torch.testing.assert_close(net(images), plain(images), atol=1e-5, rtol=1e-4)
        assert float((net(images) - before).abs().max()) > 0.1


def test_attention_is_randomised_and_what_cannot_be_is_refused():
    attention = nn.MultiheadAttention(8, 2)
    before = attention.in_proj_weight.clone()
    randomised(attention, 0, 1)
    assert not torch.equal(attention.in_proj_weight, before)
    assert torch.equal(attention.in_proj_weight.flatten().sort().values, before.flatten().sort().values)
    spectral = make("base").eval()
    spectral.c2 = torch.nn.utils.spectral_norm(spectral.c2)
    for net in (spectral, nn.Sequential(nn.ReLU()), make("quant")):
        with pytest.raises(ValueError, match=r"model\.randomise"):
            randomised(net, 0, 1)
