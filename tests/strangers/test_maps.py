"""Methods as people write them: what they return, and how they are annotated."""

from __future__ import annotations

import functools
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from baselines.gradients.integrated_gradients import integrated_gradients, smoothgrad
from baselines.perturbation.occlusion import kernel_shap, occlusion
from baselines.perturbation.rise import rise
from benchmarks.data.sets import ImageSet
from benchmarks.engines.engine import Engine
from benchmarks.engines.views import access
from benchmarks.models.classifier import Model
from da.types import Attribution, LabelModel, ScoreModel
from tests.benchmarks.test_job import job, planted, statuses
from tests.helpers import rngs, textured
from tests.strangers import methods
from tests.strangers.networks import make
from tests.strangers.test_leftovers import called, classifier

__all__ = ["planted"]


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
