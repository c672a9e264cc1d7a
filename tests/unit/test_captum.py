"""Algorithms of Captum by name: their values where these are known, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from baselines.gradients.captum_algorithms import INSTEAD, KNOWN, captum
from benchmarks.models.classifier import build
from da.superpixels import superpixels
from tests.helpers import rngs, textured
from tests.strangers.networks import make

TARGETS = torch.tensor([3, 1])
WEIGHTS = torch.linspace(-1, 1, 3 * 16 * 16).view(3, 16, 16)


class Linear(nn.Module):
    """The logit of class 1 is a weighted sum of the pixels, of which every complete method is the terms."""

    def forward(self, x: Tensor) -> Tensor:
        score = (x * WEIGHTS).flatten(1).sum(1)
        return torch.stack([-score, score], 1)


@pytest.mark.parametrize("algorithm", ["InputXGradient", "IntegratedGradients", "DeepLift", "DeepLiftShap"])
def test_the_terms_of_a_sum(algorithm):
    images = textured(2, 16, 16)
    found = captum(Linear().eval(), images, torch.tensor([1, 0]), rngs=rngs(2), algorithm=algorithm)
    expected = (images * WEIGHTS).sum(1) * torch.tensor([1.0, -1.0])[:, None, None]
    torch.testing.assert_close(found.saliency, expected, atol=1e-4, rtol=1e-4)
    if algorithm != "InputXGradient":
        assert float(found.extras["incompleteness"].max()) < 1e-4


@pytest.mark.parametrize("algorithm", ["FeatureAblation", "ShapleyValueSampling", "ShapleyValues", "KernelShap"])
def test_the_terms_of_superpixels(algorithm):
    images = textured(1, 16, 16)
    options = {"n_samples": 300} if algorithm == "KernelShap" else None
    found = captum(Linear().eval(), images, torch.tensor([1]), rngs=rngs(1), algorithm=algorithm, sp_num=4, options=options).saliency
    index = superpixels(images, 4).index
    terms = (images * WEIGHTS).sum(1)
    for part in index.unique():
        value = found[index == part].unique()
        assert len(value) == 1
        torch.testing.assert_close(value[0], terms[index == part].sum(), atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize("channels", [3, 1])
def test_the_terms_of_windows(channels):
    """Of all channels together the window's own value; of each channel, their sum."""
    images = textured(1, 16, 16)
    options = {"sliding_window_shapes": (channels, 4, 4), "strides": (channels, 4, 4)}
    found = captum(Linear().eval(), images, torch.tensor([1]), rngs=rngs(1), algorithm="Occlusion", options=options).saliency[0]
    expected = (images * WEIGHTS).sum((0, 1)).view(4, 4, 4, 4).sum((1, 3)).repeat_interleave(4, 0).repeat_interleave(4, 1)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match=r"sliding_window_shapes=\(2, 4, 4\): give channels, 3 together or 1"):
        captum(
            Linear().eval(), images, TARGETS[1:], rngs=rngs(1), algorithm="Occlusion",
            options={"sliding_window_shapes": (2, 4, 4), "strides": (1, 4, 4)},
        )  # fmt: skip


@pytest.mark.parametrize("algorithm", KNOWN)
def test_every_algorithm_is_the_same_alone_and_leaves_the_model_alone(algorithm):
    model, images = make("base").eval(), textured(2, 64, 64)
    more = {"sp_num": 5, "layer": "r2", "options": {"n_samples": 4} if algorithm in ("Lime", "KernelShap", "GradientShap") else None}
    stream, hooks = torch.get_rng_state(), [len(m._forward_hooks) + len(m._backward_hooks) for m in model.modules()]
    together = captum(model, images, TARGETS, rngs=rngs(2), algorithm=algorithm, **more).saliency
    assert torch.equal(stream, torch.get_rng_state())
    assert hooks == [len(m._forward_hooks) + len(m._backward_hooks) for m in model.modules()]
    assert torch.equal(captum(model, images[1:], TARGETS[1:], rngs=rngs(2)[1:], algorithm=algorithm, **more).saliency[0], together[1])
    assert together.shape == (2, 64, 64)
    assert torch.isfinite(together).all()
    assert float(together.std()) > 0


