"""Methods as people write them: what they leave behind is their own row's error."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from benchmarks.data.sets import ImageSet
from benchmarks.engines.engine import Engine, torch_engine
from benchmarks.jobs.attribute import attribute
from benchmarks.jobs.untouched import settings_kept, untouched
from benchmarks.models.classifier import Model, build
from da.types import Attribution, LabelModel
from tests.benchmarks.test_job import job, planted, statuses, written
from tests.helpers import rngs, textured
from tests.strangers import methods
from tests.strangers.networks import Base

__all__ = ["planted"]


LEFTOVERS = (torch.get_default_dtype, torch.get_num_threads, torch.is_grad_enabled, torch.get_deterministic_debug_mode)


class Normed(Base):
    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(8)

    def body(self, x: Tensor) -> Tensor:
        return self.r2(self.c2(self.r1(self.bn(self.c1(x)))))


def classifier(net: nn.Module | None = None) -> tuple[Model, Engine]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = net or Normed()
    preprocessing = {"size": 32, "crop_pct": 1.0, "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.25] * 3}
    model = build(net, name="normed", classes=list("abcde"), gradcam_layer="net.r2", **preprocessing)
    return model, torch_engine(model, batch=2, device="cpu")


def called(method: Callable[..., object], model: Model, engine: Engine, n: int = 2) -> Attribution:
    return attribute(method, model, engine, textured(n, 32, 32), torch.ones(n, dtype=torch.long), rngs(n))[0]


def test_what_a_method_leaves_behind_is_its_rows_error_and_nobody_elses_number(tmp_path: Path, planted: tuple[ImageSet, Model, Engine]):
    images = replace(planted[0], photographs=tuple(replace(p, label=0) for p in planted[0].photographs[:3]))
    fresh = job(tmp_path / "fresh", images, *classifier(), method=partial(methods.plain))
    fresh.run()
    expected, logits = written(fresh), fresh.engine.forward(textured(2, 32, 32))
    assert set(expected["status"]) == {"ok"}
    model, engine = classifier()
    settings = [get() for get in LEFTOVERS]
    for culprit, words in methods.CULPRITS.items():
        spoilt = job(tmp_path / "store", images, model, engine, method=partial(culprit))
        spoilt.run()
        name = f"error: ValueError: {culprit.__name__} {words}"
        assert [status.startswith(name) for status in spoilt.store.rows(spoilt.keys["attribution"], spoilt.contents)["status"]] == [
            True
        ] * 3
        assert torch.equal(engine.forward(textured(2, 32, 32)), logits)
    harmless = job(tmp_path / "store", images, model, engine, method=partial(methods.settings))
    harmless.run()
    assert set(statuses(harmless).values()) == {"ok"}
    assert [get() for get in LEFTOVERS] == settings
    assert not torch.is_autocast_enabled("cpu")
    assert all(weight.grad is None and not weight.requires_grad for weight in model.module.parameters())
    plain = job(tmp_path / "store", images, model, engine, method=partial(methods.plain))
    plain.run()
    pd.testing.assert_frame_equal(written(plain), expected)


def test_a_method_that_fails_leaves_nothing_behind_either():
    model, engine = classifier()
    before = engine.forward(textured(2, 32, 32))

    def failing(net, images, targets, *, rngs):
        net.train()
        net.net.fc.weight.data.zero_()
        torch.set_grad_enabled(False)
        raise RuntimeError("of its own")

    with pytest.raises(RuntimeError, match="of its own"):
        called(failing, model, engine)
    assert torch.is_grad_enabled()
    assert torch.equal(engine.forward(textured(2, 32, 32)), before)


class Counting(Base):
    """Counts its passes, in a buffer, too, and keeps its activations and a hook that it adds itself."""

    def __init__(self) -> None:
        super().__init__()
        self.passes = 0
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        self.count += 1
        if not self.r1._forward_hooks:
            self.r1.register_forward_hook(lambda _m, _i, o: o)
        self.features = self.body(x)
        return super().forward(x)


def test_what_the_model_changes_by_itself_is_not_the_methods_fault():
    def looks(net, images, targets, *, rngs):
        net(images)
        return images.mean(1)

    called(looks, *classifier(Counting()))


def test_streams_of_the_process_are_the_images_and_put_back():
    def draws(net, images, targets, *, rngs):
        np.random.seed(None)  # noqa: NPY002
        return torch.rand(len(images), 32, 32)

    model, engine = classifier()
    before = torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()  # noqa: NPY002
    first, again = called(draws, model, engine).saliency, called(draws, model, engine).saliency
    assert torch.equal(first, again)
    other = attribute(draws, model, engine, textured(2, 32, 32), torch.ones(2, dtype=torch.long), rngs(2, seed=1))[0].saliency
    assert not torch.equal(first, other)
    assert before == (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist())  # noqa: NPY002
    state = random.getstate()  # which type checks at run time draw from
    with settings_kept(np.random.default_rng(0)):
        random.seed(7)
    assert random.getstate() == state


def test_a_measure_that_writes_into_what_it_is_given_spoils_no_other(tmp_path: Path, planted: tuple[ImageSet, Model, Engine]):
    def spoiling(model: LabelModel, images, targets, labels, attribution, *, rngs):
        torch.manual_seed(0)
        torch.set_grad_enabled(False)
        found = frame(images, attribution, "before")
        images.zero_(), targets.zero_(), attribution.saliency.zero_(), labels.clear()
        return found

    def frame(images, attribution, name):
        sums = attribution.saliency.sum((1, 2)) + images.sum((1, 2, 3))
        return pd.DataFrame([(i, name, float("nan"), float(x)) for i, x in enumerate(sums)], columns=["image", "metric", "x", "value"])

    def after(model: LabelModel, images, targets, labels, attribution, *, rngs):
        assert len(labels) == len(images)
        assert torch.is_grad_enabled()
        return frame(images, attribution, "after")

    both = job(tmp_path / "s", *planted, method=partial(methods.plain), benchmarks={"a": partial(spoiling), "b": partial(after)})
    both.run()
    rows = written(both)
    values = [rows[rows["what"] == name].sort_values("image")["value"].tolist() for name in ("a", "b")]
    assert values[0] == values[1]
    assert min(values[0]) > 0


class Holding(torch.nn.Module):
    """A network of somebody's own, with settings, tensors and lists that are no weights."""

    def __init__(self):
        super().__init__()
        self.sign, self.table, self.parts, self.by_name = 1.0, torch.ones(3, 1, 1), [torch.ones(1)], {"gain": 2.0}
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.sign * (x * self.table).mean((2, 3)) * self.parts[0] * self.by_name["gain"]


@pytest.mark.parametrize(
    "change",
    [
        lambda net: setattr(net, "sign", -1.0),
        lambda net: net.table.mul_(-1),
        lambda net: setattr(net, "table", -net.table),
        lambda net: net.parts.__setitem__(0, -net.parts[0]),
        lambda net: net.parts[0].mul_(-1),
        lambda net: net.by_name.update(gain=-2.0),
    ],
)
def test_what_a_network_of_somebodys_own_holds_is_put_back_and_said(change):
    net, images = Holding().eval(), torch.rand(2, 3, 8, 8)
    before = net(images)
    with pytest.raises(ValueError, match="culprit changed"), untouched(net, "culprit", images):
        change(net)
    assert torch.equal(net(images), before)
    with untouched(net, "innocent", images):  # a forward pass counts its calls, which is nobody's fault
        net(images)
