"""Dynamic Ablation does what Algorithm 1 says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from benchmarks.engines.views import LabelView
from da.circles import segment_masks, segments_inside
from da.superpixels import superpixels
from da.walk import dynamic_ablation
from tests.helpers import Labels, PatchNet, rngs, textured


def walk(images, net, *, rule="positive", **options):
    model = Labels(net)
    targets = torch.ones(len(images), dtype=torch.long)
    options = {"iterations": 200, "sp_num": 64, "k": 2} | options
    return dynamic_ablation(model, images, targets, rngs=rngs(len(images)), rule=rule, **options), model


def test_kept_mask_covers_the_patch_within_half_more_than_the_smallest_cover():
    images = textured(2, 64, 64)
    attribution, _ = walk(images, PatchNet(20, 24, 14, 14), iterations=3000, k=4)
    segments = superpixels(images, 64)
    patch = torch.zeros(64, 64, dtype=torch.bool)
    patch[20:34, 24:38] = True
    assert attribution.status == ("ok",) * 2
    for kept, index in zip(attribution.kept, segments.index, strict=True):
        assert kept[patch].all()
        smallest = torch.isin(index, index[patch].unique()).sum()
        assert kept.sum() <= 1.5 * smallest


def test_negative_rule_hides_the_patch():
    images = textured(4, 64, 64)
    net = PatchNet(20, 24, 14, 14)
    attribution, _ = walk(images, net, rule="negative")
    assert attribution.status == ("ok",) * 4
    hidden = torch.where(attribution.kept[:, None], 0, images)
    assert (net(hidden).argmax(1) == 0).all()
    assert (attribution.kept.float().mean((1, 2)) < 0.3).all()


@pytest.mark.parametrize("rule", ["positive", "negative"])
def test_every_accepted_state_satisfies_the_rule_and_the_map_is_their_sum(rule):
    images = textured(3, 48, 40)
    net = PatchNet(20, 12, 10, 10)
    attribution, _ = walk(images, net, rule=rule, trace=True)
    segments = superpixels(images, 64)
    total = torch.zeros(3, 48, 40)
    for t in range(200):
        x, y, r = attribution.trace.circles[:, t].unbind(1)
        mask = segment_masks(segments_inside(x, y, r, segments.centres), segments.index)
        shown = torch.where(mask[:, None] == (rule == "positive"), images, 0)
        satisfied = (net(shown).argmax(1) == 1) == (rule == "positive")
        accepted = attribution.trace.accepted[:, t]
        assert torch.equal(accepted, satisfied)
        torch.testing.assert_close(attribution.trace.share[:, t], mask.float().mean((1, 2)))
        total += mask & accepted[:, None, None]
        for i in accepted.nonzero():
            last = mask[i] if t == attribution.trace.accepted[i][0].nonzero().max() else None
            assert last is None or torch.equal(attribution.kept[i], last)
    assert torch.equal(attribution.extras["accepted"], attribution.trace.accepted.sum(1).float())
    torch.testing.assert_close(attribution.saliency, total / total.amax((1, 2), keepdim=True).clamp_min(1))


def test_area_bound_shrinks_by_fc_after_each_acceptance():
    images = textured(2, 48, 48)
    attribution, _ = walk(images, PatchNet(16, 16, 8, 8), trace=True, fc=0.9)
    before = attribution.trace.accepted.cumsum(1) - attribution.trace.accepted.long()
    area = math.pi * attribution.trace.circles[:, :, 2].square().sum(2)
    torch.testing.assert_close(area, 48 * 48 * 0.9**before, rtol=1e-4, atol=1e-2)


def test_a_query_an_iteration_and_one_for_the_premise(lite0_engine, photographs):
    view = LabelView(lite0_engine)
    targets = view(photographs[:2])
    assert view.queries == 2
    dynamic_ablation(view, photographs[:2], targets, rngs=rngs(2), iterations=7)
    assert view.queries == 2 + 2 * (7 + 1)
    with pytest.raises(AttributeError):  # a method cannot say that it made fewer
        view.queries = 0


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"k": 1}, (32, 32)),
        ({"k": 16}, (32, 32)),
        ({"alpha_step": 0.0}, (32, 32)),
        ({"alpha_step": 1.0}, (32, 32)),
        ({"fc": 0.0}, (32, 32)),
        ({"fc": 1.0}, (32, 32)),
        ({"sp_num": 1}, (32, 32)),
        ({"sp_num": None}, (32, 32)),
        ({"sp_num": None, "k": 16}, (40, 24)),
        ({"fill": "mean"}, (24, 56)),
        ({"fill": "blur"}, (24, 56)),
        ({"fill": [0.5, 0.4, 0.3]}, (24, 56)),
        ({"iterations": 1}, (32, 32)),
    ],
)
@pytest.mark.parametrize("rule", ["positive", "negative"])
def test_the_ends_of_every_range_run(options, size, rule):
    attribution, _ = walk(textured(2, *size), PatchNet(8, 8, 6, 6), rule=rule, **({"iterations": 40} | options))
    assert attribution.saliency.shape == attribution.kept.shape == (2, *size)
    assert torch.isfinite(attribution.saliency).all()
    assert attribution.saliency.min() >= 0
    assert attribution.saliency.max() <= 1


def test_nothing_accepted_keeps_the_whole_image():
    class Never(torch.nn.Module):
        def forward(self, images):
            whole = (images > 0).all(1).all(1).all(1).float()
            return torch.stack([1 - whole, whole], 1)

    attribution, _ = walk(textured(1, 32, 32), Never(), k=1, iterations=20, alpha_step=0.5)
    assert attribution.status == ("nothing_accepted",)
    assert attribution.kept.all()
    assert not attribution.saliency.any()


def test_premises_that_fail_are_statuses():
    class Always(torch.nn.Module):
        def forward(self, images):
            return torch.tensor([[0.0, 1.0]]).expand(len(images), 2)

    images = textured(2, 32, 32)
    positive, _ = walk(images, Always(), iterations=20)
    negative, _ = walk(images, Always(), iterations=20, rule="negative")
    assert positive.status == ("vacuous",) * 2
    assert not positive.kept.any()
    assert negative.status == ("unsatisfiable",) * 2
    assert negative.kept.all()


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"rule": "both"}, "rule"),
        ({"k": 0}, "k"),
        ({"alpha_step": 1.5}, "alpha_step"),
        ({"fc": -0.1}, "fc"),
        ({"iterations": 0}, "iterations"),
        ({"sp_num": 0}, "sp_num"),
        ({"speculate": 0}, "speculate"),
        ({"fill": "green"}, "fill"),
        ({"fill": [2.0, 0.0, 0.0]}, "fill"),
    ],
)
def test_a_value_out_of_range_is_named(options, name):
    with pytest.raises(ValueError, match=f"{name}="):
        walk(textured(1, 32, 32), PatchNet(8, 8, 6, 6), **options)


def test_speculation_takes_a_round_an_acceptance_and_a_round_a_window():
    images = textured(1, 64, 64)
    plain, _ = walk(images, PatchNet(20, 24, 14, 14), iterations=300, trace=True)
    for depth in (1, 4, 16):
        fast, model = walk(images, PatchNet(20, 24, 14, 14), iterations=300, speculate=depth)
        rounds = queries = start = 0
        accepted = plain.trace.accepted[0].tolist()
        while start < 300:
            window = accepted[start : start + depth]
            rounds, queries = rounds + 1, queries + len(window)
            start += window.index(True) + 1 if True in window else len(window)
        assert len(model.shown) == rounds + 1  # the premise
        assert sum(map(len, model.shown)) == queries + 1
        assert torch.equal(fast.kept, plain.kept)


def test_nothing_of_the_world_is_touched():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    images = textured(2, 32, 32)
    before = images.clone()
    walk(images, PatchNet(8, 8, 6, 6), iterations=10)
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
