"""Insertion game and MAR against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.engines.engine import Engine, torch_engine
from benchmarks.engines.views import LabelView, NotFiniteError, ScoreView, access, counted
from benchmarks.measures.insertion import insertion_game
from benchmarks.measures.mar import minimum_attribution_ratio
from da.ranking import falling_order, importance_rank, prefix_shares
from da.rng import image_rng
from da.types import Attribution, LabelModel, ScoreModel
from tests.helpers import PatchNet, planted_model, rngs, textured


def area_model(threshold: float):
    """Class 1 where at least this share of the pixels is not black: its insertion curve is a step at the threshold."""
    return lambda images: ((images > 0).all(1).float().mean((1, 2)) >= threshold).long()


def values(frame: pd.DataFrame, metric: str) -> dict[float, float]:
    rows = frame[frame["metric"] == metric]
    return dict(zip(rows["x"].fillna(-1), rows["value"], strict=True))


def test_insertion_game_on_a_step():
    images = textured(1, 10, 10)
    attribution = Attribution(torch.arange(100.0).view(1, 10, 10))
    shares = [0.0, 0.25, 0.5, 1.0]
    frame = insertion_game(area_model(0.5), images, torch.tensor([1]), [1], attribution, rngs=rngs(1), shares=shares)
    assert values(frame, "insertion_accuracy") == {0.0: 0, 0.25: 0, 0.5: 1, 1.0: 1}
    assert values(frame, "insertion_auc") == {-1: 0.25 * 0.5 + 0.5}
    other = insertion_game(area_model(0.5), images, torch.tensor([1]), [0], attribution, rngs=rngs(1), shares=shares)
    assert values(other, "insertion_accuracy") == {0.0: 1, 0.25: 1, 0.5: 0, 1.0: 0}
    assert values(other, "insertion_consistency") == {0.0: 0, 0.25: 0, 0.5: 1, 1.0: 1}
    unlabelled = insertion_game(area_model(0.5), images, torch.tensor([1]), [None], attribution, rngs=rngs(1), shares=shares)
    assert "insertion_accuracy" not in set(unlabelled["metric"])


def test_the_most_important_pixels_are_kept():
    images = textured(2, 32, 32)
    saliency = torch.zeros(2, 32, 32)
    saliency[0, 8:16, 8:16] = 1
    saliency[1, 20:28, 20:28] = 1
    net = PatchNet(8, 8, 8, 8)

    def model(shown):
        return net(shown).argmax(1)

    options = {"rngs": rngs(2), "shares": [1 / 16]}
    frame = insertion_game(model, images, torch.tensor([1, 1]), [1, 1], Attribution(saliency), **options)
    assert frame[frame["metric"] == "insertion_accuracy"]["value"].tolist() == [1, 0]


@pytest.mark.parametrize("shares", [[], [0.5, 0.2], [0.1, 0.1], [0.0, 1.1], [-0.1, 1.0]])
def test_shares_that_make_no_curve(shares):
    attribution = Attribution(torch.zeros(1, 4, 4))
    with pytest.raises(ValueError, match="shares"):
        insertion_game(area_model(0.5), textured(1, 4, 4), torch.tensor([1]), [1], attribution, rngs=rngs(1), shares=shares)


def test_mar_of_a_step_and_of_a_mask():
    images = textured(1, 40, 40)
    kept = torch.zeros(1, 40, 40, dtype=torch.bool)
    kept[0, :4] = True
    attribution = Attribution(torch.rand(1, 40, 40, generator=torch.Generator().manual_seed(0)), kept)
    frame = minimum_attribution_ratio(area_model(0.3), images, torch.tensor([1]), [None], attribution, rngs=rngs(1))
    first = min(share for share in prefix_shares() if round(share * 1600) / 1600 >= 0.3)
    assert values(frame, "mar_first") == values(frame, "mar_holds") == {-1: first}
    assert values(frame, "mar") == pytest.approx({-1: 0.1})


def test_first_crossing_and_holding_differ_where_the_class_comes_and_goes():
    def model(images):
        share = (images > 0).all(1).float().mean((1, 2))
        return (((share > 0.1) & (share < 0.2)) | (share > 0.6)).long()

    attribution = Attribution(torch.arange(1600.0).view(1, 40, 40))
    frame = minimum_attribution_ratio(model, textured(1, 40, 40), torch.tensor([1]), [None], attribution, rngs=rngs(1))
    first, holds = values(frame, "mar_first")[-1], values(frame, "mar_holds")[-1]
    assert 0.1 < first < 0.13
    assert 0.6 < holds < 0.75
    assert "mar" not in set(frame["metric"])


def test_ties_are_broken_by_each_images_own_permutation():
    flat = torch.zeros(2, 20, 20)
    rank = importance_rank(flat, rngs(2))
    assert not torch.equal(rank[0], rank[1])
    assert torch.equal(rank[1], importance_rank(flat[1:], rngs(2)[1:])[0])
    assert sorted(rank[0].flatten().tolist()) == list(range(400))
    corner = (rank[0] < 40).nonzero().float().mean(0)
    assert ((corner > 5) & (corner < 15)).all()
    steps = torch.arange(4.0).repeat_interleave(100).view(1, 20, 20)
    assert (importance_rank(steps, rngs(1))[0].flatten()[300:] < 100).all()


def test_the_falling_order_is_the_stable_argsort():
    rng = np.random.default_rng(0)
    for values in (
        rng.standard_normal(5000),
        rng.integers(-3, 4, 5000) / 7,  # ties
        np.array([0.0, -0.0, 1e-40, -1e-40, 3e38, -3e38, 0.0]),
        rng.standard_normal(5000) * 10.0 ** rng.integers(-38, 38, 5000),
    ):
        values = values.astype(np.float32)
        assert (falling_order(values) == np.argsort(-values.astype(float), kind="stable")).all()


def test_a_view_pads_to_one_shape_and_counts_what_was_asked():
    shapes = []

    def forward(images):
        shapes.append(tuple(images.shape))
        return torch.stack([images.mean((1, 2, 3)), 1 - images.mean((1, 2, 3))], 1)

    view = ScoreView(Engine(forward, 4, torch.device("cpu"), torch.nn.Identity()))
    scores = view(textured(6, 8, 8))
    assert shapes == [(4, 3, 8, 8)] * 2
    assert view.queries == 6
    torch.testing.assert_close(scores.sum(1), torch.ones(6))


def test_a_view_refuses_numbers_that_are_not_finite():
    view = LabelView(Engine(lambda images: images.mean((2, 3)) / 0, 2, torch.device("cpu"), torch.nn.Identity()))
    with pytest.raises(NotFiniteError, match="not finite"):
        view(torch.zeros(1, 3, 4, 4))


def test_a_label_view_gives_no_scores(lite0_engine, photographs):
    labels = LabelView(lite0_engine)(photographs[:2])
    assert labels.dtype == torch.int64
    assert labels.shape == (2,)


def test_access_follows_the_annotation():
    def labels(model: LabelModel, images): ...
    def scores(model: ScoreModel, images): ...
    def module(model: torch.nn.Module, images): ...
    def unsaid(model, images): ...

    assert [access(f) for f in (labels, scores, module, unsaid)] == [LabelModel, ScoreModel, torch.nn.Module, torch.nn.Module]


def test_passes_are_counted_forward_and_backward():
    module = torch.nn.Linear(3, 2)
    with counted(module) as passes:
        x = torch.rand(5, 3, requires_grad=True)
        module(x).sum().backward()
        with torch.no_grad():
            module(x[:2])
    module(torch.rand(1, 3))
    assert (passes.forward, passes.backward) == (7, 5)
    assert not module._forward_hooks


def test_streams_differ_by_seed_purpose_and_image_and_by_nothing_else():
    draws = {image_rng(*key).random() for key in [(0, "a", "x"), (1, "a", "x"), (0, "b", "x"), (0, "a", "y")]}
    assert len(draws) == 4
    assert image_rng(0, "method", "chelsea").integers(1 << 30) == image_rng(0, "method", "chelsea").integers(1 << 30)
    assert image_rng(0, "method", "chelsea").random() == pytest.approx(np.float64(image_rng(0, "method", "chelsea").random()))


@pytest.mark.parametrize(("options", "name"), [({"precision": "int3"}, "precision"), ({"batch": 0}, "batch")])
def test_engine_values_out_of_range_are_named(options, name):
    with pytest.raises(ValueError, match=f"engine.{name}="):
        torch_engine(planted_model(), **options)
