"""What networks return: logits, probabilities, one score, several heads."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.engines.probes import probes
from benchmarks.engines.views import LabelView, ScoreView, View
from benchmarks.models.classifier import build
from tests.strangers.loading import WRITTEN, by_hand, loaded
from tests.strangers.networks import Base, make


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
    with pytest.raises(ValueError, match=r"give two, model\.classes=\[no,yes\], and model\.outputs=sigmoid"):
        loaded("single", classes=names)
    if len(names) != 2:
        with pytest.raises(ValueError, match="give two, the class of a score below 0"):
            loaded("single", classes=names, outputs="sigmoid")


def test_a_wrong_number_of_names_does_not_lead_to_one_name():
    with pytest.raises(ValueError, match="give as many names as it has classes"):
        loaded("base", classes=["one"])
    with pytest.raises(ValueError, match="is for one score per image"):
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


def test_a_class_that_is_ruled_out_has_no_probability():
    model, found = loaded("neginf")
    scores = ScoreView(found)(probes(model.preprocessing, 4))
    assert (scores[:, 3:] == 0).all()
    torch.testing.assert_close(scores.sum(1), torch.ones(len(scores)))
