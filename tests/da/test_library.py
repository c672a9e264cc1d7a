"""Dynamic Ablation and the baselines as libraries: five lines of Python, on anything that classifies images."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from importlib import import_module

import onnxruntime
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

import baselines
import da
from da.types import Attribution
from tests.conftest import REPOSITORY
from tests.helpers import PatchNet, rngs, textured

NAMES = ["absent", "present"]
OTHERS = {"benchmarks", "results", "hydra", "omegaconf", "timm", "pandas", "wandb", "torchvision", "onnxruntime", "matplotlib", "captum"}
FRESH = """
import os, sys
before = dict(os.environ)
import {package}
assert "torch" not in sys.modules
for name in {package}.__all__:
    getattr({package}, name)
assert dict(os.environ) == before
print(*{{name.split(".")[0] for name in sys.modules}})
"""


@pytest.mark.parametrize(("package", "needed"), [("da", {"torch", "skimage"}), ("baselines", {"torch", "skimage", "captum", "matplotlib"})])
def test_importing_it_loads_what_it_needs_and_sets_nothing(package, needed, tmp_path):
    """Captum imports matplotlib."""
    code, environment = FRESH.format(package=package), os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert needed <= loaded
    assert not (OTHERS - needed) & loaded


def test_five_lines_give_a_rule_and_a_picture_for_each_image():
    net, images = PatchNet(20, 24, 14, 14), textured(2, 64, 64)
    model = da.label_model(net)
    found = da.dynamic_ablation(model, images)
    figure = found.plot(images, NAMES)
    assert model.queries == 2 * (1 + 500 + 1)  # for the class, the paper's iterations, and the premise
    assert net.queries == model.queries + 1  # the first image once more, to see that the answers repeat
    assert found.status == ("ok", "ok")
    assert found.kept[:, 20:34, 24:38].all()
    for line, kept in zip(found.rule(NAMES).splitlines(), found.kept, strict=True):
        share, name = re.fullmatch(
            r"If .*, ([\d.]+) % of the image, (?:is|are) present, then the image is classified (\w+)\.", line
        ).groups()
        assert float(share) == pytest.approx(100 * float(kept.float().mean()), abs=0.06)
        assert name == "present"
    assert "classified class 1." in found.rule()
    pictures = [of for of in figure.axes if of.images]
    assert [of.get_title() for of in pictures[1:3]] == [f"if present: {100 * float(found.kept[0].float().mean()):.1f} %", "map"]
    assert len(pictures) == 2 * 3
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_a_negative_rule_says_what_must_be_absent():
    images = textured(1, 64, 64)
    found = da.minimal_region(da.label_model(PatchNet(20, 24, 14, 14)), images, rule="negative", budget=200)
    assert re.fullmatch(r"If .* absent, then the image is not classified present\.", found.rule(NAMES))
    assert found.plot(images).axes[1].get_title().startswith("if absent: ")


def test_an_attribution_in_words_is_a_line_whatever_its_size():
    few = Attribution(torch.zeros(2, 4, 4), kept=torch.eye(4, dtype=torch.bool).expand(2, 4, 4), status=("ok", "vacuous"))
    assert repr(few) == "Attribution(saliency 2 x 4 x 4; kept 25.0%, 25.0%; status ok, vacuous)"
    many = Attribution(torch.zeros(100, 4, 4), status=("ok",) * 100)
    assert repr(many) == f"Attribution(saliency 100 x 4 x 4; status {', '.join(['ok'] * 8)}, ...)"
    object.__setattr__(few, "saliency", torch.zeros(2, 3, 4, 4))  # as of a method that returns another shape
    assert repr(few).startswith("Attribution(saliency 2 x 3 x 4 x 4; kept ")


def test_a_map_alone_is_shown_and_has_no_rule():
    net, images = PatchNet(8, 8, 10, 10), textured(2, 32, 32)
    found = baselines.rise(da.score_model(net), images, masks=60)
    assert len([of for of in found.plot(images).axes if of.images]) == 2 * 2
    with pytest.raises(ValueError, match=r"da\.explain"):
        found.rule(NAMES)
    with pytest.raises(ValueError, match="give the images that were explained"):
        found.plot(images[:1])


def test_five_lines_on_a_real_network(lite0, photographs):
    network, shown, images = lite0.module.net, lite0.preprocessing, photographs[1:2]
    model = da.label_model(network, mean=shown.mean, std=shown.std)
    found = da.dynamic_ablation(model, images, iterations=40)
    assert found.rule(lite0.class_names).endswith("present, then the image is classified espresso.")
    region = torch.where(found.kept[:, None], images, 0)
    assert 0 < found.kept.float().mean() < 0.7
    assert network((region - torch.tensor(shown.mean).view(3, 1, 1)) / torch.tensor(shown.std).view(3, 1, 1)).argmax() == 967
    assert len([of for of in found.plot(images, lite0.class_names).axes if of.images]) == 3


def test_whatever_classifies_images_gives_the_same_result(tmp_path):
    net, images = PatchNet(8, 12, 8, 8), textured(2, 32, 32)
    torch.onnx.export(net, (images[:1],), str(tmp_path / "net.onnx"), dynamo=False, input_names=["images"], dynamic_axes={"images": [0]})
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    expected = da.dynamic_ablation(da.label_model(net), images, sp_num=60, iterations=100)
    assert expected.status == ("ok", "ok")
    for classify in (
        lambda shown: session.run(None, {"images": shown.numpy()})[0],
        lambda shown: session.run(None, {"images": shown.numpy()})[0].argmax(1).tolist(),
        lambda shown: net(shown).argmax(1),
        lambda shown: net(shown).argmax(1).numpy().astype("uint8"),
    ):
        found = da.dynamic_ablation(da.label_model(classify, batch=3), images, sp_num=60, iterations=100)
        assert torch.equal(found.saliency, expected.saliency)
        assert torch.equal(found.kept, expected.kept)


def convolutional() -> nn.Module:
    """A small network with layers that compute something else in training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        start = [nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU()]
        return nn.Sequential(*start, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 10))


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_an_image_has_the_same_numbers_whoever_shares_its_batch(batch):
    net, images = convolutional().eval(), textured(4, 32, 32)
    labels, scores = da.label_model(net, mean=[0.5] * 3, std=[0.2] * 3, batch=batch), da.score_model(net, batch=batch)
    one_by_one = da.label_model(net, mean=[0.5] * 3, std=[0.2] * 3, batch=1)
    decisions = [da.dynamic_ablation(model, images, sp_num=40, iterations=60) for model in (labels, one_by_one)]
    assert torch.equal(decisions[0].saliency, decisions[1].saliency)
    assert torch.equal(decisions[0].kept, decisions[1].kept)
    methods = {
        "dynamic_ablation": lambda images: da.dynamic_ablation(labels, images, sp_num=40, iterations=60),
        "minimal_region": lambda images: da.minimal_region(labels, images, budget=60),
        "minimal_region_by_score": lambda images: da.minimal_region_by_score(scores, images, budget=60),
        "rise": lambda images: baselines.rise(scores, images, masks=20),
        "kernel_shap": lambda images: baselines.kernel_shap(scores, images, samples=20, sp_num=10),
        "lime": lambda images: baselines.lime(scores, images, samples=20, sp_num=10),
        "sobol": lambda images: baselines.sobol(scores, images, cells=3, designs=4),
        "hsic": lambda images: baselines.hsic(scores, images, cells=3, masks=20),
        "sis": lambda images: baselines.sis(scores, images, sp_num=7, criterion="top1"),
        "sag": lambda images: baselines.sag(scores, images, cells=3, criterion="top1"),
        "greedy": lambda images: baselines.greedy(scores, images, sp_num=7),
    }
    for name, method in methods.items():
        together = method(images)
        for i in range(len(images)):
            alone = method(images[i : i + 1])
            assert torch.equal(alone.saliency[0], together.saliency[i]), name
            assert together.kept is None or torch.equal(alone.kept[0], together.kept[i]), name


