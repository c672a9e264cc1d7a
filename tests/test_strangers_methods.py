"""Methods as people write them: what they leave behind, what they return, and how they are annotated."""

from __future__ import annotations

import functools
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

from baselines.gradients.integrated_gradients import integrated_gradients, smoothgrad
from baselines.perturbation.occlusion import kernel_shap, occlusion
from baselines.perturbation.rise import rise
from benchmarks.data.sets import ImageSet
from benchmarks.engines.engine import Engine, torch_engine
from benchmarks.engines.views import access
from benchmarks.jobs.attribute import attribute
from benchmarks.jobs.untouched import settings_kept, untouched
from benchmarks.models.classifier import Model, build
from da.types import Attribution, LabelModel, ScoreModel
from tests.conftest import rngs, textured
from tests.strangers import methods
from tests.strangers.networks import Base, make
from tests.test_job import job, planted, statuses, written

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
        found = frame(images, attribution)
        images.zero_(), targets.zero_(), attribution.saliency.zero_(), labels.clear()
        return found

    def frame(images, attribution):
        sums = attribution.saliency.sum((1, 2)) + images.sum((1, 2, 3))
        return pd.DataFrame([(i, "sum", float("nan"), float(x)) for i, x in enumerate(sums)], columns=["image", "metric", "x", "value"])

    def after(model: LabelModel, images, targets, labels, attribution, *, rngs):
        assert len(labels) == len(images)
        assert torch.is_grad_enabled()
        return frame(images, attribution)

    both = job(tmp_path / "s", *planted, method=partial(methods.plain), benchmarks={"a": partial(spoiling), "b": partial(after)})
    both.run()
    rows = written(both)
    values = [rows[rows["what"] == name].sort_values("image")["value"].tolist() for name in ("a", "b")]
    assert values[0] == values[1]
    assert min(values[0]) > 0


IMAGES = textured(2, 32, 32)
RIGHT = {
    methods.constant: torch.zeros(2, 32, 32),
    methods.negative: -IMAGES.sum(1) - 5,
    methods.minuszero: torch.zeros(2, 32, 32),
    methods.integers: (IMAGES.sum(1) * 10).long().float(),
    methods.booleans: (IMAGES.sum(1) > 1.5).float(),
    methods.halves: IMAGES.sum(1).half().float(),
    methods.array: IMAGES.sum(1),
}


@pytest.mark.parametrize("method", RIGHT)
def test_odd_maps_have_the_right_values(method):
    found = called(method, *classifier()).saliency
    assert found.dtype == torch.float32
    assert torch.equal(found, RIGHT[method])
    assert not torch.signbit(found[found == 0]).any()


def returns(make_result):
    def method(model, images, targets, *, rngs):
        return make_result(images)

    return method


def with_extra(saliency: Tensor, values: Tensor) -> Attribution:
    found = Attribution(saliency)
    found.extras["mine"] = values  # type: ignore[index]
    return found


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda x: x.sum(1, keepdim=True), r"return saliency\[:, 0\]"),
        (lambda x: x, "sum over the channels"),
        (lambda x: x.sum(1)[0], r"of shape \(32, 32\) for 2 images of 32 x 32: return a tensor \[n, h, w\]"),
        (lambda x: (x.sum(1), 1), "returned tuple"),
        (lambda x: None, "returned NoneType"),
        (lambda x: x.sum(1) * 1j, "of real numbers"),
        (lambda x: x.sum(1).to_sparse(), "of real numbers"),
        (lambda x: np.full((2, 32, 32), "a"), "of real numbers"),
        (lambda x: x.sum(1).double() * 1e-60, "float64 whose values are the same"),
        (lambda x: x.sum(1).double() * 1e60, "or infinite in float32"),
        (lambda x: (x.sum(1) * 100).long() + 2**40, "int64 whose values are the same"),
        (lambda x: Attribution(x.sum(1), kept=x[:, 0] > 0, status=("ok",)), "a word for each"),
        (lambda x: Attribution(x.sum(1), extras={"seconds": torch.zeros(2)}), "other than queries, backwards, seconds"),
        (lambda x: with_extra(x.sum(1), torch.zeros(3)), r"extra mine of shape \(3,\)"),
        (lambda x: Attribution(x.sum(1), queries=torch.ones(2, dtype=torch.long)), "reports 2 queries and made 0"),
    ],
)
def test_what_cannot_be_a_map_is_refused_in_a_line(result, message):
    with pytest.raises((ValueError, TypeError), match=message) as found:
        called(returns(result), *classifier())
    assert "\n" not in str(found.value)