class Functional(nn.Module):
    def __init__(self, activation) -> None:
        super().__init__()
        self.inside, self.after = nn.Conv2d(3, 4, 3), activation
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.after(self.inside(x)).mean((2, 3)))


class Cancelling(Functional):
    """With terms of pixels that are large and sum to nothing, beside which what is missed is small."""

    def forward(self, x: Tensor) -> Tensor:
        image = textured(1, 16, 16)
        across = WEIGHTS - image * (WEIGHTS * image).sum() / image.square().sum()
        return super().forward(x) + 0.1 * (x * across).sum((1, 2, 3))[:, None]


class Twice(Functional):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.after(self.after(self.inside(x)) - 0.1).mean((2, 3)))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Functional(relu), "no rule for relu"),
        (Functional(nn.GELU()), "no rule for gelu"),
        (Functional(nn.SiLU()), "no rule for silu"),
        (Functional(nn.ReLU6()), "no rule for hardtanh"),
        (Functional(lambda x: x * x), "no rule for products of activations"),
        (Functional(lambda x: x * x.mean((2, 3), keepdim=True)), "no rule for products of activations"),
        (Functional(lambda x: x @ x.transpose(2, 3)), "no rule for products of activations"),
        (Functional(lambda x: 1 / (x + 9)), "no rule for (reciprocal|products of activations)"),
        (Functional(lambda x: torch.where(x > 0, x, 0 * x)), "no rule for gt, where"),
        (Functional(nn.BatchNorm2d(4, track_running_stats=False)), "no rule for batch_norm"),
        (Functional(nn.MaxPool2d(2, dilation=2)), r"no rule for MaxPool2d\(.*dilation=2"),
        (Functional(lambda x: x * x.detach()), "miss the difference of the logits"),
        (Cancelling(lambda x: x * x.detach()), "miss the difference of the logits"),
        (Twice(nn.ReLU()), "after is used more than once"),
    ],
)
def test_deeplift_is_refused_where_it_has_no_rule(model, words):
    for algorithm in ("DeepLift", "DeepLiftShap"):
        with pytest.raises(ValueError, match=words) as error:
            captum(model.eval(), textured(1, 16, 16), torch.tensor([1]), rngs=rngs(1), algorithm=algorithm)
        assert "\n" not in str(error.value)


def test_what_cannot_be_asked_for_says_so():
    model, images = make("base").eval(), textured(1, 64, 64)
    for algorithm in INSTEAD:
        with pytest.raises(ValueError, match=f"algorithm={algorithm} is not run: "):
            captum(model, images, TARGETS[:1], rngs=rngs(1), algorithm=algorithm)
    for algorithm, words in (("NeuronGradient", "does not attribute an image to a class"), ("Nothing", r"is not in captum\.attr")):
        with pytest.raises(ValueError, match=words):
            captum(model, images, TARGETS[:1], rngs=rngs(1), algorithm=algorithm)
    with pytest.raises(ValueError, match=r"options\.samples is not taken by GradientShap; it takes n_samples, stdevs"):
        captum(model, images, TARGETS[:1], rngs=rngs(1), algorithm="GradientShap", options={"samples": 3})
    with pytest.raises(ValueError, match="give sp_num=7"):
        captum(model, images, TARGETS[:1], rngs=rngs(1), algorithm="ShapleyValues", sp_num=30)
    with pytest.raises(ValueError, match="choose one of c1, r1, c2, r2"):
        captum(model, images, TARGETS[:1], rngs=rngs(1), algorithm="LayerGradCam", layer="fc")


def test_a_larger_question_is_no_larger_pass():
    """What is shown at a time does not grow with the superpixels."""
    shown = []
    model = make("base").eval()
    model.register_forward_hook(lambda _m, _i, o: shown.append(len(o)))
    captum(model, textured(1, 224, 224), torch.tensor([1]), rngs=rngs(1), algorithm="FeatureAblation", sp_num=90)
    assert sum(shown) > 60
    assert max(shown) <= 27
    shown.clear()
    captum(model, textured(1, 224, 224), torch.tensor([1]), rngs=rngs(1), algorithm="GradientShap", options={"n_samples": 60})
    assert sum(shown) == 60 + 2
    assert max(shown) <= 27


