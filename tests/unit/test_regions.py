"""Methods that look for a sufficient region: planted answers, the criteria, exact counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from baselines import bg_sis, greedy, igos_pp, sag, sis
from baselines.parts import grid, segments
from baselines.regions.sag import _most_diverse
from da.models import score_model
from da.superpixels import superpixels
from tests.helpers import PatchNet, rngs, textured

Y = torch.ones(2).long()


class Either(nn.Module):
    """Class 1 exactly where one of some patches is wholly visible; its score is the largest visible share of a patch."""

    def __init__(self, *patches: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.nets = [PatchNet(*patch) for patch in patches]

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[m, 2]``."""
        return torch.stack([net(images) for net in self.nets]).amax(0)


class Sum(nn.Module):
    """A logit that is the weighted sum of all values, against 0."""

    def __init__(self, weights: Tensor, bias: float) -> None:
        super().__init__()
        self.weights, self.bias = weights, bias

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[m, 2]``."""
        logit = (images * self.weights).sum((1, 2, 3)) + self.bias
        return torch.stack([torch.zeros_like(logit), logit], 1)


def of_patch(index: Tensor, top: int, left: int, height: int, width: int) -> set[int]:
    return set(index[top : top + height, left : left + width].flatten().tolist())


def scores(net: nn.Module, sharpness: float = 8):
    """A score model whose probabilities change by more than rounding."""
    return score_model(lambda images: sharpness * net(images))


SEARCHES = {
    "sis": lambda model, images, **more: sis(model, images, Y[: len(images)], sp_num=30, **{"criterion": "top1", "fill": "black"} | more),
    "greedy": lambda model, images, **more: greedy(model, images, Y[: len(images)], sp_num=30, **more),
    "both ways": lambda model, images, **more: greedy(model, images, Y[: len(images)], sp_num=30, bidirectional=True, **more),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_the_region_is_the_segments_of_the_patch(name):
    images, model = textured(2, 40, 44), scores(PatchNet(8, 20, 10, 10))
    found = SEARCHES[name](model, images)
    parts = segments(images, 30, slic_zero=True)
    assert found.status == ("ok", "ok")
    assert int(found.queries.sum()) == model.queries
    for i in range(2):
        assert set(parts.index[i][found.kept[i]].tolist()) == of_patch(parts.index[i], 8, 20, 10, 10)
        assert found.saliency[i][found.kept[i]].min() > found.saliency[i][~found.kept[i]].max()
        alone = SEARCHES[name](scores(PatchNet(8, 20, 10, 10)), images[i : i + 1])
        assert torch.equal(alone.saliency[0], found.saliency[i])
        assert torch.equal(alone.kept[0], found.kept[i])
        assert alone.queries[0] == found.queries[i]
        s = parts.count[i]
        if name != "both ways":
            assert int(found.queries[i]) == (s * (s + 1) // 2 + 1 if name == "sis" else s * (s + 1))
        else:
            assert int(found.queries[i]) < s * (s + 1)


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize(("criterion", "level", "needed"), [("share", 0.7, 0.7 * 0.9), ("threshold", 0.55, 0.55)])
def test_of_probabilities_that_add_up_the_largest_are_kept(name, criterion, level, needed):
    images = textured(1, 40, 44)
    index = segments(images, 30, slic_zero=True).index[0]
    count = int(index.max()) + 1
    shares = 0.9 * torch.from_numpy(np.random.default_rng(3).permutation(count) + 1.0) / (count * (count + 1) / 2)
    pixel = shares[index] / index.flatten().bincount()[index]

    def model(shown: Tensor) -> Tensor:
        share = ((shown[:, 0] > 0) * pixel).sum((1, 2)).float()
        return torch.stack([1 - share, share], 1)

    found = SEARCHES[name](model, images, criterion=criterion, level=level)
    order = shares.argsort(descending=True)
    fewest = int((shares[order].cumsum(0) < needed).sum()) + 1
    assert set(index[found.kept[0]].tolist()) == set(order[:fewest].tolist())
    assert torch.equal(torch.stack([found.saliency[0][index == one].amax() for one in order]).argsort(descending=True), torch.arange(count))


def test_sufficient_subsets_are_disjoint_and_counted():
    images = textured(1, 48, 48)
    patches = (4, 4, 8, 8), (30, 30, 10, 10)
    index = segments(images, 30, slic_zero=True).index[0]
    first, second = (of_patch(index, *patch) for patch in patches)
    assert not first & second
    for subsets, number in ((1, 1), (2, 2), (5, 2)):
        model = scores(Either(*patches))
        found = sis(model, images, Y[:1], sp_num=30, criterion="top1", subsets=subsets, fill="black")
        assert set(index[found.kept[0]].tolist()) in (first, second)
        assert found.extras["subsets"].tolist() == [number]
        assert model.queries == int(found.queries) <= sis.passes(sp_num=30, subsets=subsets)[0]


def test_explanations_by_patches_are_minimal_and_diverse():
    images = textured(1, 48, 48)
    model = scores(Either((8, 8, 8, 16), (32, 24, 16, 8)))  # of 6 x 6 patches of 8 x 8 pixels: two in a row, and two in a column
    found = sag(model, images, Y[:1], cells=6, criterion="top1", fill="black")
    index = grid(images, 6).index[0]
    roots = {7, 8}, {27, 33}
    assert set(index[found.kept[0]].tolist()) in roots
    assert (found.extras["roots"].tolist(), found.extras["diverse"].tolist()) == ([2], [2])
    order = torch.stack([found.saliency[0][index == one].amax() for one in range(36)]).argsort(descending=True)
    assert set(order[:4].tolist()) == roots[0] | roots[1]
    assert model.queries == int(found.queries) < 2500
    for budget in (74, 80, 200):
        model = scores(Either((8, 8, 8, 16)))
        short = sag(model, images, Y[:1], cells=6, criterion="top1", fill="black", budget=budget)
        assert model.queries == int(short.queries) <= budget
        assert short.status[0] == ("ok" if budget == 200 else "nothing_accepted")


def test_a_set_that_was_not_stripped_to_its_end_is_no_minimal_explanation():
    images, needed = textured(1, 48, 48), (8, 8, 16, 24)  # six patches: the set is found at 285 queries, known to be minimal at 288
    for budget, roots in ((284, None), (285, 0), (287, 0), (288, 1)):
        short = sag(scores(Either(needed)), images, Y[:1], cells=6, criterion="top1", fill="black", budget=budget)
        assert (short.status[0], int(short.extras["roots"])) == (("nothing_accepted", 0) if roots is None else ("ok", roots))
        assert int(short.kept.sum()) == (48 * 48 if roots is None else 16 * 24)
    with pytest.raises(ValueError, match="roots=30: give at most 20"):
        sag(scores(Either(needed)), images, Y[:1], roots=30)


def test_the_largest_choice_of_diverse_sets():
    sets = np.array([[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 1, 1], [1, 0, 0, 0, 1]], bool)
    assert [_most_diverse(sets, overlap) for overlap in (0, 1, 2)] == [2, 3, 4]


ALL = {
    "sis": lambda model, images, **more: sis(model, images, sp_num=9, fill="black", **more),
    "greedy": lambda model, images, **more: greedy(model, images, sp_num=9, **more),
    "sag": lambda model, images, **more: sag(model, images, cells=3, fill="black", **more),
    "bg_sis": lambda model, images, **more: bg_sis(model.network, images, steps=9, fill="black", **more),
}


@pytest.mark.parametrize("name", ALL)
def test_premises_that_fail_are_statuses(name):
    images, weights = textured(1, 12, 12), torch.full((3, 12, 12), 1 / 432)
    bright = float(images.mean())
    premises = {
        "unsatisfiable": Sum(weights, -bright / 2),  # about 0.57, of 0.9 that are needed
        "vacuous": Sum(weights, 5.0),
        "nothing_accepted": Sum(20 / bright * weights, -20 + 2.2),  # a probability of 0.9002, which no part may go of
    }
    for status, net in premises.items():
        model = score_model(net)
        found = ALL[name](model, images, targets=Y[:1], criterion="threshold", level=0.9)
        assert found.status == (status,)
        assert found.kept.all() if status != "vacuous" else not found.kept.any()
        if found.queries is not None and status != "nothing_accepted":
            assert found.queries.tolist() == [model.queries] == [2]
    top1 = ALL[name](score_model(premises["unsatisfiable"]), images, targets=1 - Y[:1], criterion="top1")
    assert top1.status == ("unsatisfiable",)  # it is another class that is predicted


def test_gradients_remove_the_least_of_a_sum_first():
    images = textured(2, 12, 10)
    weights = 0.01 + 0.05 * torch.randn(3, 12, 10, generator=torch.Generator().manual_seed(0))  # no probability near 1: gradients vanish
    net = Sum(weights, -1.5)
    found = bg_sis(net, images, Y, rngs=rngs(2), steps=12, level=0.5, fill="black")
    for i in range(2):
        parts = (images[i] * weights).sum(0).flatten()
        order = parts.argsort()
        rounds = (found.saliency[i].flatten() * 11).round()
        assert torch.equal(rounds[order], torch.arange(12.0).repeat_interleave(10))
        left = torch.stack([(parts[order[10 * t :]].sum() - 1.5).sigmoid() for t in range(12)])
        last = int((left >= 0.5).nonzero().max())
        assert 0 < last < 11
        assert torch.equal(found.kept[i].flatten(), rounds >= last)
        alone = bg_sis(net, images[i : i + 1], Y[:1], rngs=rngs(2)[i : i + 1], steps=12, level=0.5, fill="black")
        assert torch.equal(alone.kept[0], found.kept[i])


class Bright(nn.Module):
    """The logit of class 1 is how bright a patch is, against a threshold."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = 0

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[m, 2]``."""
        self.queries += len(images)
        brightness = 20 * images[:, :, 8:16, 12:20].mean((1, 2, 3))
        return torch.stack([torch.full_like(brightness, 5), brightness], 1)


@pytest.mark.parametrize(("descent", "step_size", "variation"), [("backtracking", None, 20.0), ("nesterov", None, 0.5)])
def test_optimised_masks_hide_the_patch(descent, step_size, variation):
    images, net = textured(2, 28, 28).clamp_min(0.5), Bright()
    options = {"size": 14, "iterations": 8, "steps": 5, "descent": descent, "step_size": step_size, "variation": variation, "fill": "black"}
    found = igos_pp(net, images, Y, rngs=rngs(2), **options)
    inside = found.saliency[:, 9:15, 13:19]
    outside = found.saliency.clone()
    outside[:, 4:20, 8:24] = torch.nan
    assert (inside.mean((1, 2)) > 3 * outside.nanmean((1, 2)) + 0.2).all()
    assert int(found.queries.sum()) == net.queries
    forward, backward = igos_pp.passes(**options)
    assert (found.queries <= forward + backward).all()
    assert backward == 4 * 5 * 8
    if descent == "nesterov":
        assert found.queries.tolist() == [backward] * 2
    alone = igos_pp(net, images[1:], Y[1:], rngs=rngs(2)[1:], **options)
    assert torch.equal(alone.saliency[0], found.saliency[1])


def test_a_descent_by_backtracking_never_ascends():
    from baselines.regions.igos_pp import _Objective

    images = textured(1, 28, 28)
    one = _Objective(Bright(), images[0], torch.zeros_like(images[0]), 1, 5, 1.0, 20.0, 0.0005)
    masks = torch.ones(2, 1, 14, 14)
    values = [one.value(masks, None)]
    for _ in range(4):
        value, slope = one.slope(masks, None)
        assert value == pytest.approx(values[-1], abs=1e-6)
        masks = one.backtracked(masks, None, value, slope, 1000.0)
        values.append(one.value(masks, None))
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0] - 0.1
    moved = torch.zeros_like(masks)
    moved[0, 0, 5, 7] = 1e-3
    masks = masks.clamp(0.2, 0.8)
    _, slope = one.slope(masks, None)
    rise = (one.value(masks + moved, None) - one.value(masks - moved, None)) / 2e-3
    assert rise == pytest.approx(float(slope[0, 0, 5, 7]), rel=0.05, abs=1e-4)


def test_segments_are_at_most_as_many_as_asked():
    images = textured(2, 64, 64)
    for asked in (1, 3, 7, 23, 45):
        parts = segments(images, asked, slic_zero=True)
        for i in range(2):
            sizes = parts.index[i].flatten().bincount()
            assert len(sizes) == parts.count[i] <= asked
            assert sizes.min() > 0
        assert torch.equal(segments(images[1:], asked, slic_zero=True).index[0], parts.index[1])
    whole = superpixels(images, 30, slic_zero=True)
    assert int(whole.count.max()) > 23
    joined = segments(images, 23, slic_zero=True)
    made = superpixels(images, 23, slic_zero=True)
    for i in range(2):  # joined, and never cut
        pairs = torch.stack([made.index[i].flatten(), joined.index[i].flatten()]).unique(dim=1)
        assert pairs.shape[1] == int(made.count[i])


def test_slic_comes_near_the_number_that_is_asked_for_if_it_is_told_to():
    images = textured(1, 96, 96)
    plain = superpixels(images, 49)
    assert torch.equal(superpixels(images, 49, compactness=10.0, slic_zero=False).index, plain.index)
    compact, zero = superpixels(images, 49, compactness=50.0), superpixels(images, 49, slic_zero=True)
    assert abs(int(zero.count) - 49) <= 2
    assert int(compact.count) >= int(plain.count)
    assert not torch.equal(zero.index, plain.index)
    with pytest.raises(ValueError, match="compactness=0"):
        superpixels(images, 49, compactness=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: sis(m, x, criterion="most"), "criterion='most'"),
        (lambda m, x: sis(m, x, level=0.0), "level=0.0"),
        (lambda m, x: sis(m, x, subsets=0), "subsets=0"),
        (lambda m, x: sis(m, x, sp_num=0), "sp_num=0"),
        (lambda m, x: greedy(m, x, collaboration=-1.0), "collaboration=-1.0"),
        (lambda m, x: sag(m, x, cells=1), "cells=1"),
        (lambda m, x: sag(m, x, cells=20), "cells=20"),
        (lambda m, x: sag(m, x, budget=99), "takes 100 queries"),
        (lambda m, x: sag(m, x, beams=0), "beams=0"),
        (lambda m, x: bg_sis(m.network, x, steps=1), "steps=1"),
        (lambda m, x: igos_pp(m.network, x, descent="adam"), "descent='adam'"),
        (lambda m, x: igos_pp(m.network, x, size=1), "size=1"),
    ],
)
def test_a_value_out_of_range_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(score_model(Sum(torch.zeros(3, 12, 12), 0.0)), textured(1, 12, 12))
