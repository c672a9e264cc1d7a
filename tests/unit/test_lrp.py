"""Relevance: conserved without biases, equal to what it is by hand, and refused where there is no rule."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from baselines.gradients.lrp import COMPOSITES, lrp
from benchmarks.engines.views import counted
from tests.helpers import rngs, textured
from tests.strangers.test_tokens import vit

pytest.importorskip("zennit", reason="the extra zennit")
TARGETS = torch.tensor([1, 0])


def seeded(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().eval()


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inside = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.inside(x)
        x += self.inside[1](x)
        return x


class Without(nn.Module):
    """Without biases, with residual connections, a mean and a normalisation of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.ReLU(), nn.MaxPool2d(2))
        self.rest, self.head = Residual(6), nn.Linear(6, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rest(self.first((x - 0.5) / 0.25)).mean((2, 3)))


@pytest.mark.parametrize("composite", COMPOSITES)
def test_relevance_is_conserved_without_biases(composite):
    model, images = seeded(Without), textured(2, 16, 16)
    with counted(model) as passes:
        found = lrp(model, images, TARGETS, rngs=rngs(2), composite=composite)
    assert (passes.forward, passes.backward) == (4, 2)
    logits = model(images).detach().gather(1, TARGETS[:, None])[:, 0]
    torch.testing.assert_close(found.saliency.sum((1, 2)), logits, rtol=2e-3, atol=1e-5)
    torch.testing.assert_close(found.extras["conserved"], torch.ones(2), rtol=2e-3, atol=0)
    alone = lrp(model, images[1:], TARGETS[1:], rngs=rngs(1), composite=composite).saliency[0]
    torch.testing.assert_close(alone, found.saliency[1], rtol=1e-4, atol=1e-6)


def test_one_convolution_by_hand():
    """With the flat rule of the first layer, what a convolution's output has goes to the pixels under it in equal parts."""
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 2, 4, stride=4, bias=False), nn.Flatten(), nn.Linear(2 * 4, 2, bias=False)))
    images = textured(1, 8, 8)
    hidden = model[0](images)
    terms = (hidden.flatten(1) * model[2].weight[1]).view(2, 2, 2).sum(0).detach()  # epsilon: each input's term of the logit
    expected = terms.repeat_interleave(4, 0).repeat_interleave(4, 1) / 16
    found = lrp(model, images, torch.tensor([1]), rngs=rngs(1)).saliency[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-3)


def test_batch_normalisation_is_merged_also_timms():
    """The same network, with its normalisation apart, and in timm's layer together with the activation."""
    for name in ("test_resnet", "resnet10t"):
        net = seeded(lambda name=name: timm.create_model(name, num_classes=4))
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.uniform_(-0.1, 0.1)
                layer.running_var.uniform_(0.5, 2)
        images = textured(2, 64, 64)
        found = lrp(net, images, TARGETS, rngs=rngs(2)).saliency
        assert torch.isfinite(found).all()
        assert float(found.std()) > 0
    apart = seeded(
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    )
    apart[1].running_mean.uniform_(-0.5, 0.5)
    joint = timm.layers.BatchNormAct2d(4)
    joint.load_state_dict(apart[1].state_dict())
    together = nn.Sequential(apart[0], joint, *apart[3:]).eval()
    merged = torch.nn.utils.fusion.fuse_conv_bn_eval(apart[0], apart[1])
    fused = nn.Sequential(merged, *apart[2:]).eval()
    maps = [lrp(one, textured(2, 16, 16), TARGETS, rngs=rngs(2)).saliency for one in (apart, together, fused)]
    torch.testing.assert_close(maps[0], maps[1])
    torch.testing.assert_close(maps[0], maps[2], rtol=1e-3, atol=1e-5)


def test_batch_normalisation_belongs_to_what_it_is_shown():
    """A layer without weights may stand between, and another convolution be defined before it; an empty one stands for nothing."""

    class Otherwise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
            self.drop, self.norms, self.nothing = nn.Dropout(0.5), nn.ModuleList([nn.BatchNorm2d(4) for _ in range(2)]), nn.Sequential()
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.norms[1](self.drop(self.first(x))))
            return self.head(torch.relu(self.nothing(self.norms[0](self.second(x)))).mean((2, 3)))

    net = seeded(Otherwise)
    for norm in net.norms:
        norm.running_mean.uniform_(-0.5, 0.5)
    one, other = (torch.nn.utils.fusion.fuse_conv_bn_eval(*pair) for pair in ((net.first, net.norms[1]), (net.second, net.norms[0])))
    fused = nn.Sequential(one, nn.ReLU(), other, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), net.head).eval()
    maps = [lrp(each, textured(2, 16, 16), TARGETS, rngs=rngs(2)).saliency for each in (net, fused)]
    torch.testing.assert_close(maps[0], maps[1], rtol=1e-3, atol=1e-5)


