"""Networks as people have them: the right logits, or one line that says what to do."""

from __future__ import annotations

import copy
import json
from functools import partial

import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException
from torch import nn

from baselines.gradients.guided_backprop import guided_backprop
from benchmarks.engines.auto import or_torch
from benchmarks.engines.engine import EngineError
from benchmarks.engines.loading import load
from benchmarks.engines.probes import probes
from benchmarks.engines.views import LabelView, ScoreView, View, reference_view
from benchmarks.inputs.compose import composed
from benchmarks.inputs.messages import cause
from benchmarks.jobs.attribute import attribute
from benchmarks.models.classifier import _unwrapped, build
from tests.strangers.networks import Base, StoreActs, make

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
WRITTEN = {"classes": list("abcde"), "size": 64, "crop_pct": 1.0, "interpolation": "bilinear", "mean": MEAN, "std": STD}
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


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "graphs"))


def model_json(kind: str, **other) -> str:
    net = {"_target_": "tests.strangers.networks.make", "kind": kind}
    return json.dumps({"_target_": "benchmarks.models.build", "name": kind, "net": net, **WRITTEN, **other})


def loaded(kind: str, engine: str = "torch", batch: int = 4, **other):
    of = {"_target_": f"benchmarks.engines.{engine}_engine", "_partial_": True, "batch": batch}
    try:
        return load(model_json(kind, **other), json.dumps(of | ({"device": "cpu"} if engine == "torch" else {})))
    except InstantiationException as error:
        raise ValueError(cause(error)) from None


def by_hand(kind: str, images: torch.Tensor, batch: int) -> torch.Tensor:
    """What the network says when it is called as its author does: in evaluation, on contiguous images of its type."""
    net = make(kind).eval()
    net = getattr(net, "_orig_mod", net)  # torch.compile would need a compiler
    shown = (images - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    shown = shown.to({"half": torch.float16, "bf16": torch.bfloat16}.get(kind, torch.float32))
    with torch.no_grad():
        answers = [net(part.clone()) for part in shown.split(batch)]
    tensors = [answer[0] if kind == "tuple" else answer["logits"] if kind == "dict" else answer for answer in answers]
    return torch.cat([getattr(answer, "logits", answer).float() for answer in tensors]).view(len(images), -1)


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
    torch.testing.assert_close(View(found).logits(images), by_hand(kind, images, 4), atol=5e-3 if kind == "half" else 1e-4, rtol=1e-4)
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


# what a network returns


@pytest.mark.parametrize("kind", ["single", "squeezed"])
@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_one_score_is_two_classes(kind, engine):
    model, found = loaded(kind, engine, classes=["no", "yes"], outputs="sigmoid")
    images = probes(model.preprocessing, 4)
    p = by_hand("squeezed", images, 4).flatten().sigmoid()
    torch.testing.assert_close(ScoreView(found)(images), torch.stack([1 - p, p], 1), atol=1e-5, rtol=1e-4)
    assert model.identity["outputs"] == "sigmoid"
    leaf = images.clone().requires_grad_()
    gradient = torch.autograd.grad(found.module(leaf)[:, 1].sum(), leaf)[0]
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("names", [["one"], ["no", "yes"], ["a", "b", "c"]])
def test_one_score_is_never_taken_without_being_said(names):
    with pytest.raises(ValueError, match=r"give two names, model\.classes=\[no,yes\], and model\.outputs=sigmoid"):
        loaded("single", classes=names)
    if len(names) != 2:
        with pytest.raises(ValueError, match="give two, the class of a score below 0"):
            loaded("single", classes=names, outputs="sigmoid")


def test_a_wrong_number_of_names_does_not_lead_to_one_name():
    with pytest.raises(ValueError, match="give as many names as it has classes"):
        loaded("base", classes=["one"])
    with pytest.raises(ValueError, match="is for one score an image"):
        loaded("base", classes=["no", "yes"], outputs="sigmoid")


def test_a_sigmoid_inside_the_network_is_not_taken_for_a_logit():
    with pytest.raises(ValueError, match=r"give model\.outputs=probabilities"):
        loaded("sigmoid", classes=["no", "yes"], outputs="sigmoid")
    model, found = loaded("sigmoid", classes=["no", "yes"], outputs="probabilities")
    images = probes(model.preprocessing, 4)
    p = by_hand("sigmoid", images, 4).flatten()
    torch.testing.assert_close(ScoreView(found)(images)[:, 1], p, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_probabilities_are_not_softened_again(engine):
    model, found = loaded("softmax", engine, outputs="probabilities")
    images = probes(model.preprocessing, 4)
    expected = by_hand("softmax", images, 4)
    torch.testing.assert_close(ScoreView(found)(images), expected, atol=1e-5, rtol=1e-3)
    assert (LabelView(found)(images) == expected.argmax(1)).all()
    plain = loaded("base")[1]  # the logarithm of a softmax has the gradients of the logits' own log-probabilities
    leaf, other = images.clone().requires_grad_(), images.clone().requires_grad_()
    ours = torch.autograd.grad(found.module(leaf)[:, 0].sum(), leaf)[0]
    theirs = torch.autograd.grad(plain.module(other).log_softmax(1)[:, 0].sum(), other)[0]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-3)


def test_an_impossible_class_and_a_certain_one_keep_finite_logits():
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = build(net, name="p", outputs="probabilities", **WRITTEN | {"classes": list("abc"), "mean": [0] * 3, "std": [1] * 3})
    logits = model.module(torch.tensor([[1.0, 0.0, 0.0], [0.999, 0.001, 0.0]]).view(2, 3, 1, 1).expand(2, 3, 8, 8))
    assert torch.isfinite(logits).all()
    assert logits.softmax(1)[:, 0].tolist() == pytest.approx([1.0, 0.999])


def test_what_is_stated_must_fit_and_changes_the_identity_only_then():
    with pytest.raises(ValueError, match="these are no probabilities"):
        loaded("base", outputs="probabilities")
    with pytest.raises(ValueError, match="choose logits, probabilities, sigmoid"):
        loaded("base", outputs="softmax")
    assert set(loaded("base")[0].identity) == {"name", "net", "weights_sha256", "preprocessing"}
    assert loaded("softmax", outputs="logits")[0].identity["outputs"] == "logits"


def test_one_of_two_heads_is_chosen_by_place():
    model, found = loaded("twoheads", output_name=1)
    images = probes(model.preprocessing, 4)
    with torch.no_grad():
        expected = make("twoheads").eval()((images - model.module.mean) / model.module.std)[1]
    torch.testing.assert_close(View(found).logits(images), expected, atol=1e-4, rtol=1e-4)
    assert model.identity["output_name"] == 1
    with pytest.raises(ValueError, match=r"model\.output_name=logits: model twoheads returns 0 \[4, 5\], 1 \[4, 5\]"):
        loaded("twoheads", output_name="logits")


def test_labels_are_no_scores():
    class Labels(Base):
        def forward(self, x):
            return super().forward(x).argmax(1, keepdim=True)

    model = build(Labels(), name="labels", **WRITTEN)
    with pytest.raises(ValueError, match="returns int64, not scores"):
        model.module(torch.rand(2, 3, 64, 64))


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


# what a pass leaves, and what a network holds


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


# what a configuration says

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


def test_a_class_that_is_ruled_out_has_no_probability():
    model, found = loaded("neginf")
    scores = ScoreView(found)(probes(model.preprocessing, 4))
    assert (scores[:, 3:] == 0).all()
    torch.testing.assert_close(scores.sum(1), torch.ones(len(scores)))