def test_a_map_is_a_copy_whoever_writes_into_its_memory_later():
    shared = torch.zeros(2, 32, 32)

    def reuses(model, images, targets, *, rngs):
        return shared.copy_(images.sum(1)).requires_grad_() if not shared.requires_grad else shared

    found = called(reuses, *classifier()).saliency
    shared.detach().zero_()
    assert torch.equal(found, IMAGES.sum(1))
    assert not found.requires_grad
    view = called(returns(lambda x: x[:, 0]), *classifier()).saliency
    assert torch.equal(view, IMAGES[:, 0])


def test_nan_in_a_map_is_the_images_own_error(tmp_path: Path, planted: tuple[ImageSet, Model, Engine]):
    failing = job(tmp_path / "s", *planted, method=partial(methods.nan))
    failing.run()
    assert all("not finite" in status for status in statuses(failing).values())


def of_labels(model: LabelModel, images, targets, *, rngs): ...


def of_scores(model: ScoreModel | None, images: Missing, targets, *, rngs): ...  # noqa: F821 (as under TYPE_CHECKING)


def unresolved(model: types_of_da.ScoreModel, images, targets, *, rngs): ...  # noqa: F821


def quoted(model: "LabelModel", images, targets, *, rngs): ...


LM = LabelModel


def renamed(model: LM, images: Missing, targets, *, rngs): ...  # noqa: F821


@functools.wraps(of_labels)
def decorated(*args, **kwargs): ...


class Called:
    def __call__(self, model: ScoreModel, images, targets, *, rngs): ...

    def bound(self, model: LabelModel, images, targets, *, rngs): ...

    @staticmethod
    def static(model: LabelModel, images, targets, *, rngs): ...


class Made:
    def __init__(self, model: LabelModel, images, targets, *, rngs): ...


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        (of_labels, LabelModel),
        (of_scores, ScoreModel),
        (unresolved, ScoreModel),
        (quoted, LabelModel),
        (renamed, LabelModel),
        (decorated, LabelModel),
        (Called(), ScoreModel),
        (Called().bound, LabelModel),
        (Called.static, LabelModel),
        (Made, LabelModel),
        (partial(partial(of_labels, rngs=[]), targets=None), LabelModel),
        (partial(Called(), rngs=[]), ScoreModel),
        (partial(Called().bound), LabelModel),
        (methods.plain, nn.Module),
        (lambda *args, **kwargs: None, nn.Module),
        (lambda: None, nn.Module),
        (max, nn.Module),
        (dict, nn.Module),
    ],
)
def test_access_is_read_from_anything_that_can_be_called(method, kind):
    assert access(method) is kind


def test_few_samples_are_on_the_row():
    def score(shown: Tensor) -> Tensor:
        return shown.mean((2, 3))

    images, targets = textured(2, 32, 32), torch.tensor([0, 1])

    def shap(samples: int) -> tuple[str, ...] | None:
        return kernel_shap(score, images, targets, rngs=rngs(2), samples=samples, sp_num=16, fill="black").status

    assert (shap(8), shap(200)) == (("few_samples",) * 2, ("ok",) * 2)
    settings = {"probability": 0.5, "fill": "black", "mask_seed": 0, "chunk": 8}
    assert rise(score, images, targets, rngs=rngs(2), masks=15, cells=4, **settings).status == ("few_samples",) * 2
    assert rise(score, images, targets, rngs=rngs(2), masks=16, cells=4, **settings).status is None
    net = make("base").eval()
    assert smoothgrad(net, images, targets, rngs=rngs(2), samples=1, noise=0.1).status == ("few_samples",) * 2
    for refused in (
        lambda: rise(score, images, targets, rngs=rngs(2), masks=20, cells=4, **settings | {"probability": 1.0}),
        lambda: rise(score, images, targets, rngs=rngs(2), masks=20, cells=1, **settings),
        lambda: smoothgrad(net, images, targets, rngs=rngs(2), samples=4, noise=0.0),
        lambda: smoothgrad(net, images, targets, rngs=rngs(2), samples=0, noise=0.1),
        lambda: integrated_gradients(net, images, targets, rngs=rngs(2), steps=0, fill="black"),
        lambda: occlusion(score, images, targets, rngs=rngs(2), window=1.0, stride=0.5, fill="black"),
    ):
        with pytest.raises(ValueError, match=r"must be|whole image|between 0 and 1"):
            refused()


def test_a_model_that_does_not_repeat_itself_is_on_the_row():
    model, engine = classifier()
    object.__setattr__(engine, "repeatable", False)
    assert called(methods.plain, model, engine).status == ("unrepeatable",) * 2
    vacuous = returns(lambda x: Attribution(x.sum(1), status=("vacuous", "ok")))
    assert called(vacuous, model, engine).status == ("vacuous", "unrepeatable")


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
