"""Networks as people have them: the right logits, or one line that says what to do."""

from __future__ import annotations

import copy
import json
from functools import partial

import numpy as np
import pytest
import torch

from baselines.gradients.guided_backprop import guided_backprop
from benchmarks.engines.auto import or_torch
from benchmarks.engines.engine import EngineError
from benchmarks.engines.probes import probes
from benchmarks.engines.views import LabelView, View, reference_view
from benchmarks.inputs.compose import composed
from benchmarks.inputs.messages import cause
from benchmarks.jobs.attribute import attribute
from benchmarks.models.classifier import _unwrapped, build
from tests.strangers.loading import WRITTEN, by_hand, loaded, model_json
from tests.strangers.networks import Base, StoreActs, make

EXPORTED = "choose engine=torch"
REFUSED = {  # kind: what is said, by PyTorch and by ONNX Runtime; None: it runs
    "single": ("model.outputs=sigmoid", "model.outputs=sigmoid"),
    "squeezed": ("model.outputs=sigmoid", "model.outputs=sigmoid"),
    "sigmoid": ("model.outputs=sigmoid", "model.outputs=sigmoid"),
    "softmax": ("model.outputs=probabilities", "model.outputs=probabilities"),
    "multilabel": ("model.outputs=logits", "model.outputs=logits"),
    "twoheads": ("model.output_name=0", "model.output_name=0"),
    "gray": ("Grayscale", "Grayscale"),
    "early": ("engine.batch=1", EXPORTED),
    "batchstats": ("engine.batch=1", "engine.batch=1"),
    "quant": ("engine.batch=1", EXPORTED),
    "dropfn": (None, EXPORTED),
    "fft": (None, EXPORTED),
    "bf16": (None, EXPORTED),
    "script": (None, EXPORTED),
    "trace": (None, EXPORTED),
}
KINDS = ["base", "view", "tuple", "dict", "hf", "lazycache", "storeacts", "inplaceinput", "param5", "neginf", "onebyone", "mlp", "dropout"]
KINDS += ["half", "weightnorm", "weightnorm2", "dp", "compiled", *REFUSED]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_every_network_gives_the_right_logits_or_one_line(kind, engine, caplog):
    said = REFUSED.get(kind, (None, None))[engine == "onnxruntime"]
    if said is not None:
        with pytest.raises(ValueError, match=said) as refused:
            loaded(kind, engine)
        assert "\n" not in cause(refused.value)
        assert isinstance(refused.value, EngineError) == (said == EXPORTED)
        return
    model, found = loaded(kind, engine)
    images = probes(model.preprocessing, 4)[:6]
    if kind == "dropfn":
        assert not found.repeatable
        assert "cannot be repeated" in caplog.text
        return
    torch.testing.assert_close(View(found).logits(images), by_hand(kind, images, 4), atol=0.04 if kind == "half" else 1e-4, rtol=1e-4)
    assert found.repeatable
    assert not caplog.text


@pytest.mark.parametrize(
    ("kind", "engine"), [("early", "torch"), ("batchstats", "torch"), ("batchstats", "onnxruntime"), ("quant", "torch")]
)
def test_what_looks_at_its_whole_batch_is_right_alone(kind, engine):
    model, found = loaded(kind, engine, batch=1)
    images = probes(model.preprocessing, 1)
    torch.testing.assert_close(View(found).logits(images), by_hand(kind, images, 1), atol=2e-3, rtol=1e-3)
    assert model.differentiable == (kind != "quant")


def test_a_default_engine_gives_way_to_pytorch_with_a_note():
    cfg = composed("engine=onnxruntime", "engine.batch=1")
    cfg.model = json.loads(model_json("early"))
    engine, said = or_torch(cfg.engine, cfg.model)
    assert "networks.py:" in said
    assert (engine._target_, engine.batch) == ("benchmarks.engines.torch_engine", 1)
    assert or_torch(engine, cfg.model) == (engine, "")
    cfg.model = json.loads(model_json("single"))
    with pytest.raises(ValueError, match=r"model\.outputs=sigmoid"):
        or_torch(cfg.engine, cfg.model)