@pytest.mark.parametrize(
    "layers",
    [
        (nn.ReLU(), nn.MaxPool2d(2)),
        (nn.ReLU(), nn.MaxPool2d(3, 2, 1)),
        (nn.MaxPool2d((3, 2), (1, 2)), nn.Conv2d(4, 4, 3), nn.ReLU()),
        (nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)),
        (nn.ReLU(), nn.Conv2d(4, 4, 2), nn.MaxPool2d(2, ceil_mode=True), nn.MaxPool2d(3, 3, 1, ceil_mode=True)),
    ],
)
def test_deeplift_is_complete_through_neighbours_and_windows_that_overlap(layers):
    """As Captum alone is not: between modules that follow one another, where a place is the largest of two windows or a window is cut."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        before, head = nn.Conv2d(3, 4, 3), nn.LazyLinear(3)
        model = nn.Sequential(before, *layers, nn.Flatten(), head).eval()
        model(textured(1, 16, 16))
    found = captum(model, textured(2, 16, 16), TARGETS - 1, rngs=rngs(2), algorithm="DeepLift", fill=(0.4, 0.6, 0.5))
    assert float(found.extras["incompleteness"].max()) < 1e-4


def test_deeplift_explains_the_two_classes_of_one_logit():
    """As those of a network of two logits, of which the first is a constant."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body, head, both = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.ReLU(), nn.Flatten()), nn.Linear(64, 1), nn.Linear(64, 2)
    both.weight.data, both.bias.data = torch.cat([torch.zeros(1, 64), head.weight.data]), torch.cat([torch.zeros(1), head.bias.data])
    shown = {"size": 16, "crop_pct": 1.0, "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.25] * 3, "classes": ["no", "yes"]}
    found, expected = (
        captum(model.module, textured(2, 16, 16), torch.tensor([0, 1]), rngs=rngs(2), algorithm="DeepLift")
        for model in (
            build(nn.Sequential(body, head), name="net", outputs="sigmoid", **shown),
            build(nn.Sequential(body, both), name="net", **shown),
        )
    )
    assert torch.allclose(found.saliency, expected.saliency, atol=1e-6)
    assert [float(one.abs().max()) > 0 for one in found.saliency] == [False, True]
    assert float(found.extras["incompleteness"].max()) < 1e-4


ALLOWED: list[bool] = []


class Rounded(nn.Module):
    """In float16, whose largest number is 65504; it tells whether TF32 is allowed in its passes."""

    def __init__(self, scale: float, dtype: torch.dtype = torch.float16) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)).to(dtype)
        self.scale, self.dtype = scale, dtype

    def forward(self, x: Tensor) -> Tensor:
        ALLOWED.append(torch.backends.cudnn.allow_tf32)
        return (self.body(x.to(self.dtype)) * self.scale).float()


@pytest.mark.parametrize("algorithm", ["DeepLift", "DeepLiftShap"])
def test_deeplift_in_a_precision_that_is_too_low_is_refused(algorithm):
    """Logits are infinite, and their differences no numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, images = Rounded(60000 * 60000).eval(), textured(1, 16, 16)
    assert not torch.isfinite(model(images)).all()
    with pytest.raises(
        ValueError, match=r"by nan of it: this model computes in a precision that is too low: give it in float32, or choose"
    ):
        captum(model, images, torch.tensor([1]), rngs=rngs(1), algorithm=algorithm)


def test_deeplift_is_computed_without_tf32_where_others_may_be_with_it():
    model, images, before = Rounded(1.0, torch.float32).eval(), textured(1, 16, 16), torch.backends.cudnn.allow_tf32
    try:
        torch.backends.cudnn.allow_tf32 = True
        for algorithm, allowed in (("DeepLift", False), ("Saliency", True)):
            ALLOWED.clear()
            captum(model, images, torch.tensor([1]), rngs=rngs(1), algorithm=algorithm)
            assert set(ALLOWED) == {allowed}
            assert torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32 = before
