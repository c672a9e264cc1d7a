"""Code that looks at what it computes is told from code that looks at shapes or weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from torch import nn

from benchmarks.engines.control_flow import looks_at_values
from benchmarks.inputs.compose import composed
from tests.strangers.networks import Base


class Looks(Base):
    """Turns what it computes into a Python value in a way that a trace cannot follow, or only seems to."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.limit = nn.Parameter(torch.tensor(0.3))

    def forward(self, x):
        y = super().forward(x)
        if self.how(self, x, y):
            return -y
        return y


def count(net, x, y):
    return len(x[x > 0.5]) > 10


YES = {
    "mean": lambda net, x, y: x.mean() > 0,
    "item": lambda net, x, y: x.amax().item() > 0.5,
    "float": lambda net, x, y: float(y.std()) > 1,
    "argmax": lambda net, x, y: int(y[0].argmax()) == 2,
    "list": lambda net, x, y: 3 in y.argmax(1).tolist(),
    "contains": lambda net, x, y: 3 in y.argmax(1),
    "numpy": lambda net, x, y: np.median(x.numpy()) > 0,
    "array": lambda net, x, y: np.asarray(y).max() > 1,
    "equal": lambda net, x, y: torch.equal(x, torch.zeros_like(x)),
    "allclose": lambda net, x, y: torch.allclose(x, x.mean()),
    "count of a selection": count,
    "count of what is not zero": lambda net, x, y: x.nonzero().shape[0] > 5,
    "past a comparison": lambda net, x, y: (x > net.limit).sum() > 100,
    "added in place": lambda net, x, y: _zeros(y).add_(y).max() > 0.5,
    "added by an operator": lambda net, x, y: _added(y).max() > 0.5,
    "written to an item": lambda net, x, y: _item(y).max() > 0.5,
    "copied": lambda net, x, y: _copied(y).max() > 0.5,
    "written to a view": lambda net, x, y: _view(y).max() > 0.5,
    "given as out": lambda net, x, y: torch.mul(y, 2, out=_zeros(y)).max() > 0.5,
}


def _zeros(y):
    return torch.zeros(y.shape)


def _added(y):
    out = _zeros(y)
    out += y
    return out


def _item(y):
    out = _zeros(y)
    out[:, 0] = y[:, 0]
    return out


def _copied(y):
    out = _zeros(y)
    out.copy_(y)
    return out


def _view(y):
    out = _zeros(y)
    out[:, 1].copy_(y[:, 1])
    return out


NO = {
    "shape": lambda net, x, y: x.shape[2] > 7 and x.size(0) == y.size(0) and len(x) > 0 and x.numel() > 1,
    "weights": lambda net, x, y: net.limit.item() > 0 and net.fc.weight.abs().max() > 100,
    "kind": lambda net, x, y: x.dtype == torch.float16 or x.is_cuda,
}


@pytest.mark.parametrize("name", YES)
def test_a_look_at_a_value_is_found(name):
    assert "test_control_flow.py:" in looks_at_values(Looks(YES[name]), torch.rand(2, 3, 64, 64))


@pytest.mark.parametrize("name", NO)
def test_a_look_at_a_shape_or_a_weight_is_none(name):
    assert looks_at_values(Looks(NO[name]), torch.rand(2, 3, 64, 64)) is None


@pytest.mark.parametrize("architecture", ["vit_tiny_patch16_224", "convnext_atto", "levit_128s"])
def test_no_network_of_ours_is_taken_for_one_that_looks(architecture):
    cfg = composed("model=timm", f"model.net.architecture={architecture}", "model.weights=random").model
    assert looks_at_values(instantiate(cfg.net).eval(), torch.rand(1, 3, 224, 224)) is None