def test_verification_is_by_the_network_itself():
    _, found = loaded("base", "onnxruntime")
    wrong = copy.copy(found)
    object.__setattr__(wrong, "forward", lambda images: -found.forward(images))
    images = probes(loaded("base")[0].preprocessing, 4)
    assert (reference_view(wrong)(images) == by_hand("base", images, 4).argmax(1)).all()
    assert (LabelView(wrong)(images) != by_hand("base", images, 4).argmax(1)).any()


def test_a_copy_of_a_network_that_keeps_its_activations():
    class Lists(StoreActs):
        def forward(self, x):
            y = super().forward(x)
            self.kept = {"acts": [self.features]}
            return y

    for net in (StoreActs(), Lists()):
        model = build(net, name="keeps", **WRITTEN)
        leaf = torch.rand(2, 3, 64, 64, requires_grad=True)
        logits = model.module(leaf)
        assert not net.features.is_leaf
        torch.testing.assert_close(copy.deepcopy(model.module)(leaf), logits)


def test_methods_in_turn_on_a_network_that_keeps_its_activations(caplog):
    maps = {}
    for kind in ("base", "storeacts", "lazycache"):
        model, found = loaded(kind, batch=2)
        images = probes(model.preprocessing, 2)[:2]
        rngs = [np.random.default_rng(0)] * 2
        calls = [attribute(partial(guided_backprop), model, found, images, torch.tensor([0, 1]), rngs) for _ in range(2)]
        torch.testing.assert_close(calls[0][0].saliency, calls[1][0].saliency)
        maps[kind] = calls[0][0].saliency
    torch.testing.assert_close(maps["base"], maps["storeacts"])


IMPOSSIBLE = [{"mean": [127, 127, 127]}, {"mean": [-0.1, 0, 0]}, {"std": [58.4, 57.1, 57.4]}, {"std": [0, 1, 1]}, {"mean": [0.5]}]
POSSIBLE = [([0.0] * 3, [1.0] * 3), ([0.0] * 3, [0.00392157] * 3), ([0.5] * 3, [0.5] * 3)]


@pytest.mark.parametrize("given", IMPOSSIBLE)
def test_a_normalisation_that_cannot_be_is_refused(given):
    with pytest.raises(ValueError, match=rf"model\.{next(iter(given))}=.*model\.std=\[0\.00392157"):
        build(Base(), name="net", **WRITTEN | given)


@pytest.mark.parametrize(("mean", "std"), POSSIBLE)
def test_a_normalisation_that_can_be_is_taken(mean, std):
    assert build(Base(), name="net", **WRITTEN | {"mean": mean, "std": std}).preprocessing.std == tuple(std)


def test_preprocessing_is_not_guessed():
    with pytest.raises(ValueError, match=r"model\.size, model\.mean of model net: give what its weights were trained with"):
        build(Base(), name="net", **WRITTEN | {"size": None, "mean": None})


def test_a_size_that_a_network_cannot_take_names_its_option():
    vit = {"_target_": "benchmarks.models.timm_net", "architecture": "vit_tiny_patch16_224", "weights": "random"}
    with pytest.raises(ValueError, match=r"64 x 64 pixels \(model\.size\).*224"):
        loaded("vit", net=vit, classes="imagenet")
    with pytest.raises(ValueError, match=r"32 x 32 pixels \(model\.size\)"):
        loaded("mlp", size=32)


def test_what_is_no_network_is_said():
    with pytest.raises(ValueError, match="returned OrderedDict: it must return"):
        _unwrapped("net", Base().state_dict())


@pytest.mark.parametrize("kind", ["weightnorm", "weightnorm2"])
def test_computed_weights_are_randomised_too(kind):
    images = torch.rand(2, 3, 64, 64)
    trained, randomised = (build(make(kind), name="net", randomise=shares, **WRITTEN).module(images) for shares in (None, [0, 1]))
    assert not torch.allclose(trained, randomised)


@pytest.mark.parametrize("kind", ["script", "quant"])
def test_a_network_whose_weights_cannot_be_permuted_is_not_taken_for_a_randomised_one(kind):
    with pytest.raises(ValueError, match=r"model\.randomise"):
        build(make(kind), name="net", randomise=[0, 1], **WRITTEN)
