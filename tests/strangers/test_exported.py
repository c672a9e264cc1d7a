"""Files without their source: TorchScript and programs of torch.export."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.engines.engine import EngineError, torch_engine
from benchmarks.engines.graphs import exported
from benchmarks.models.classifier import build
from benchmarks.models.exported import exported_net
from benchmarks.models.weights import WeightsError
from tests.helpers import textured
from tests.strangers.networks import make

PLAIN = {"size": 64, "crop_pct": 1.0, "interpolation": "bilinear", "mean": [0.0] * 3, "std": [1.0] * 3}


@pytest.mark.parametrize("kind", ["script", "export", "export of one"])
def test_files_without_source_are_black_boxes(kind, tmp_path):
    net, images = make("base").eval(), textured(3, 64, 64)
    if kind == "script":
        path = tmp_path / "net.pt"
        torch.jit.save(torch.jit.trace(net, images), path)
    else:
        path = tmp_path / "net.pt2"
        dynamic = {"x": {0: torch.export.Dim("n", min=2, max=64)}} if kind == "export" else None
        torch.export.save(torch.export.export(net, (images[: 3 if dynamic else 1],), dynamic_shapes=dynamic), path)
    model = build(exported_net(str(path)), name="file", classes=list("abcde"), **PLAIN)
    assert not model.differentiable
    with torch.no_grad():
        torch.testing.assert_close(model.module(images), net(images), atol=1e-5, rtol=1e-4)
    assert len(model.weights_sha256) == 64
    path.write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="is neither TorchScript nor a program"):
        exported_net(str(path))
    with pytest.raises(WeightsError, match="no file at"):
        exported_net(str(tmp_path / "absent.pt2"))


class Answers(nn.Module):
    """A batch-normalised network that answers with a dictionary, a tuple, or a tensor."""

    def __init__(self, kind: str, tracking: bool = True) -> None:
        super().__init__()
        self.kind = kind
        self.body = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.BatchNorm2d(4, track_running_stats=tracking), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(256, 5))

    def forward(self, x):
        features = self.body(x)
        logits = self.head(features)
        return {"dict": {"features": features, "logits": logits}, "tuple": (logits, features), "tensor": logits}[self.kind]


def saved(net: nn.Module, how: str, path, batch: int) -> str:
    if how == "export":
        torch.export.save(torch.export.export(net, (torch.rand(batch, 3, 64, 64),)), path / "net.pt2")
        return str(path / "net.pt2")
    made = torch.jit.script(net) if how == "script" else torch.jit.trace(net, torch.rand(batch, 3, 64, 64), check_trace=False, strict=False)
    torch.jit.save(made, path / "net.pt")
    return str(path / "net.pt")


@pytest.mark.parametrize("kind", ["dict", "tuple"])
@pytest.mark.parametrize("batch", [1, 2])
def test_an_exported_program_of_a_fixed_batch_answers_in_its_own_form(kind, batch, tmp_path):
    net, images = Answers(kind).eval(), textured(5, 64, 64)
    model = build(exported_net(saved(net, "export", tmp_path, batch)), name="file", classes=list("abcde"), **PLAIN)
    with torch.no_grad():
        expected = net(images)["logits"] if kind == "dict" else net(images)[0]
        torch.testing.assert_close(model.module(images), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("how", ["export", "trace", "script"])
def test_a_file_that_was_exported_in_training_mode_is_refused(how, tmp_path):
    """A script is put into evaluation mode; whoever has no statistics of its own goes by the batch in any mode."""
    path = saved(Answers("tensor").train(), how, tmp_path, 2)
    if how == "script":
        exported_net(path)
    else:
        with pytest.raises(WeightsError, match=r"exported in training mode \(batch_norm, dropout\): export it after net\.eval\(\)"):
            exported_net(path)
    for tracking in (True, False):
        exported_net(saved(Answers("tensor", tracking).eval(), how, tmp_path, 2))


@pytest.mark.parametrize("how", ["export", "trace", "script"])
def test_instance_normalisation_is_as_it_was_exported(how, tmp_path):
    def net(tracking: bool) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.InstanceNorm2d(4, track_running_stats=tracking), nn.Flatten(), nn.Linear(256, 5))

    path = saved(net(True).train(), how, tmp_path, 2)
    if how == "script":
        exported_net(path)
    else:
        with pytest.raises(WeightsError, match=r"exported in training mode \(instance_norm\): export it after net\.eval\(\)"):
            exported_net(path)
    for tracking in (True, False):
        exported_net(saved(net(tracking).eval(), how, tmp_path, 2))


class Dropping(nn.Module):
    """Attention that drops in training: PyTorch's own, by hand, or in a branch of training mode."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.p = kind, 0.3
        self.patches = nn.Conv2d(3, 16, 16, 16)
        self.attention = nn.MultiheadAttention(16, 2, dropout=0.3, batch_first=True)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        if self.kind == "module":
            x = self.attention(x, x, x, need_weights=False)[0]
        elif self.kind == "function":
            x = nn.functional.scaled_dot_product_attention(x, x, x, dropout_p=self.p if self.training else 0.0)
        elif self.training:
            x = nn.functional.dropout(x, 0.5, True)
        return self.head(x.mean(1))


@pytest.mark.parametrize("kind", ["module", "function", "branch"])
@pytest.mark.parametrize("how", ["export", "trace", "script"])
def test_attention_that_drops_in_training_runs_in_evaluation(kind, how, tmp_path):
    net, images = Dropping(kind).eval(), textured(2, 64, 64)
    model = build(exported_net(saved(net, how, tmp_path, 2)), name="file", classes=list("abcde"), **PLAIN)
    with torch.no_grad():
        torch.testing.assert_close(model.module(images), net(images), atol=1e-5, rtol=1e-4)
    if how != "script":
        with pytest.raises(WeightsError, match="exported in training mode"):
            exported_net(saved(net.train(), how, tmp_path, 2))


def test_an_exported_file_of_one_channel_says_so(tmp_path):
    path = tmp_path / "net.pt"
    torch.jit.save(torch.jit.trace(make("gray").eval(), torch.rand(1, 1, 64, 64)), path)
    model = build(exported_net(str(path)), name="file", classes=list("abcde"), **PLAIN)
    with pytest.raises(ValueError, match=r"takes images of 1 channel: .* in front of it, before it is exported"):
        torch_engine(model, batch=1, device="cpu")
    with pytest.raises(EngineError, match="is an exported file: engine=torch runs it"):
        exported(model, 1)