def test_residual_connections_as_zennit_has_them_for_torchvision():
    """Zennit's own canonizer for torchvision's ResNet is for that network alone, and adds the same."""
    from zennit.attribution import Gradient
    from zennit.composites import EpsilonPlusFlat
    from zennit.torchvision import ResNetCanonizer

    net = seeded(lambda: torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=4)).requires_grad_(False)
    images = textured(1, 64, 64)
    logits = net(images)
    with Gradient(net, EpsilonPlusFlat(canonizers=[ResNetCanonizer()])) as attributor:
        _, theirs = attributor(images.clone().requires_grad_(), torch.eye(4)[[1]] * logits)
    ours = lrp(net, images, torch.tensor([1]), rngs=rngs(1)).saliency
    torch.testing.assert_close(ours, theirs.detach().sum(1), rtol=1e-2, atol=1e-4 * float(theirs.abs().max()))


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.head((x * self.gate(x)).mean((2, 3)))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (vit, "no rule for (LayerNorm|Dropout|.*)"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(4 * 30 * 30, 2)), "no rule for GroupNorm"),
        (Gate, "no rule for (__)?mul"),
        (lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 2, 32), nn.Flatten()), "of what no convolution returns"),
        (lambda: torchvision.models.DenseNet(4, (2, 2), 8, num_classes=2), "of what no convolution returns"),
        (lambda: nn.Sequential(nn.Conv2d(3, 2, 32), nn.Flatten(), nn.Softmax(1)), "no rule for Softmax"),
    ],
)
def test_what_has_no_rule_is_refused(make, words):
    model = seeded(make)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.fill_(0.3)
    with pytest.raises(ValueError, match=words) as error:
        lrp(model, textured(2, 32, 32), TARGETS, rngs=rngs(2))
    assert "\n" not in str(error.value)


class Parts(nn.Module):
    """Two convolutions of the image, of which the second that is defined comes first, and a pooling layer."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.one, self.two = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.pool, self.head = nn.AvgPool2d(2), nn.Linear(4, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        features = {
            "in order": lambda: self.pool(self.one(x)),
            "another order": lambda: self.one(self.two(x)),
            "two branches": lambda: self.one(x) + torch.cat([self.two(x), x[:, :1] * 0], 1),
            "beside": lambda: self.one(x) + x.mean((1, 2, 3), keepdim=True),
            "pooled twice": lambda: self.pool(self.pool(self.one(x))),
        }[self.how]()
        return self.head(features.mean((2, 3)))


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("in order", None),
        ("another order", "would not go to the first, Conv2d, .* give composite=epsilon_alpha2_beta1"),
        ("two branches", "uses the image elsewhere than in its first layer"),
        ("beside", "uses the image elsewhere than in its first layer"),
        ("pooled twice", "a AvgPool2d is used twice in a pass"),
    ],
)
def test_where_the_image_comes_in(how, words, composite):
    """Without biases: what is not refused is conserved."""
    model, images = seeded(lambda: Parts(how)), textured(2, 16, 16)
    if words is None or (how == "another order" and composite == "epsilon_alpha2_beta1"):
        found = lrp(model, images, TARGETS, rngs=rngs(2), composite=composite)
        torch.testing.assert_close(found.extras["conserved"], torch.ones(2), rtol=2e-3, atol=0)
        return
    with pytest.raises(ValueError, match=words):
        lrp(model, images, TARGETS, rngs=rngs(2), composite=composite)


def test_a_network_that_begins_otherwise_than_the_composite_is_refused():
    model = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4), nn.ReLU(), nn.Linear(4, 2)))
    with pytest.raises(ValueError, match="would not go to the first, Linear,"):
        lrp(model, textured(1, 16, 16), TARGETS[:1], rngs=rngs(1), composite="epsilon_gamma_box")


def test_the_model_keeps_its_weights():
    net = seeded(lambda: timm.create_model("test_resnet", num_classes=4))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    lrp(net, textured(1, 64, 64), TARGETS[:1], rngs=rngs(1))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    with pytest.raises(ValueError, match="choose one of epsilon_plus_flat, epsilon_gamma_box, epsilon_alpha2_beta1"):
        lrp(net, textured(1, 64, 64), TARGETS[:1], rngs=rngs(1), composite="zero")