@pytest.mark.parametrize("method", [da.dynamic_ablation, da.minimal_region])
def test_the_seed_decides_what_is_drawn_unless_generators_are_given(method):
    model, images = da.label_model(PatchNet(8, 8, 10, 10)), textured(2, 32, 32)
    first, again, other = (method(model, images, sp_num=40, seed=seed).saliency for seed in (0, 0, 1))
    own, same = (method(model, images, sp_num=40, seed=seed, rngs=rngs(2)).saliency for seed in (0, 1))
    assert torch.equal(first, again)
    assert torch.equal(own, same)
    assert not torch.equal(first, other)
    assert not torch.equal(first, own)


def test_other_types_of_floats_are_taken():
    images = textured(1, 32, 32)
    expected = da.dynamic_ablation(da.label_model(convolutional()), images, iterations=30).saliency
    for network, shown in (
        (convolutional(), images.double()),
        (convolutional().double(), images),
        (convolutional(), images.requires_grad_()),
    ):
        assert torch.equal(da.dynamic_ablation(da.label_model(network), shown, iterations=30).saliency, expected)


def state(net: nn.Module) -> list[object]:
    """What must be as it was before."""
    flags = [(weights.requires_grad, weights.grad is None) for weights in net.parameters()]
    values = [value.tolist() for value in net.state_dict().values()]
    return [[layer.training for layer in net.modules()], flags, values, torch.get_rng_state().tolist(), torch.is_grad_enabled()]


