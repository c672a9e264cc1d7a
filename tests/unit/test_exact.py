"""The smallest region over a partition: against all subsets of random rules, by the budget, invariance; and reduction of given regions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

import da
from da.minimal.cells import in_order_of_area
from da.superpixels import superpixels
from da.types import Attribution
from tests.helpers import Labels, PatchNet, rngs, textured

SP_NUM = 9


class RandomRule:
    """A label model whose class 1 depends on which segments of one image are shown, by a table without any order in it."""

    def __init__(self, image: Tensor, seed: int, share: float) -> None:
        self.index = superpixels(image[None], SP_NUM, slic_zero=True).index[0]
        self.count = int(self.index.max()) + 1
        rng = np.random.default_rng(seed)
        self.table = rng.random(2**self.count) < share
        self.table[[0, -1]] = False, True
        self.queries = 0

    def subset(self, images: Tensor) -> Tensor:
        shown = (images.amax(1) > 0).flatten(1)
        bits = torch.stack([shown[:, (self.index == i).flatten()].all(1) for i in range(self.count)], 1)
        return (bits * 2 ** torch.arange(self.count)).sum(1)

    def __call__(self, images: Tensor, /) -> Tensor:
        self.queries += len(images)
        return torch.from_numpy(self.table)[self.subset(images)].long()

    def smallest(self) -> int:
        areas = torch.bincount(self.index.flatten())
        of = [sum(int(areas[i]) for i in range(self.count) if one >> i & 1) for one in np.flatnonzero(self.table).tolist()]
        return min(of)


def test_subsets_come_in_the_order_of_their_area_and_each_once():
    areas = [5, 3, 3, 8, 1]
    found = list(in_order_of_area(areas))
    assert [area for area, _ in found] == sorted(sum(some) for n in range(1, 6) for some in itertools.combinations(areas, n))
    assert len({bits for _, bits in found}) == 31
    assert all(area == sum(areas[i] for i in range(5) if bits >> i & 1) for area, bits in found)


@pytest.mark.parametrize("seed", range(6))
def test_the_region_is_the_smallest_of_all_subsets_of_a_rule_without_order(seed):
    image = textured(1, 32, 32, seed)
    rule = RandomRule(image[0], seed, share=0.03)
    found = da.exact_region(rule, image, torch.tensor([1]), sp_num=SP_NUM)
    assert found.status == ("ok",)
    assert int(found.kept.sum()) == rule.smallest()
    assert found.extras["proven"].tolist() == [1]
    assert found.extras["mar_lower"].item() == pytest.approx(rule.smallest() / 1024)
    assert found.queries.tolist() == [rule.queries]
    shown = torch.where(found.kept[:, None], image, 0.0)
    assert rule(shown).tolist() == [1]


@pytest.mark.parametrize("budget", [2, 5, 40, 100])
def test_where_the_budget_ends_the_bound_is_true_and_the_region_holds(budget):
    image = textured(1, 32, 32, 3)
    rule = RandomRule(image[0], 3, share=0.002)
    found = da.exact_region(rule, image, torch.tensor([1]), sp_num=SP_NUM, budget=budget)
    assert found.queries.tolist() == [rule.queries]
    assert rule.queries <= budget
    assert 0 < found.extras["mar_lower"].item() * 1024 <= rule.smallest() <= int(found.kept.sum())
    assert rule(torch.where(found.kept[:, None], image, 0.0)).tolist() == [1]
    assert found.extras["proven"].item() == (int(found.kept.sum()) == round(found.extras["mar_lower"].item() * 1024))


def test_of_a_patch_it_is_the_segments_that_it_touches_and_of_a_negative_rule_the_smallest_of_them():
    net, images = PatchNet(20, 24, 10, 9), textured(2, 64, 64)
    targets, index = torch.ones(2).long(), superpixels(textured(2, 64, 64), 16, slic_zero=True).index
    kept = da.exact_region(Labels(net), images, targets, sp_num=16).kept
    gone = da.exact_region(Labels(net), images, targets, sp_num=16, rule="negative")
    for i in range(2):
        touched = index[i][20:30, 24:33].unique()
        assert torch.equal(kept[i], torch.isin(index[i], touched))
        areas = torch.bincount(index[i].flatten())
        assert int(gone.kept[i].sum()) == int(areas[touched].min())
    assert gone.negative


def test_premises_that_fail_have_a_status():
    images, net = textured(1, 32, 32), PatchNet(2, 2, 4, 4)
    vacuous = da.exact_region(Labels(net), images, torch.tensor([0]), sp_num=9)
    never = da.exact_region(Labels(net), images, torch.tensor([0]), sp_num=9, rule="negative")
    assert (vacuous.status, never.status) == (("vacuous",), ("unsatisfiable",))
    assert (never.extras["proven"].item(), never.extras["mar_lower"].item()) == (0, 0)
    assert (int(vacuous.kept.sum()), vacuous.extras["proven"].item(), vacuous.queries.item()) == (0, 1, 1)
    one = da.exact_region(Labels(PatchNet(0, 0, 32, 32)), images, torch.tensor([1]), sp_num=9)
    assert (one.status, bool(one.kept.all()), one.extras["proven"].item()) == (("nothing_accepted",), True, 1)


def test_an_image_alone_has_the_numbers_that_it_has_among_others():
    images = textured(3, 64, 64)
    nets = Labels(PatchNet(20, 24, 10, 9))
    targets = torch.ones(3).long()
    together = da.exact_region(nets, images, targets)
    for i in range(3):
        alone = da.exact_region(nets, images[i : i + 1], targets[:1])
        assert torch.equal(alone.kept[0], together.kept[i])
        assert torch.equal(alone.saliency[0], together.saliency[i])
        assert alone.queries[0] == together.queries[i]


@pytest.mark.parametrize(("criterion", "level"), [("share", 0.9), ("threshold", 0.7)])
def test_by_score_it_is_the_smallest_that_keeps_enough_of_the_probability(criterion, level):
    image = textured(1, 32, 32, 1)
    rule = RandomRule(image[0], 1, share=0.5)
    probability = torch.from_numpy(np.random.default_rng(7).random(len(rule.table)) * 0.6)
    probability[[5, 77, 300, -1]] = torch.tensor([0.85, 0.75, 0.72, 0.8]).double()

    def scores(images: Tensor) -> Tensor:
        of = probability[rule.subset(images)]
        return torch.stack([1 - of, of], 1)

    rule.table = (probability >= (0.9 * 0.8 if criterion == "share" else level)).numpy()
    found = da.exact_region_by_score(scores, image, torch.tensor([1]), sp_num=SP_NUM, criterion=criterion, level=level)
    assert (found.status, int(found.kept.sum()), found.extras["proven"].item()) == (("ok",), rule.smallest(), 1)
    never = da.exact_region_by_score(scores, image, torch.tensor([1]), sp_num=SP_NUM, criterion="threshold", level=0.9)
    assert never.status == ("unsatisfiable",)
    assert never.extras["proven"].item() == 0  # parts may have more of the class than the whole image, and were not asked about
    for wrong in ({"criterion": "top2"}, {"level": 0.0}, {"budget": 2}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            da.exact_region_by_score(scores, image, torch.tensor([1]), **wrong)


@pytest.mark.parametrize(("change", "said"), [({"sp_num": 63}, "sp_num=63"), ({"budget": 1}, "budget=1"), ({"rule": "x"}, "rule='x'")])
def test_what_cannot_be_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        da.exact_region(Labels(PatchNet(0, 0, 2, 2)), textured(1, 16, 16), torch.tensor([1]), **change)


def regions_of(net, images, start, **settings):
    return da.reduce(Labels(net), images, torch.ones(len(images)).long(), start_from=start, rngs=rngs(len(images)), **settings)


def test_a_region_is_reduced_to_a_certified_one_inside_it():
    net, images = PatchNet(20, 24, 10, 9), textured(2, 64, 64)
    start = torch.zeros(2, 64, 64, dtype=torch.bool)
    start[:, 10:50, 10:50] = True
    found = regions_of(net, images, start, sp_num=60)
    assert found.status == ("ok", "ok")
    assert (found.kept <= start).all()
    assert (found.kept.sum((1, 2)) < start.sum((1, 2)) / 4).all()
    certificates = da.certify(Labels(net), images, found.kept, torch.ones(2).long(), sp_num=60)
    assert [one.minimal for one in certificates] == [bool(one) for one in found.extras["certified"]] == [True, True]
    assert found.extras["start"].tolist() == [pytest.approx(1600 / 4096)] * 2


def test_of_a_map_the_search_starts_at_the_share_that_holds():
    net, images = PatchNet(20, 24, 10, 9), textured(1, 64, 64)
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    near = -((rows - 25) ** 2 + (columns - 28) ** 2)[None]
    found = regions_of(net, images, near, sp_num=60)
    as_attribution = regions_of(net, images, Attribution(near), sp_num=60)
    assert 90 / 4096 <= found.extras["start"].item() < 0.1
    assert torch.equal(found.kept, as_attribution.kept)
    far = regions_of(net, images, -near, sp_num=60)
    assert far.extras["start"].item() > 0.5
    assert net(torch.where(far.kept[:, None], images, 0.0)).argmax(1).tolist() == [1]


def test_a_start_that_does_not_hold_is_the_whole_image_and_it_is_said():
    net, images = PatchNet(20, 24, 10, 9), textured(2, 64, 64)
    start = torch.zeros(2, 64, 64, dtype=torch.bool)
    start[0, :5, :5], start[1, 15:40, 15:40] = True, True
    model = Labels(net)
    found = da.reduce(model, images, torch.ones(2).long(), start_from=start, rngs=rngs(2), sp_num=60, budget=200)
    assert found.extras["start"].tolist() == [1, pytest.approx(625 / 4096)]
    assert net(torch.where(found.kept[:, None], images, 0.0)).argmax(1).tolist() == [1, 1]
    assert int(found.queries.sum()) == sum(map(len, model.shown))
    assert int(found.queries.max()) <= 200


def test_starts_of_another_kind_are_refused():
    net, images = PatchNet(20, 24, 10, 9), textured(2, 64, 64)
    for start in (torch.zeros(2, 3, 64, 64), torch.zeros(2, 64, 64).long(), "gradcam"):
        with pytest.raises(TypeError, match="start_from"):
            regions_of(net, images, start)
    with pytest.raises(ValueError, match="not finite"):
        regions_of(net, images, torch.full((2, 64, 64), torch.nan))
