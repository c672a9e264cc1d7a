"""Walks on a real model are the same bit for bit, however they are batched."""

from __future__ import annotations

import pytest
import torch

from benchmarks.engines.views import LabelView
from da.rng import image_rng
from da.walk import dynamic_ablation

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("sp_num", [500, None])
def test_alone_in_a_batch_and_in_another_order_bit_for_bit(lite0_engine, photographs, sp_num):
    names = [f"photograph {i}" for i in range(len(photographs))]
    targets = LabelView(lite0_engine)(photographs)

    def run(order):
        view = LabelView(lite0_engine)
        streams = [image_rng(0, "method", names[i]) for i in order]
        return dynamic_ablation(view, photographs[order], targets[order], rngs=streams, iterations=25, sp_num=sp_num)

    together = run(list(range(7)))
    shuffled = run([6, 2, 0, 5])
    for place, i in enumerate([6, 2, 0, 5]):
        assert torch.equal(shuffled.saliency[place], together.saliency[i])
        assert torch.equal(shuffled.kept[place], together.kept[i])
    alone = run([3])
    assert torch.equal(alone.saliency[0], together.saliency[3])
    assert alone.status[0] == together.status[3]


@pytest.mark.parametrize("rule", ["positive", "negative"])
@pytest.mark.parametrize("depth", [2, 7, 64])
def test_speculation_is_bit_for_bit_the_walk(lite0_engine, photographs, rule, depth):
    images = photographs[:3]
    targets = LabelView(lite0_engine)(images)

    def run(speculate):
        view = LabelView(lite0_engine)
        streams = [image_rng(0, "method", str(i)) for i in range(3)]
        return dynamic_ablation(view, images, targets, rngs=streams, rule=rule, iterations=30, speculate=speculate, trace=True), view

    (plain, view), (fast, fast_view) = run(1), run(depth)
    assert plain.extras["accepted"].sum() > 3  # there is something to throw away
    assert torch.equal(plain.saliency, fast.saliency)
    assert torch.equal(plain.kept, fast.kept)
    for before, after in zip(vars(plain.trace).values(), vars(fast.trace).values(), strict=True):
        assert torch.equal(before, after)
    assert plain.status == fast.status
    assert fast.queries.sum() == fast_view.queries > view.queries