def test_the_network_and_the_random_state_are_left_as_they_were():
    net, images = convolutional(), textured(2, 32, 32)
    net.train()
    net[1].eval()
    net[0].requires_grad_(False)
    before = state(net)
    labels, scores = da.label_model(net), da.score_model(net)
    found = da.dynamic_ablation(labels, images, iterations=10)
    da.minimal_region(labels, images, budget=20)
    da.certify(labels, images, found.kept)
    da.explain(labels, images, attribute=lambda images, targets: baselines.rise(scores, images, targets, masks=10))
    da.minimal_region_by_score(scores, images, budget=20)
    baselines.occlusion(scores, images, window=0.5, stride=0.5)
    baselines.kernel_shap(scores, images, samples=8, sp_num=5)
    for name in ("random_map", "centre_disc", "sobel_edges"):
        getattr(baselines, name)(labels, images)
    assert state(net) == before
    for last in (nn.Flatten(5), nn.Softmax(1), nn.Threshold(torch.inf, torch.nan)):
        with pytest.raises((IndexError, ValueError)) as caught:
            da.score_model(nn.Sequential(net, last))(images)
        assert state(net) == before, caught  # while the error, and what it was raised in, is still there


def test_methods_on_the_network_itself_leave_it_as_it_was():
    net, images = convolutional().eval(), textured(2, 32, 32)
    net[2].train()  # a ReLU, to which it is all the same
    before = state(net)
    methods = {"gradcam": {"layer": "3"}, "cam": {"layer": "3"}, "extremal_perturbation": {"iterations": 2}, "smoothgrad": {"samples": 2}}
    for name in ("gradient", "guided_backprop", "integrated_gradients", *methods):
        found = getattr(baselines, name)(net, images, **methods.get(name, {}))
        assert found.saliency.shape == (2, 32, 32)
        assert state(net) == before, name


OTHERWISE = {  # what a preset sets on purpose
    "da_neg": {"rule"},
    "da_minimal_neg": {"rule"},
    "rise_eclique": {"masks", "cells", "probability"},
    "ablation_cam": {"variant"},
    "cam": {"variant"},
    "deeplift": {"algorithm"},
    "gradient_shap": {"algorithm", "options"},
}


@pytest.mark.parametrize("path", sorted((REPOSITORY / "conf" / "method").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_defaults_of_a_function_are_those_of_its_configuration(path):
    """Values that come from elsewhere in the configuration, such as the model's mean, apart."""
    stated = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    package, _, name = stated["_target_"].rpartition(".")
    parameters = inspect.signature(getattr(import_module(package), name)).parameters
    given = {key: value for key, value in stated.items() if not key.startswith("_") and key != "defaults"}
    values = {key: value for key, value in given.items() if "${" not in str(value) and value != "???"}
    defaults = {key: parameters[key].default for key in values}
    differing = {
        key for key, value in values.items() if value != (list(defaults[key]) if isinstance(defaults[key], tuple) else defaults[key])
    }
    assert differing == OTHERWISE.get(path.stem, set())


@pytest.mark.parametrize("view", [da.label_model, da.score_model])
def test_a_network_whose_answers_differ_from_pass_to_pass_is_refused(view):
    class Dropping(nn.Module):
        def forward(self, images):
            return nn.functional.dropout(images.mean((2, 3)).repeat(1, 20), 0.3)  # training is its default

    with pytest.raises(ValueError, match=r"asked twice.*training=self\.training"):
        view(Dropping())(textured(1, 32, 32))


def test_answers_that_differ_by_rounding_alone_are_taken():
    calls = []

    def classify(images):
        calls.append(len(images))
        return torch.tensor([[2.0, 1.0, -torch.inf]]) + 1e-6 * len(calls)

    model = da.label_model(classify)
    assert model(textured(2, 32, 32)).tolist() == [0, 0]
    assert (model.queries, len(calls)) == (2, 3)


def test_a_network_that_writes_into_its_images_repeats_its_answers():
    def classify(images):
        return images.sub_(0.5).mean((2, 3))

    images = textured(2, 32, 32)
    assert da.score_model(classify)(images.clone()).shape == (2, 3)
    assert da.label_model(classify)(images.clone()).shape == (2,)
